"""What a log's entries about alignments have to mean together.

A set is committed to once for a job, under its order and on a charge of its own; what was learned
is said once, and only of a job in which a set was committed to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fusion.ledger import alignment_entries as entries

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import NoReturn


class AlignmentRules:
    """Takes the entries about alignments, and says which can't be."""

    def __init__(
        self,
        charged: dict[str, bool],
        ordered: Mapping[str, object],
        broken: Callable[[str], NoReturn],
    ) -> None:
        """Begin.

        Args:
            charged: Runs that were charged, and whether one was used; these rules use them.
            ordered: Jobs for which an order was taken.
            broken: Raises, with a reason.
        """
        self._charged, self._ordered, self._broken = charged, ordered, broken
        self._committed: dict[str, str] = {}
        self._aligned: set[str] = set()
        self.rules: Mapping[type[Any], Callable[[Any], None]] = {
            entries.SetCommitted: self._commits,
            entries.SetAligned: self._aligns,
        }

    def _commits(self, entry: entries.SetCommitted) -> None:
        if entry.job not in self._ordered:
            self._broken(f"no order was taken for job {entry.job}")
        if entry.job in self._committed:
            self._broken(f"a set was committed to in job {entry.job} before")
        known = (len(entry.peer_commitments), len(entry.peer_records))
        if known not in {(0, 0), (len(entry.peers), len(entry.peers))}:
            self._broken("commitments, sizes and peers are not as many")
        if self._charged.get(entry.reservation) is not False:
            self._broken("the alignment was not charged, or its charge was used before")
        self._charged[entry.reservation] = True
        self._committed[entry.job] = entry.reservation

    def _aligns(self, entry: entries.SetAligned) -> None:
        if self._committed.get(entry.job) != entry.reservation:
            self._broken(f"no set was committed to in job {entry.job} on this charge")
        if entry.job in self._aligned:
            self._broken(f"what was learned in job {entry.job} was said before")
        if entry.learned == "nothing" and entry.common:
            self._broken("who learns nothing knows no number")
        self._aligned.add(entry.job)
