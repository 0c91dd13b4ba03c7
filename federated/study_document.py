"""A study as a closed document: its sections, the range of each value, the rules between values.

Shared by the two ways in (a TOML file, canonical JSON over the wire), so that both are held to the
same rules. Unknown keys are refused everywhere. Pure.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from federated.privacy.plan import plan
from fusion.errors import InputInvalid
from fusion.wire.study_fields import (
    MAX_COLUMNS,
    MAX_NUMBER,
    MAX_SEED,
    MAX_WORD,
    GrantId,
    Name,
    Organisation,
    Positive,
    Word,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusion.wire.toml_lines import KeyPath

MAX_CATEGORIES: Final = 10_000
MAX_FEATURES: Final = 100_000
MAX_PARAMETERS: Final = 16_000_000
MAX_ORGANISATIONS: Final = 1000
MAX_MASKED: Final = 256
"""Organisations of a study with masks: each masks with every other."""


Category = Annotated[str, Field(max_length=MAX_WORD)]
Bound = Annotated[float, Field(ge=-MAX_NUMBER, le=MAX_NUMBER, allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
Penalty = Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]


class Section(BaseModel):
    """Strict, closed, frozen."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)


class StudySection(Section):
    """``[study]``: what is learned, by whom."""

    name: Word
    dataset: Word
    label: Name
    positive: Positive
    organisations: Annotated[
        tuple[Organisation, ...], Field(min_length=2, max_length=MAX_ORGANISATIONS)
    ]
    quorum: Annotated[int, Field(ge=2)]
    rounds: Annotated[int, Field(ge=1, le=10_000)]
    holdout: Annotated[float, Field(gt=0, le=0.5, allow_inf_nan=False)]
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] = 1
    max_rows: Annotated[int, Field(ge=10, le=2**30)]
    operator: Organisation | None = None
    purpose: Annotated[str, Field(pattern=r"^dpv:[A-Za-z]{1,60}$")] | None = None
    grants: (
        Annotated[tuple[GrantId, ...], Field(min_length=1, max_length=MAX_ORGANISATIONS)] | None
    ) = None


class Logistic(Section):
    """``[model] kind = "logistic"``: logistic regression."""

    kind: Literal["logistic"]
    l2: Penalty = 0.0


class Mlp(Section):
    """``[model] kind = "mlp"``: a perceptron with hidden layers and one sigmoid output."""

    kind: Literal["mlp"]
    hidden: Annotated[
        tuple[Annotated[int, Field(ge=1, le=4096)], ...], Field(min_length=1, max_length=8)
    ]
    activation: Literal["relu", "tanh"] = "relu"
    l2: Penalty = 0.0


class Local(Section):
    """``[local]``: what an organisation does in a round."""

    steps: Annotated[int, Field(ge=1, le=100_000)]
    batch: Annotated[int, Field(ge=1, le=1_000_000)]
    learning_rate: Rate
    proximal: Penalty = 0.0


class FedAvg(Section):
    """``[optimiser] kind = "fedavg"``: add the mean update."""

    kind: Literal["fedavg"]
    learning_rate: Rate = 1.0


class FedAvgM(Section):
    """``[optimiser] kind = "fedavgm"``: with momentum at the server."""

    kind: Literal["fedavgm"]
    learning_rate: Rate = 1.0
    momentum: Share = 0.9


class FedAdam(Section):
    """``[optimiser] kind = "fedadam"``: Adam at the server."""

    kind: Literal["fedadam"]
    learning_rate: Rate = 0.1
    beta1: Share = 0.9
    beta2: Share = 0.99
    tau: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 1e-3


class Aggregation(Section):
    """``[aggregation]``: how numbers travel in the secure sum."""

    value_bits: Annotated[int, Field(ge=12, le=40)] = 24
    clip: Annotated[float, Field(gt=0, le=8, allow_inf_nan=False)] = 2.0
    score_bins: Annotated[int, Field(ge=8, le=4096)] = 256
    masks: bool = False
    max_norm: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] | None = None


class Key(Section):
    """``[key]``: the decryption key, and who holds its shares."""

    bits: Literal[2048, 3072, 4096] = 3072
    threshold: Annotated[int, Field(ge=2)]
    holders: Annotated[tuple[Organisation, ...], Field(min_length=2, max_length=MAX_ORGANISATIONS)]


class Deadlines(Section):
    """``[deadlines]``: seconds a phase may take."""

    setup: Seconds = 60.0
    train: Seconds = 120.0
    submit: Seconds = 60.0
    decrypt: Seconds = 120.0


class Privacy(Section):
    """``[privacy]``: differential privacy of every row, by noise in every contribution."""

    epsilon_micro: Annotated[int, Field(ge=10_000, le=100_000_000)]
    delta: Annotated[float, Field(ge=1e-12, le=1e-5, allow_inf_nan=False)]
    clip_norm: Annotated[float, Field(ge=1e-6, le=1e6, allow_inf_nan=False)]
    colluders: Annotated[int, Field(ge=0, lt=MAX_ORGANISATIONS)] = 1


class NumberColumn(Section):
    """``[[columns]] type = "number"``: clipped to a declared range."""

    name: Name
    type: Literal["number"]
    min: Bound
    max: Bound


class CategoryColumn(Section):
    """``[[columns]] type = "category"``: one of the declared words."""

    name: Name
    type: Literal["category"]
    categories: Annotated[tuple[Category, ...], Field(min_length=2, max_length=MAX_CATEGORIES)]


Model = Annotated[Logistic | Mlp, Field(discriminator="kind")]
Optimiser = Annotated[FedAvg | FedAvgM | FedAdam, Field(discriminator="kind")]
Column = Annotated[NumberColumn | CategoryColumn, Field(discriminator="type")]


class Document(Section):
    """The whole document."""

    study: StudySection
    model: Model
    local: Local
    optimiser: Optimiser
    aggregation: Aggregation = Aggregation()
    key: Key
    deadlines: Deadlines = Deadlines()
    privacy: Privacy | None = None
    columns: Annotated[tuple[Column, ...], Field(min_length=1, max_length=MAX_COLUMNS)]


_CLASSES: Final[dict[str, tuple[type[Section], ...]]] = {
    "study": (StudySection,),
    "model": (Logistic, Mlp),
    "local": (Local,),
    "optimiser": (FedAvg, FedAvgM, FedAdam),
    "aggregation": (Aggregation,),
    "key": (Key,),
    "deadlines": (Deadlines,),
    "privacy": (Privacy,),
    "columns": (NumberColumn, CategoryColumn),
}


def known_keys(path: KeyPath, chosen: object) -> tuple[str, ...]:
    """Return the keys that a section may have.

    Args:
        path: Of the section; empty for the top level.
        chosen: The section's ``kind`` or ``type``, where it has one.
    """
    if not path:
        return tuple(Document.model_fields)
    classes = _CLASSES.get(str(path[0]), ())
    fitting = [
        each
        for each in classes
        if len(classes) == 1 or chosen in getattr(next(_tags(each), None), "__args__", ())
    ]
    return tuple(dict.fromkeys(key for each in fitting or classes for key in each.model_fields))


def _tags(section: type[Section]) -> Iterator[Any]:
    for name in ("kind", "type"):
        if name in section.model_fields:
            yield section.model_fields[name].annotation


def broken_rules(document: Document) -> Iterator[tuple[KeyPath, str, str]]:
    """Yield path, message and hint of every rule between values that a document breaks."""
    yield from _study_rules(document)
    yield from _key_rules(document)
    yield from _column_rules(document)
    yield from _size_rules(document)
    if document.privacy is not None:
        yield from _privacy_rules(document, document.privacy)
    if document.aggregation.masks and len(document.study.organisations) > MAX_MASKED:
        message = f"A masked sum has at most {MAX_MASKED} organisations."
        yield ("aggregation", "masks"), message, "Leave `masks` out: the proofs stay."


def _study_rules(document: Document) -> Iterator[tuple[KeyPath, str, str]]:
    study = document.study
    yield from _repeated(("study", "grants"), study.grants or ())
    yield from _repeated(("study", "organisations"), study.organisations)
    count = len(study.organisations)
    if study.quorum > count:
        yield (
            ("study", "quorum"),
            f"`quorum` is {study.quorum}, but the study names {count} organisations.",
            f"Choose a quorum from 2 to {count}.",
        )
    if study.max_rows >= 2**document.aggregation.value_bits:
        yield (
            ("study", "max_rows"),
            f"`max_rows` is {study.max_rows}; {document.aggregation.value_bits} bits count less.",
            "Lower `max_rows` or raise `value_bits` under [aggregation].",
        )


def _key_rules(document: Document) -> Iterator[tuple[KeyPath, str, str]]:
    key = document.key
    yield from _repeated(("key", "holders"), key.holders)
    for index, holder in enumerate(key.holders):
        if holder not in document.study.organisations:
            yield (
                ("key", "holders", index),
                f"The holder {holder} is not one of the study's `organisations`.",
                "Every holder checks what it opens, so it takes part in the study.",
            )
    count = len(key.holders)
    if not count // 2 < key.threshold <= count:
        yield (
            ("key", "threshold"),
            f"`threshold` is {key.threshold} of {count} holders; it has to be a majority.",
            f"Choose a threshold from {max(2, count // 2 + 1)} to {count}.",
        )


def _column_rules(document: Document) -> Iterator[tuple[KeyPath, str, str]]:
    names = [column.name for column in document.columns]
    for index, column in enumerate(document.columns):
        path: KeyPath = ("columns", index)
        if column.name in names[:index]:
            yield (*path, "name"), f"The column {column.name!r} is declared twice.", ""
        if column.name == document.study.label:
            hint = "A model that reads its label learns nothing else."
            yield (*path, "name"), f"The column {column.name!r} is the label.", hint
        match column:
            case NumberColumn():
                if not column.max - column.min >= 1e-9 * max(abs(column.min), abs(column.max), 1):
                    yield (*path, "max"), "`max` has to be greater than `min`.", ""
            case CategoryColumn():
                yield from _repeated((*path, "categories"), column.categories)


def _size_rules(document: Document) -> Iterator[tuple[KeyPath, str, str]]:
    features = feature_count(document.columns)
    if features > MAX_FEATURES:
        message = f"The columns make {features} features; {MAX_FEATURES} is the limit."
        yield ("columns",), message, "Declare fewer categories."
    if isinstance(document.model, Mlp):
        sizes = (features, *document.model.hidden, 1)
        count = sum((a + 1) * b for a, b in itertools.pairwise(sizes))
        # The sum also counts how many coordinates of an update were clipped.
        limit = min(MAX_PARAMETERS, 2**document.aggregation.value_bits - 1)
        if count > limit:
            message = f"The model has {count} parameters; {limit} is the limit."
            yield ("model", "hidden"), message, "Choose smaller layers."


def _privacy_rules(document: Document, privacy: Privacy) -> Iterator[tuple[KeyPath, str, str]]:
    study, local = document.study, document.local
    if privacy.colluders >= study.quorum:
        message = f"`colluders` is {privacy.colluders}; the quorum is {study.quorum}."
        yield ("privacy", "colluders"), message, "Somebody's noise has to be unknown to the others."
    if privacy.delta * study.max_rows * len(study.organisations) >= 1:
        yield (
            ("privacy", "delta"),
            "`delta` allows one row to be shown: it is not below 1 over all rows there may be.",
            f"Choose a delta below {1 / (study.max_rows * len(study.organisations)):.1e}.",
        )
    whole = "A private round is one step in which every row counts once."
    if local.steps != 1:
        yield ("local", "steps"), "With [privacy], `steps` has to be 1.", whole
    if local.batch < study.max_rows:
        message = "With [privacy], `batch` has to be at least `max_rows`."
        yield ("local", "batch"), message, whole
    if local.proximal:
        yield ("local", "proximal"), "With [privacy], `proximal` has to be 0.", whole
    if document.model.l2:
        hint = "The noise and the clip keep the model small."
        yield ("model", "l2"), "With [privacy], `l2` has to be 0.", hint
    hint = "`clip_norm` under [privacy] bounds each row."
    if document.aggregation.clip != Aggregation().clip:
        yield ("aggregation", "clip"), "With [privacy], `clip` is left out.", hint
    if document.aggregation.max_norm is not None:
        yield ("aggregation", "max_norm"), "With [privacy], `max_norm` is left out.", hint
    if privacy.colluders < study.quorum:
        yield from _noise_rules(document, privacy)


def _noise_rules(document: Document, privacy: Privacy) -> Iterator[tuple[KeyPath, str, str]]:
    study = document.study
    try:
        plan(
            epsilon_micro=privacy.epsilon_micro,
            delta=privacy.delta,
            rounds=study.rounds,
            sharers=study.quorum - privacy.colluders,
            max_rows=study.max_rows,
            value_bits=document.aggregation.value_bits,
        )
    except InputInvalid as error:
        message = f"`value_bits` is {document.aggregation.value_bits}, but {error.message}."
        hint = "Raise it (40 at most) or epsilon, or lower `max_rows` or `rounds`."
        yield ("aggregation", "value_bits"), message, hint


def _repeated(path: KeyPath, items: tuple[str, ...]) -> Iterator[tuple[KeyPath, str, str]]:
    seen: set[str] = set()
    for index, item in enumerate(items):
        if item in seen:
            yield (*path, index), f"{item!r} is listed twice in `{path[-1]}`.", ""
        seen.add(item)


def feature_count(columns: tuple[NumberColumn | CategoryColumn, ...]) -> int:
    """Return how many features the columns make: one a number, one a category."""
    return sum(
        1 if isinstance(column, NumberColumn) else len(column.categories) for column in columns
    )
