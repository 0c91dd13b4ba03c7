"""What a party knows of a joint model beside its part: closed documents, without a row of data.

What all holders share names the model: its identifier is a digest over study, job and every
holder's part. What is a holder's own (its table, its columns, metrics, the leak report) stays with
it: a card shows of others their names and the digests of their parts.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator  # noqa: TC003 - a return type of rules that are read
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from fusion.alignment.terms import MAX_PARTIES, Name, Organisation
from fusion.wire import canonical
from fusion.wire.documents import Document, Part, read
from fusion.wire.limits import MEBI

MAX_FACTS_BYTES: Final = MEBI
MAX_PART_BYTES: Final = 32 * MEBI
MAX_COLUMNS: Final = 10_000
NAME_PATTERN: Final = r"^[a-z0-9][a-z0-9._-]{0,62}$"

Kind = Literal["boosting", "logistic", "linear", "poisson", "scorecard"]
Role = Literal["label", "feature"]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
ModelName = Annotated[str, Field(pattern=NAME_PATTERN)]
Job = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
Count = Annotated[int, Field(ge=0, le=2**31 - 1)]
Dataset = Annotated[str, Field(min_length=1, max_length=63)]
Moment = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z$")]


class Identifier(Part):
    """How records of a model are named: what a score is asked for with.

    Attributes:
        field: What the study calls it.
        kind: How it is written.
        duplicates: What is done about a key on several rows.
        fold: Of ``text``: whether upper and lower case are the same.
    """

    field: Name
    kind: Literal["resident_id", "uscc", "phone", "text"]
    duplicates: Literal["refuse", "first", "unique-only"] = "refuse"
    fold: bool = False


class Holder(Part):
    """Who holds a part.

    Attributes:
        organisation: Who.
        role: ``label`` holds what scores are made of at the end; there is one.
        dataset: Its table that the part was trained on, as the study names it.
        part: SHA-256 of the part's bytes.
    """

    organisation: Organisation
    role: Role
    dataset: Dataset
    part: Digest


class Shared(Document):
    """What every holder of a model knows; the same bytes at all of them.

    Attributes:
        name: Of the model, as folders are called; see :func:`model_name`.
        study: Digest of the study.
        job: The run that trained it.
        kind: Of model.
        operator: Whose study it was, if it names one.
        purpose: What for, if the study says.
        identifier: How records are named.
        holders: Of parts; the label party first, then feature parties in the study's order.
        rows_aligned: Records that all had.
        rows_training: Those that were trained on.
        steps: Trees or epochs.
        made: When the run ended.
    """

    schema_: Literal["fusion.model/1"] = Field(default="fusion.model/1", alias="schema")
    name: ModelName
    study: Digest
    job: Job
    kind: Kind
    operator: Organisation | None = None
    purpose: Name | None = None
    identifier: Identifier
    holders: Annotated[tuple[Holder, ...], Field(min_length=2, max_length=MAX_PARTIES)]
    rows_aligned: Count = 0
    rows_training: Count = 0
    steps: Count = 0
    made: Moment

    @property
    def id(self) -> str:
        """The digest over study, job and all parts, which names the model."""
        named = {
            "study": self.study,
            "job": self.job,
            "parts": {holder.organisation: holder.part for holder in self.holders},
        }
        return hashlib.sha256(b"banyan model 1\n" + canonical.encode(named)).hexdigest()

    @property
    def names(self) -> tuple[str, ...]:
        """By what a grant may name it: its id, its study's digest, its name."""
        return (self.id, self.study, self.name)

    @property
    def label_party(self) -> str:
        """Who has the label's part."""
        return self.holders[0].organisation

    @property
    def feature_parties(self) -> tuple[str, ...]:
        """The others, in the study's order."""
        return tuple(holder.organisation for holder in self.holders[1:])

    def holder(self, organisation: str) -> Holder | None:
        """Return what an organisation holds, if it does."""
        return next((each for each in self.holders if each.organisation == organisation), None)


class Own(Part):
    """A holder's own table, as it trained with it; stays with it.

    Attributes:
        organisation: The holder.
        dataset: Its name for the table; that of the holder.
        identifier: The column of identifiers.
        columns: Columns that the part uses; those of others are not known.
        label: The label's column, at the label party.
        schema_digest: Of the table when it was trained on.
        grants: Under which it took part.
    """

    organisation: Organisation
    dataset: Dataset
    identifier: Name
    columns: Annotated[tuple[Name, ...], Field(max_length=MAX_COLUMNS)]
    label: Name | None = None
    schema_digest: Digest
    grants: Annotated[tuple[Digest, ...], Field(max_length=1000)] = ()


class ModelFacts(Document):
    """All that a holder knows of a model.

    Attributes:
        shared: What all know.
        own: What it knows of itself.
        metrics: Measures of the model as JSON, where it knows them.
        leakage: The leak report as JSON, where there is one.
    """

    schema_: Literal["fusion.model-facts/1"] = Field(default="fusion.model-facts/1", alias="schema")
    shared: Shared
    own: Own
    metrics: dict[str, Any] = Field(default_factory=dict)
    leakage: dict[str, Any] | None = None

    @property
    def id(self) -> str:
        """The model's."""
        return self.shared.id


def facts_of(data: bytes) -> ModelFacts:
    """Read facts as they are kept.

    Raises:
        MessageInvalid: Too large, not canonical JSON, or not facts that keep every rule.
    """
    return read(data, ModelFacts, "model", MAX_FACTS_BYTES, _broken)


def shared_of(data: bytes) -> Shared:
    """Read what holders share, as one is told by another.

    Raises:
        MessageInvalid: As :func:`facts_of`.
    """
    return read(data, Shared, "model", MAX_FACTS_BYTES, _shared_broken)


def _broken(facts: ModelFacts) -> Iterator[tuple[tuple[str | int, ...], str]]:
    yield from ((("shared", *path), text) for path, text in _shared_broken(facts.shared))
    mine = facts.shared.holder(facts.own.organisation)
    if mine is None:
        yield ("own", "organisation"), "It holds no part of the model."
    elif mine.dataset != facts.own.dataset:
        yield ("own", "dataset"), "It is not that of the holder."
    elif (mine.role == "label") != (facts.own.label is not None):
        yield ("own", "label"), "The label party, and nobody else, names a label."


def _shared_broken(shared: Shared) -> Iterator[tuple[tuple[str | int, ...], str]]:
    names = [holder.organisation for holder in shared.holders]
    if len(set(names)) != len(names):
        yield ("holders",), "An organisation is listed twice."
    if [holder.role for holder in shared.holders] != ["label"] + ["feature"] * (len(names) - 1):
        yield ("holders",), "The label party comes first, and is the only one."


def model_name(study: str, digest: str) -> str:
    """Return what a study's model is called: its name as a folder can have it.

    Args:
        study: The study's name.
        digest: The study's, for a name without a usable letter.
    """
    plain = re.sub(r"[^a-z0-9]+", "-", study.lower()).strip("-")[:63].strip("-")
    return plain or f"model-{digest[:12]}"
