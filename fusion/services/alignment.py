"""Alignment on one machine: a column's report, and both parties of a job in one process."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fusion.alignment import controls
from fusion.alignment.preparation import examine, prepare
from fusion.alignment.rules import Decided, refused
from fusion.alignment.session import Session
from fusion.alignment.terms import MAX_ITEMS, Terms, field_of
from fusion.connectors.files import read_table
from fusion.crypto import rng
from fusion.errors import InputInvalid
from fusion.services.maskers import maskers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fusion.alignment.identifiers import Kind
    from fusion.alignment.preparation import Duplicates, Prepared
    from fusion.alignment.terms import Outcome

FIRST: Final = "first"
SECOND: Final = "second"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of identifiers, and how it is read.

    Attributes:
        name: Of the column.
        kind: Of the identifiers.
        duplicates: What is done about a key on several rows.
        fold: Of ``text``: whether upper and lower case are the same.
    """

    name: str
    kind: Kind
    duplicates: Duplicates
    fold: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a simulation is to find.

    Attributes:
        outcome: Who learns, and what.
        minimum_intersection: Fewer common records are not released.
        minimum_overlap_permille: Share of the larger set that has to be common.
        set_size: Most keys of a set.
        workers: Threads or processes of each party; None for as many as make sense.
    """

    outcome: Outcome
    minimum_intersection: int = 0
    minimum_overlap_permille: int = 0
    set_size: int = MAX_ITEMS
    workers: int | None = None


def check(path: Path, column: Column) -> Prepared:
    """Return the report of a column, also where its duplicates would be refused; nothing leaves.

    Raises:
        DataInvalid: The file can't be read, or lacks the column.
    """
    cells = read_table(path, [column.name], text=[column.name])[column.name]
    return examine(column.kind, cells.tolist(), duplicates=column.duplicates, fold=column.fold)


def _prepared(path: Path, column: Column) -> Prepared:
    cells = read_table(path, [column.name], text=[column.name])[column.name]
    found = prepare(column.kind, cells.tolist(), duplicates=column.duplicates, fold=column.fold)
    if not found.keys:
        empty = refused(Decided.EMPTY)
        empty.add_note(f"{path}: {found.report.sentence()}")
        raise empty
    return found


def simulate(
    paths: tuple[Path, Path], column: Column, wanted: Wanted, say: Callable[[str], None]
) -> dict[str, Any]:
    """Align two files with both parties in this process; return sizes, reports and costs.

    Raises:
        DataInvalid: A file can't be read, or lacks the column.
        AlignmentRefused: A key is on several rows, or the result may not be released.
    """
    if paths[0].resolve() == paths[1].resolve():
        raise InputInvalid("Both parties have the same file.", hint="Name two files.")
    watch = _Watch()
    say("reading")
    sides = [_prepared(path, column) for path in paths]
    terms = Terms(
        field=field_of(
            "simulation", rng.token(16).hex(), column.name, column.kind, fold=column.fold
        ),
        parties=(FIRST, SECOND),
        outcome=wanted.outcome,
        set_size=wanted.set_size,
        minimum_intersection=wanted.minimum_intersection,
        minimum_overlap_permille=wanted.minimum_overlap_permille,
    )
    counts = [len(side.keys) for side in sides]
    controls.sizes(terms, *counts)
    watch.lap("prepare")
    open_masker = maskers(max(counts), wanted.workers)
    say(f"masking {counts[0]:,} and {counts[1]:,} keys")
    sessions = [
        Session.begin(terms, name, side.keys, open_masker)
        for name, side in zip(terms.parties, sides, strict=True)
    ]
    watch.lap("mask")
    say("masking each other's")
    sent = carry(sessions[0], sessions[1])
    watch.lap("exchange")
    learned = sessions[0].outcome()
    return {
        "outcome": wanted.outcome,
        "common": learned.size if learned else None,
        "parties": [
            {"file": path.name, "report": side.report.document(), "commitment": session.commitment}
            for path, side, session in zip(paths, sides, sessions, strict=True)
        ],
        "seconds": watch.document(),
        "bytes": {"first_to_second": sent[FIRST], "second_to_first": sent[SECOND]},
    }


def carry(one: Session, other: Session) -> dict[str, int]:
    """Carry messages until neither has more; return the bytes that each sent, by its name.

    Raises:
        AlignmentRefused: Sizes are not what the terms allow, or too little is common.
        AlignmentBroken: A message breaks a rule of the protocol.
    """
    sent, count = {one.me: 0, other.me: 0}, {one.me: 0, other.me: 0}
    moved = True
    while moved:
        moved = False
        for speaker, listener in ((one, other), (other, one)):
            while count[speaker.me] < speaker.ready:
                message = speaker.message(count[speaker.me])
                listener.take(message)
                sent[speaker.me] += len(message)
                count[speaker.me] += 1
                moved = True
    return sent


class _Watch:
    """Seconds of the parts of some work, and of the processor for all of it."""

    def __init__(self) -> None:
        self._parts: dict[str, float] = {}
        self._last = time.monotonic()
        self._cpu = sum(os.times()[:4])

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self._parts[name] = round(now - self._last, 3)
        self._last = now

    def document(self) -> dict[str, float]:
        cpu = sum(os.times()[:4]) - self._cpu  # of workers too: they have ended
        return {**self._parts, "total": round(sum(self._parts.values()), 3), "cpu": round(cpu, 3)}
