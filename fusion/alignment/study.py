"""What a vertical study says about its parties and their common records.

Four sections of its file: ``[study]``, ``[identifiers]``, ``[alignment]`` and a ``[[party]]`` for
each organisation. ``fusion align`` reads these alone and leaves the others to who trains.
Every key is on ``docs/alignment.md``. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import Field

from fusion.alignment.terms import MAX_ITEMS, MAX_PARTIES, Terms, field_of
from fusion.crypto.hashing import hexdigest
from fusion.errors import InputInvalid, MessageInvalid, StudyInvalid
from fusion.wire import canonical
from fusion.wire.documents import Part
from fusion.wire.plain_toml import tuples, written
from fusion.wire.study_fields import (
    MAX_COLUMNS,
    MAX_SEED,
    GrantId,
    Name,
    Organisation,
    Positive,
    Word,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusion.alignment.terms import Outcome
    from fusion.types import OrgId
    from fusion.wire.plain_yaml import KeyPath

SCHEMA: Final = "fusion.align-study/1"
TRAINING: Final = frozenset({"model", "leakage"})
"""The sections of the same file that an alignment does not look at."""
_MAX_BYTES: Final = 1024 * 1024
_DOMAIN: Final = "banyan/align-study/v1"


class StudySection(Part):
    """``[study]``: what it is, for whom, what for.

    Attributes:
        name: Of the study.
        kind: ``vertical``: the same people, different columns.
        operator: Who operates, as the grants name it.
        purpose: What for, as the grants name it.
        seed: Of all training randomness.
        test_fraction: Share of the common rows that judge and never train.
        patience: Seconds for which a party may be silent.
        standstill: Seconds for which nothing may come of parties none of which says that it works.
        longest_step: Seconds for which nothing may come, whatever they say.
    """

    name: Word
    kind: Literal["vertical"]
    operator: Organisation
    purpose: Annotated[str, Field(pattern=r"^dpv:[A-Za-z]{1,60}$")]
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] = 1
    test_fraction: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)] = 0.2
    patience: Annotated[float, Field(ge=2, le=86_400, allow_inf_nan=False)] = 60.0
    standstill: Annotated[float, Field(ge=2, le=86_400, allow_inf_nan=False)] = 300.0
    longest_step: Annotated[float, Field(ge=2, le=604_800, allow_inf_nan=False)] = 3600.0


class Identifiers(Part):
    """``[identifiers]``: how records are told apart.

    Attributes:
        kind: How identifiers are written.
        duplicates: What is done about a key on several rows.
        fold: Of ``text``: whether upper and lower case are the same.
    """

    kind: Literal["resident_id", "uscc", "phone", "text"]
    duplicates: Literal["refuse", "first", "unique-only"] = "refuse"
    fold: bool = False


class AlignmentSection(Part):
    """``[alignment]``: how many, and who learns what.

    Attributes:
        set_size: Most records of a party.
        minimum_intersection: Fewer common records than this are not released.
        minimum_overlap_permille: Least share of the larger set that is common, in thousandths.
        outcome: Of ``fusion align``: ``size``, ``one`` or ``both``. The first party learns.
        protocol: Of ``fusion align``: ``rr22`` for SecretFlow's, which both nodes have to offer;
            None for masking twice. A study without it has the digest that it always had.
    """

    set_size: Annotated[int, Field(ge=1, le=MAX_ITEMS)]
    minimum_intersection: Annotated[int, Field(ge=0, le=MAX_ITEMS)] = 20
    minimum_overlap_permille: Annotated[int, Field(ge=0, le=1000)] = 0
    outcome: Literal["one", "both", "size"] = "size"
    protocol: Literal["rr22"] | None = None


class PartySection(Part):
    """``[[party]]``: one organisation and its table.

    Attributes:
        organisation: Which.
        dataset: What it calls the table in its own node's configuration.
        identifier: Its column of identifiers.
        columns: Columns that are learned from.
        words: Those of them that hold words, whatever their cells look like; None for what is
            found.
        label: The column to predict, at the one party that has it.
        positive: Value of the label that counts as 1.
        grants: Ids of the only grants that this party may decide under; None for any.
    """

    organisation: Organisation
    dataset: Word
    identifier: Name
    columns: Annotated[tuple[Name, ...], Field(max_length=MAX_COLUMNS)] = ()
    words: Annotated[tuple[Name, ...], Field(min_length=1, max_length=MAX_COLUMNS)] | None = None
    label: Name | None = None
    positive: Positive | None = None
    grants: Annotated[tuple[GrantId, ...], Field(min_length=1, max_length=1000)] | None = None


class AlignmentStudy(Part):
    """The four sections."""

    study: StudySection
    identifiers: Identifiers
    alignment: AlignmentSection
    party: Annotated[tuple[PartySection, ...], Field(min_length=2, max_length=MAX_PARTIES)]

    @property
    def name(self) -> str:
        """Of the study."""
        return self.study.name

    @property
    def operator(self) -> OrgId:
        """Who operates, as the grants name it."""
        return self.study.operator

    @property
    def patience(self) -> float:
        """Seconds for which a party may be silent."""
        return self.study.patience

    @property
    def standstill(self) -> float:
        """Seconds for which nothing may come of parties none of which says that it works."""
        return self.study.standstill

    @property
    def longest_step(self) -> float:
        """Seconds for which nothing may come, whatever parties say."""
        return self.study.longest_step

    @property
    def set_size(self) -> int:
        """Most records of a party."""
        return self.alignment.set_size

    @property
    def organisations(self) -> tuple[str, ...]:
        """Who takes part; the first one learns."""
        return tuple(party.organisation for party in self.party)

    def of(self, organisation: str) -> PartySection:
        """Return an organisation's section.

        Raises:
            InputInvalid: The study does not name it.
        """
        for party in self.party:
            if party.organisation == organisation:
                return party
        raise InputInvalid(f"The study {self.study.name} does not name {organisation}.")

    def terms(self, federation: str, job: str) -> Terms:
        """Return what the parties agree on in a job."""
        outcome: Outcome = self.alignment.outcome
        ids, alignment = self.identifiers, self.alignment
        return Terms(
            field=field_of(federation, job, ids.kind, ids.kind, fold=ids.fold),
            parties=self.organisations,
            outcome=outcome,
            set_size=alignment.set_size,
            minimum_intersection=alignment.minimum_intersection,
            minimum_overlap_permille=alignment.minimum_overlap_permille,
        )

    def canonical(self) -> bytes:
        """Return the four sections, defaults filled in, as canonical JSON."""
        return canonical.encode(
            {"schema": SCHEMA, **self.model_dump(mode="json", exclude_none=True)}
        )

    def digest(self) -> str:
        """Return what names exactly these sections, in hexadecimal."""
        return hexdigest(_DOMAIN, self.canonical())

    @classmethod
    def from_canonical(cls, data: bytes) -> AlignmentStudy:
        """Read what came over the wire, by the same rules as a file.

        Raises:
            MessageInvalid: Too large, not canonical JSON, or not such sections.
        """
        value = canonical.decode(data, _MAX_BYTES)
        if not isinstance(value, dict) or value.pop("schema", None) != SCHEMA:
            raise MessageInvalid(f"A message is not a study of the schema {SCHEMA}.")
        try:
            study = cls.model_validate(tuples(value))
        except ValueError:
            raise MessageInvalid("A study that came is not well formed.") from None
        if any(True for _ in broken_rules(study)) or study.canonical() != data:
            raise MessageInvalid("A study that came breaks a rule, or leaves defaults out.")
        return study


def broken_rules(study: AlignmentStudy) -> Iterator[tuple[KeyPath, str]]:
    """Yield path and message of every rule between values of the sections that is broken."""
    seen: set[str] = set()
    for index, party in enumerate(study.party):
        if party.organisation in seen:
            yield (
                ("party", index, "organisation"),
                f"{party.organisation} is there twice; a party has one table.",
            )
        seen.add(party.organisation)
        own = [*party.columns, party.identifier, *([party.label] if party.label else [])]
        if len(set(own)) != len(own):
            yield (
                ("party", index, "columns"),
                "Columns, identifier and label of a party are each another column.",
            )
        if not set(party.words or ()) <= set(party.columns):
            yield ("party", index, "words"), "`words` are some of the party's `columns`."
        if party.positive is not None and party.label is None:
            yield ("party", index, "positive"), "`positive` is a value of the `label`."
    yield from _alignment_rules(study)
    if study.identifiers.fold and study.identifiers.kind != "text":
        yield ("identifiers", "fold"), "`fold` is for identifiers of the kind `text`."


def _alignment_rules(study: AlignmentStudy) -> Iterator[tuple[KeyPath, str]]:
    alignment = study.alignment
    if alignment.minimum_intersection > alignment.set_size:
        yield (
            ("alignment", "minimum_intersection"),
            "No set has as many records as `minimum_intersection` wants in common.",
        )
    if alignment.outcome == "both" and len(study.party) > 2:
        yield (
            ("alignment", "outcome"),
            "With more than two parties the first one learns: `one` or `size`.",
        )
    if alignment.protocol == "rr22" and len(study.party) > 2:
        yield ("alignment", "protocol"), "RR22 is for two parties."
    if alignment.protocol == "rr22" and alignment.outcome == "size":
        yield (
            ("alignment", "protocol"),
            "RR22 shows the first party the records: `outcome` is `one` or `both`.",
        )


def parse_study(text: str, origin: str) -> AlignmentStudy:
    """Read the four sections of a study's file; those for training are not looked at.

    Args:
        text: TOML.
        origin: The file's name, for messages.

    Raises:
        StudyInvalid: Not TOML, or a rule is broken; the message names the line.
    """
    found, values = written(text, origin, StudyInvalid)
    known: dict[str, Any] = {name: value for name, value in values.items() if name not in TRAINING}
    study = found.fitted(AlignmentStudy, known)
    for path, message in broken_rules(study):
        raise found.fail(path, message)
    return study
