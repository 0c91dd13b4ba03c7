"""A vertical study: whose columns of the same people one model is trained on, and how.

Parties and their common records are :mod:`fusion.alignment.study`'s; ``[model]`` is
:mod:`federated.vertical.model_section`'s. Every key is on ``docs/vertical-study.md``. Pure.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from federated.vertical.aligning import Meeting
from federated.vertical.model_section import Boosting, Linear, Model, Scorecard
from federated.vertical.work import DEALER, Cast
from fusion.alignment.study import SCHEMA as ALIGNMENT_SCHEMA
from fusion.alignment.study import AlignmentStudy, Identifiers, PartySection
from fusion.alignment.study import broken_rules as alignment_rules
from fusion.crypto.hashing import hexdigest
from fusion.errors import MessageInvalid, StudyInvalid
from fusion.grants.leakage import Limits
from fusion.wire import canonical
from fusion.wire.plain_toml import tuples, written

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusion.wire.plain_yaml import KeyPath

SCHEMA: Final = "fusion.vertical-study/1"
JointStudy: TypeAlias = "VerticalStudy | AlignmentStudy"
"""What several parties do together: train a model, or align their records alone."""
MAX_STUDY_BYTES: Final = 1 << 20
_DOMAIN: Final = "banyan/vertical-study/v1"


class Document(AlignmentStudy):
    """The whole document: the sections of an alignment, the model, what it may tell."""

    model: Model
    leakage: Limits = Limits()


@dataclass(frozen=True)
class VerticalStudy:
    """A vertical study that keeps all the rules.

    Attributes:
        document: What was written, defaults filled in.
    """

    document: Document

    @property
    def name(self) -> str:
        """Of the study."""
        return self.document.study.name

    @property
    def operator(self) -> str:
        """Who operates, as the grants name it."""
        return self.document.study.operator

    @property
    def purpose(self) -> str:
        """What for, as the grants name it."""
        return self.document.study.purpose

    @property
    def seed(self) -> int:
        """Of the split, and of the rows that GOSS draws."""
        return self.document.study.seed

    @property
    def test_fraction(self) -> float:
        """Share of the common rows that judges."""
        return self.document.study.test_fraction

    @property
    def patience(self) -> float:
        """Seconds for which a party may be silent."""
        return self.document.study.patience

    @property
    def standstill(self) -> float:
        """Seconds for which nothing may come of parties none of which says that it works."""
        return self.document.study.standstill

    @property
    def longest_step(self) -> float:
        """Seconds for which nothing may come, whatever parties say."""
        return self.document.study.longest_step

    @property
    def set_size(self) -> int:
        """Most records of a party."""
        return self.document.set_size

    @property
    def identifiers(self) -> Identifiers:
        """How records are told apart."""
        return self.document.identifiers

    @property
    def model(self) -> Boosting | Linear | Scorecard:
        """The model."""
        return self.document.model

    @property
    def promises(self) -> Limits:
        """What the model, and its training, tell at most, or it is not released."""
        return self.document.leakage

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
        label = next(each.organisation for each in self.parties if each.label is not None)
        others = tuple(each.organisation for each in self.parties if each.label is None)
        return Cast(label, others, DEALER if self.model.backend == "dealer" else None)

    def party(self, organisation: str) -> PartySection:
        """Return an organisation's section.

        Raises:
            InputInvalid: The study does not name it.
        """
        return self.document.of(organisation)

    def meeting(self, federation: str, job: str) -> Meeting:
        """Return what the parties agree on about their records in a run."""
        alignment = self.document.alignment
        return Meeting(
            federation=federation,
            job=job,
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
        return hexdigest(_DOMAIN, self.canonical())

    @classmethod
    def from_canonical(cls, data: bytes) -> VerticalStudy:
        """Read a study that came over the wire, by the same rules as a file.

        Raises:
            MessageInvalid: Too large, not canonical JSON, or not a study that keeps every rule.
        """
        value = canonical.decode(data, limit=MAX_STUDY_BYTES)
        if not isinstance(value, dict) or value.pop("schema", None) != SCHEMA:
            raise MessageInvalid(f"A message is not a study of the schema {SCHEMA}.")
        try:
            study = cls(Document.model_validate(tuples(value)))
        except ValueError:
            raise MessageInvalid("A study that came is not well formed.") from None
        if any(True for _ in broken_rules(study.document)) or study.canonical() != data:
            raise MessageInvalid("A study that came breaks a rule, or leaves defaults out.")
        return study


def joint_from_canonical(data: bytes) -> JointStudy:
    """Read a study that came over the wire, of whichever of the two kinds it says it is.

    Raises:
        MessageInvalid: As the ``from_canonical`` of both.
    """
    value = canonical.decode(data, limit=MAX_STUDY_BYTES)
    if isinstance(value, dict) and value.get("schema") == ALIGNMENT_SCHEMA:
        return AlignmentStudy.from_canonical(data)
    return VerticalStudy.from_canonical(data)


def broken_rules(document: Document) -> Iterator[tuple[KeyPath, str]]:
    """Yield path and message of every rule between values that is broken."""
    yield from alignment_rules(document)
    if document.alignment.protocol is not None:
        yield (
            ("alignment", "protocol"),
            "Training goes on after a crash, which RR22 does not: leave `protocol` out.",
        )
    with_label = [at for at, party in enumerate(document.party) if party.label is not None]
    if len(with_label) != 1:
        yield ("party",), f"One party has the `label`, and only one; here {len(with_label)} have."
    for at, party in enumerate(document.party):
        if party.label is None and not party.columns:
            yield ("party", at, "columns"), "A party without the label brings at least one column."
    model = document.model
    if isinstance(model, Boosting):
        yield from _boosting_rules(document, model)


def _boosting_rules(document: Document, model: Boosting) -> Iterator[tuple[KeyPath, str]]:
    if model.goss is not None and model.goss.top + model.goss.other > 1:
        yield ("model", "goss"), "`top` and `other` are at most 1 together."
    if model.alone_trees > model.trees:
        yield ("model", "alone_trees"), "`alone_trees` is at most `trees`."
    if model.stop_after and not document.study.test_fraction:
        yield ("model", "stop_after"), "Without rows that judge nobody sees when to stop."
    known = {column for party in document.party for column in party.columns}
    for name in model.monotone:
        if name not in known:
            yield ("model", "monotone", name), f"No party has a column {name!r}."


def parse_vertical(text: str, origin: str) -> VerticalStudy:
    """Read a study's file.

    Args:
        text: TOML.
        origin: The file's name, for messages.

    Raises:
        StudyInvalid: Not TOML, or a rule is broken; the message names the line.
    """
    found, values = written(text, origin, StudyInvalid)
    document = found.fitted(Document, values)
    for path, message in broken_rules(document):
        raise found.fail(path, message)
    return VerticalStudy(document)


def is_vertical(text: str) -> bool:
    """Return whether a text says that it is a vertical study; whatever else is wrong with it."""
    try:
        value: Any = tomllib.loads(text)
        return bool(value.get("study", {}).get("kind") == "vertical")
    except (tomllib.TOMLDecodeError, RecursionError, AttributeError):
        return False
