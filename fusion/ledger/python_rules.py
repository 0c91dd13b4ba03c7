"""What a log's entries about Python jobs have to mean together.

A run has its charge and, before it, an approval that is the newest verdict on its job and has a run
left; a table that leaves has its run, once, and leaves checked where the verdict says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fusion.ledger import entry as entries

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import NoReturn


@dataclass(slots=True)
class _Approved:
    """The newest verdict on a job, and the runs that were begun under it."""

    entry: entries.PythonJudged
    begun: int = 0


class PythonRules:
    """Takes the entries about Python jobs in order.

    Attributes:
        rules: What takes each kind of entry.
    """

    def __init__(self, charged: dict[str, bool], broken: Callable[[str], NoReturn]) -> None:
        """Begin.

        Args:
            charged: Reservations of queries, and whether each was used; shared with those rules.
            broken: Raises at the entry that can't be.
        """
        self._charged = charged
        self._broken = broken
        self._submitted: dict[str, str] = {}
        self._verdicts: dict[str, _Approved] = {}
        self._seen: set[str] = set()
        self._runs: dict[str, entries.PythonJudged] = {}
        self._released: set[str] = set()
        self.rules: Mapping[type[Any], Callable[[Any], None]] = {
            entries.PythonSubmitted: self._submit,
            entries.PythonJudged: self._judge,
            entries.PythonRun: self._run,
            entries.PythonReleased: self._release,
        }

    def _submit(self, entry: entries.PythonSubmitted) -> None:
        if entry.job in self._submitted:
            self._broken("the job was submitted before")
        self._submitted[entry.job] = entry.organisation

    def _judge(self, entry: entries.PythonJudged) -> None:
        if self._submitted.get(entry.job) != entry.organisation:
            self._broken("it judges a job that was not submitted, or another organisation's")
        if entry.approved != bool(entry.runs):
            self._broken("what is approved has runs, and what is refused has none")
        if entry.verdict in self._seen:
            self._broken("the verdict was logged before")
        self._seen.add(entry.verdict)
        self._verdicts[entry.job] = _Approved(entry)

    def _run(self, entry: entries.PythonRun) -> None:
        found = self._verdicts.get(entry.job)
        if found is None or not found.entry.approved or found.entry.verdict != entry.verdict:
            self._broken("no entry before it approves the job, or the owner has judged it anew")
        if found.entry.organisation != entry.organisation:
            self._broken("the job was approved for another organisation")
        found.begun += 1
        if found.begun > found.entry.runs:
            self._broken("more runs are begun than were approved")
        if self._charged.get(entry.reservation) is not False:
            self._broken("the run was not charged, or its charge was used before")
        self._charged[entry.reservation] = True
        self._runs[entry.reservation] = found.entry

    def _release(self, entry: entries.PythonReleased) -> None:
        under = self._runs.get(entry.reservation)
        if under is None or under.job != entry.job:
            self._broken("it releases the table of a run that was not logged")
        if under.checked and not entry.checked:
            self._broken("nobody looked at the table, which the approval asks for")
        if entry.reservation in self._released:
            self._broken("it releases the table of a run for a second time")
        self._released.add(entry.reservation)
