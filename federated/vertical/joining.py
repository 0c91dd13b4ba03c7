"""The rows that all parties have, found as organisations would: by private set intersection.

Two parties hold one session in which both learn what is common. Three and more go round a ring, in
which the label party alone learns what all have; it then holds a session with each feature party
over these records only, so that a feature party learns which of its own are common to all, and
nothing of what it shares with the label party alone. Each party puts its common keys in order
(by code point), which gives all of them one order of rows.

What sizes each party sees on the way: ``docs/vertical.md``.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fusion.alignment.preparation import prepare
from fusion.alignment.ring import Member
from fusion.alignment.rules import Broken, Decided, broken, refused
from fusion.alignment.session import Session
from fusion.alignment.terms import MAX_ITEMS, MAX_PARTIES, Terms, field_of
from fusion.crypto import rng
from fusion.errors import AlignmentRefused, InputInvalid
from fusion.services.alignment import carry
from fusion.services.maskers import maskers

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from numpy.typing import NDArray

    from fusion.alignment.preparation import Prepared
    from fusion.alignment.session import Maskers
    from fusion.alignment.session import Outcome as Learned
    from fusion.alignment.terms import Outcome
    from fusion.services.alignment import Column

    Ints = NDArray[np.int64]

MIN_ROWS: Final = 20
"""Fewer common records are not released: no model comes of them."""


@dataclass(frozen=True, slots=True)
class Alignment:
    """What an alignment gave and took.

    Attributes:
        rows: Of each party, the rows of its table that hold the common records, in one order.
        reports: Of each party by name, what was found in its column; for its owner alone.
        seconds: By the clock, with the preparation of identifiers.
        sent: Bytes of all messages.
    """

    rows: list[Ints]
    reports: Mapping[str, dict[str, Any]]
    seconds: float
    sent: int


@dataclass(slots=True)
class Meeting:
    """Parties of one alignment; each job between them has a name, and so points, of its own.

    Attributes:
        column: How identifiers are read.
        open_masker: Puts a scalar to work.
        sent: Bytes of all messages so far.
    """

    column: Column
    open_masker: Maskers
    sent: int = 0
    _run: str = field(default_factory=lambda: rng.token(16).hex())
    _jobs: int = 0

    def terms(self, parties: Sequence[str], outcome: Outcome) -> Terms:
        """Return terms of the next job."""
        self._jobs += 1
        job = f"{self._run}-{self._jobs}"
        kind, fold = self.column.kind, self.column.fold
        return Terms(
            field=field_of("simulation", job, self.column.name, kind, fold=fold),
            parties=tuple(parties),
            outcome=outcome,
            set_size=MAX_ITEMS,
            minimum_intersection=MIN_ROWS,
        )

    def pair(self, sets: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
        """Let two parties find what both have; return what each found of its own."""
        terms = self.terms(list(sets), "both")
        sessions = [Session.begin(terms, me, keys, self.open_masker) for me, keys in sets.items()]
        try:
            self.sent += sum(carry(*sessions).values())
            return {s.me: _own(sets[s.me], s.outcome()) for s in sessions}
        finally:
            for session in sessions:
                session.wipe()

    def ring(self, sets: Mapping[str, Sequence[str]]) -> list[str]:
        """Let three or more go round; return what the first found of its own."""
        terms = self.terms(list(sets), "one")
        members = {me: Member.begin(terms, me, keys, self.open_masker) for me, keys in sets.items()}
        try:
            while self._hand_over(members):
                pass
            receiver = members[terms.receiver]
            return _own(sets[receiver.me], receiver.outcome())
        finally:
            for member in members.values():
                member.wipe()

    def _hand_over(self, members: Mapping[str, Member]) -> bool:
        """Carry what is ready; return whether there was anything."""
        moved = False
        for member in members.values():
            for recipient in member.recipients():
                other = members[recipient]
                while not other.over and other.taken[member.me] < member.ready(recipient):
                    message = member.message(recipient, other.taken[member.me])
                    other.take(member.me, message)
                    self.sent += len(message)
                    moved = True
        return moved


def _own(keys: Sequence[str], learned: Learned | None) -> list[str]:
    """Return the keys that a party has learned to be common."""
    return [keys[at] for at in (learned.keys or ())] if learned else []


def align(
    columns: Mapping[str, Collection[object]], column: Column, tell: Callable[[str], None]
) -> Alignment:
    """Find the records that all parties have.

    Args:
        columns: Identifiers of each party, a cell a row; the label party first.
        column: How they are read.
        tell: Told how far it is.

    Raises:
        AlignmentRefused: A-10: a key is on several rows of a party, and the rule is ``refuse``.
            A-14: fewer than :data:`MIN_ROWS` records are common. A-17: a party has no key.
        InputInvalid: Parties are less than two, or more than an alignment may have.
    """
    if not 2 <= len(columns) <= MAX_PARTIES:
        raise InputInvalid(f"An alignment has from 2 to {MAX_PARTIES} parties.")
    began = time.perf_counter()
    tell("reading identifiers")
    sides = [_prepared(name, cells, column) for name, cells in columns.items()]
    # On the wire a party goes by the id of its organisation; here files may have any name.
    sets = {f"party-{number}": side.keys for number, side in enumerate(sides)}
    meeting = Meeting(column, maskers(max(map(len, sets.values()))))
    tell("aligning " + ", ".join(f"{len(keys):,}" for keys in sets.values()) + " keys")
    found = common(meeting, sets)
    rows = []
    for me, side in zip(sets, sides, strict=True):
        places = dict(zip(side.keys, side.rows, strict=True))
        rows.append(np.array([places[key] for key in sorted(found[me])], np.int64))
    reports = {n: side.report.document() for n, side in zip(columns, sides, strict=True)}
    return Alignment(rows, reports, time.perf_counter() - began, meeting.sent)


def _prepared(name: str, cells: Collection[object], column: Column) -> Prepared:
    """Return a party's keys; a refusal says whose they are."""
    try:
        side = prepare(column.kind, cells, duplicates=column.duplicates, fold=column.fold)
    except AlignmentRefused as error:
        mine = _of(name, error)
        for note in getattr(error, "__notes__", []):
            mine.add_note(note)
        raise mine from None
    if not side.keys:
        empty = _of(name, refused(Decided.EMPTY))
        empty.add_note(side.report.sentence())
        raise empty
    return side


def _of(name: str, refusal: AlignmentRefused) -> AlignmentRefused:
    message = f"{refusal.message} ({name})"
    return AlignmentRefused(message, hint=refusal.hint, code=refusal.code)


def common(meeting: Meeting, sets: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Return of each party the keys that it has learned to be common to all.

    Args:
        meeting: Of the parties.
        sets: Their keys, each once; the label party first.

    Raises:
        AlignmentRefused: A-14: too few are common.
        AlignmentBroken: A-64: a party's set lacks records that it had in the ring.
    """
    if len(sets) == 2:
        return meeting.pair(sets)
    label, *others = sets
    shared = meeting.ring(sets)
    found = {label: shared}
    for other in others:
        learned = meeting.pair({label: shared, other: sets[other]})
        if len(learned[label]) != len(shared):  # what it put into the ring is another set
            raise broken(Broken.OUTPUTS, other)
        found[other] = learned[other]
    return found
