"""A vertical study: whose columns of the same people one model is trained on, and how.

TEMPORARY sections until the alignment's study is merged.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidationError

from federated.study_document import (
    MAX_SEED,
    GrantId,
    Name,
    Organisation,
    Positive,
    Section,
    Word,
)
from federated.study_lines import line_of
from federated.vertical.aligning import Meeting
from federated.vertical.model_section import Boosting, Linear, Model
from federated.vertical.work import DEALER, Cast
from fusion.crypto.hashing import hexdigest
from fusion.errors import InputInvalid, MessageInvalid, StudyInvalid
from fusion.wire import canonical

SCHEMA: Final = "fusion.vertical-study/1"
MAX_STUDY_BYTES: Final = 1 << 20
_DIGEST_DOMAIN: Final = "banyan/vertical-study/v1"


class StudySection(Section):
    """``[study]``."""

    name: Word
    kind: Literal["vertical"]
    operator: Organisation
    purpose: Annotated[str, Field(pattern=r"^dpv:[A-Za-z]{1,60}$")]
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] = 1
    test_fraction: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)] = 0.2
    patience: Annotated[float, Field(ge=2, le=86_400, allow_inf_nan=False)] = 60.0


class Identifiers(Section):
    """``[identifiers]``."""

    kind: Literal["resident_id", "uscc", "phone", "text"]
    duplicates: Literal["refuse", "first", "unique-only"] = "refuse"
    fold: bool = False


class AlignmentSection(Section):
    """``[alignment]``."""

    set_size: Annotated[int, Field(ge=1, le=100_000_000)]
    minimum_intersection: Annotated[int, Field(ge=0, le=100_000_000)] = 20
    minimum_overlap_permille: Annotated[int, Field(ge=0, le=1000)] = 0


class PartySection(Section):
    """``[[party]]``."""

    organisation: Organisation
    dataset: Word
    identifier: Name
    columns: Annotated[tuple[Name, ...], Field(max_length=4096)]
    label: Name | None = None
    positive: Positive | None = None
    grants: Annotated[tuple[GrantId, ...], Field(min_length=1, max_length=1000)] | None = None


class Document(Section):
    """The whole document."""

    study: StudySection
    identifiers: Identifiers
    alignment: AlignmentSection
    party: Annotated[tuple[PartySection, ...], Field(min_length=2, max_length=16)]
    model: Model


@dataclass(frozen=True, kw_only=True)
class VerticalStudy:
    """A vertical study that keeps all the rules."""

    document: Document

    @property
    def name(self) -> str:
        """Of the study."""
        return self.document.study.name

    @property
    def operator(self) -> str:
        """Who operates."""
        return self.document.study.operator

    @property
    def purpose(self) -> str:
        """What for."""
        return self.document.study.purpose

    @property
    def seed(self) -> int:
        """Of the split, and of GOSS."""
        return self.document.study.seed

    @property
    def test_fraction(self) -> float:
        """Share of the aligned rows that judges."""
        return self.document.study.test_fraction

    @property
    def patience(self) -> float:
        """Seconds for which a party may be silent."""
        return self.document.study.patience

    @property
    def identifiers(self) -> Identifiers:
        """How identifiers are read."""
        return self.document.identifiers

    @property
    def model(self) -> Boosting | Linear:
        """The model."""
        return self.document.model

    @property
    def parties(self) -> tuple[PartySection, ...]:
        """As the study lists them."""
        return self.document.party

    @property
    def organisations(self) -> tuple[str, ...]:
        """All who hold data, the label party first."""
        return self.cast.parties

    @cached_property
    def cast(self) -> Cast:
        """Who takes part as what."""
        label = next(party.organisation for party in self.parties if party.label is not None)
        others = tuple(p.organisation for p in self.parties if p.label is None)
        return Cast(label, others, DEALER if self.model.backend == "dealer" else None)

    def party(self, organisation: str) -> PartySection:
        """Return an organisation's section.

        Raises:
            InputInvalid: The study does not name it.
        """
        for party in self.parties:
            if party.organisation == organisation:
                return party
        raise InputInvalid(f"The study {self.name} does not name {organisation}.")

    def meeting(self, federation: str, job: str, attempt: int) -> Meeting:
        """Return what the parties agree on about their records, in one attempt of a run."""
        alignment = self.document.alignment
        return Meeting(
            federation=federation,
            job=job,
            attempt=attempt,
            cast=self.cast,
            kind=self.identifiers.kind,
            fold=self.identifiers.fold,
            set_size=alignment.set_size,
            minimum_intersection=alignment.minimum_intersection,
            minimum_overlap_permille=alignment.minimum_overlap_permille,
        )

    def canonical(self) -> bytes:
        """Return the study, defaults filled in, as canonical JSON."""
        value = self.document.model_dump(mode="json", exclude_none=True)
        return canonical.encode({"schema": SCHEMA, **value})

    def digest(self) -> str:
        """Return what names exactly this study, in hexadecimal."""
        return hexdigest(_DIGEST_DOMAIN, self.canonical())

    @classmethod
    def from_canonical(cls, data: bytes) -> VerticalStudy:
        """Read a study that came over the wire.

        Raises:
            MessageInvalid: Not canonical JSON, or of another schema.
            StudyInvalid: It breaks a rule.
        """
        value = canonical.decode(data, limit=MAX_STUDY_BYTES)
        if not isinstance(value, dict) or value.pop("schema", None) != SCHEMA:
            raise MessageInvalid(f"A message is not a study of the schema {SCHEMA}.")
        study = _study(value, "the study", None)
        if study.canonical() != data:
            raise MessageInvalid("A study does not state its defaults.")
        return study


def _tuples(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _study(value: Any, origin: str, text: str | None) -> VerticalStudy:  # noqa: ANN401
    try:
        return VerticalStudy(document=Document.model_validate(_tuples(value)))
    except ValidationError as error:
        first = error.errors()[0]
        line = "" if text is None else f":{line_of(text, first['loc'])}"
        raise StudyInvalid(f"{origin}{line}: {first['loc']} {first['msg']}") from None


def parse_vertical(text: str, origin: str) -> VerticalStudy:
    """Read a study file."""
    return _study(tomllib.loads(text), origin, text)
