"""Who takes part, who dropped out, since when and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusion.errors import QuorumLost

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fusion.ports import RunJournal
    from fusion.types import OrgId


@dataclass(frozen=True, slots=True)
class Absence:
    """One organisation that is out.

    Attributes:
        organisation: Who.
        since: RFC 3339 time.
        reason: What was missed or said; never a protected value.
    """

    organisation: OrgId
    since: str
    reason: str


class Attendance:
    """The organisations of a study, in the study's order, present or absent."""

    def __init__(self, organisations: Sequence[OrgId], journal: RunJournal) -> None:
        """Everyone is present until something is missed; the journal knows the dates of before."""
        self._organisations = tuple(organisations)
        self._journal = journal
        self._since = dict(journal.absences())
        self._absences: dict[OrgId, Absence] = {}
        self._news: list[str] = []

    def present(self) -> tuple[OrgId, ...]:
        """Return who is asked."""
        return tuple(org for org in self._organisations if org not in self._absences)

    def absent(self) -> tuple[Absence, ...]:
        """Return who is out."""
        return tuple(self._absences[org] for org in self._organisations if org in self._absences)

    def leave(self, organisation: OrgId, *, since: str, reason: str) -> None:
        """Note that a party is out; an earlier absence keeps its date, also after a restart."""
        self._news.append(f"{organisation} is left out at {since}: {reason}")
        if organisation not in self._since:
            self._since[organisation] = since
            self._journal.keep_absences(self._since)
        self._absences[organisation] = Absence(organisation, self._since[organisation], reason)

    def come_back(self, organisations: Iterable[OrgId]) -> None:
        """Note that parties are there again."""
        for organisation in organisations:
            self._absences.pop(organisation, None)
            if self._since.pop(organisation, None) is not None:
                self._journal.keep_absences(self._since)

    def news(self) -> list[str]:
        """Return who was left out and why since this was last asked, for the others' logs."""
        news, self._news = self._news, []
        return news

    def lost(self, quorum: int, threshold: int, doing: str) -> QuorumLost:
        """Return the error that says who is missing and since when."""
        missing = "; ".join(f"{a.organisation} since {a.since} ({a.reason})" for a in self.absent())
        msg = (
            f"{len(self.present())} of {len(self._organisations)} organisations are there for "
            f"{doing}; {quorum} have to contribute and {threshold} key holders to decrypt. "
            f"Missing: {missing or 'none'}."
        )
        return QuorumLost(msg, hint="Start the missing nodes and run the study again.")
