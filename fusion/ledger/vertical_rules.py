"""What a log's entries about vertical runs have to mean together.

Records are aligned for a run that was agreed to; a part is finished after an alignment, once an
attempt; attempts are begun in their order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fusion.ledger import vertical_entries

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import NoReturn


class VerticalRules:
    """Takes the entries about vertical runs in order.

    Attributes:
        rules: What takes each kind of entry.
    """

    def __init__(self, known: Callable[[str], object], broken: Callable[[str], NoReturn]) -> None:
        """Begin.

        Args:
            known: Raises for a job that was neither agreed to nor begun, or has ended.
            broken: Raises at the entry that can't be.
        """
        self._known = known
        self._broken = broken
        self._organisations: dict[str, frozenset[str]] = {}
        self._aligned: dict[str, int] = {}
        self._trained: set[tuple[str, int]] = set()
        self._attempts: dict[str, int] = {}
        self.rules: Mapping[type[Any], Callable[[Any], None]] = {
            vertical_entries.RecordsAligned: self._align,
            vertical_entries.PartTrained: self._train,
            vertical_entries.AttemptBegun: self._begin,
        }

    def begin(self, job: str, organisations: tuple[str, ...]) -> None:
        """Note who takes part in a run that was agreed to or begun."""
        if len(set(organisations)) != len(organisations):
            self._broken("an organisation takes part in the run twice")
        self._organisations[job] = frozenset(organisations)

    def _align(self, entry: vertical_entries.RecordsAligned) -> None:
        self._known(entry.job)
        peers = entry.peers
        if not len(peers) == len(entry.peer_commitments) == len(entry.peer_records):
            self._broken("peers, their commitments and sizes are not as many")
        strangers = sorted(set(peers) - self._organisations.get(entry.job, frozenset()))
        if strangers or len(set(peers)) != len(peers):
            self._broken(f"{', '.join(strangers) or 'a party, twice,'} takes no part in the job")
        if entry.common > min(entry.records, *entry.peer_records):
            self._broken("more records are common than a party has")
        if entry.attempt <= self._aligned.get(entry.job, 0):
            self._broken(f"attempt {entry.attempt} aligned records before, or a later one did")
        self._aligned[entry.job] = entry.attempt

    def _train(self, entry: vertical_entries.PartTrained) -> None:
        self._known(entry.job)
        aligned = self._aligned.get(entry.job)
        if aligned is None or entry.attempt < aligned:
            self._broken("no entry before it aligns the records that it was trained on")
        if (entry.job, entry.attempt) in self._trained:
            self._broken("the attempt gave a part before")
        self._trained.add((entry.job, entry.attempt))

    def _begin(self, entry: vertical_entries.AttemptBegun) -> None:
        self._known(entry.job)
        if entry.attempt <= self._attempts.get(entry.job, 0):
            self._broken(f"attempt {entry.attempt} was begun before, or a later one was")
        self._attempts[entry.job] = entry.attempt
