"""What the entries of one log have to mean together: the rules that an auditor replays.

A log whose tree and signatures are right can still say what must not have happened, such as a
round that was opened twice. Each rule names the first entry that breaks it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from fusion.errors import LedgerBroken
from fusion.identity.members import AUTHORITY
from fusion.ledger import alignment_entries, vertical_entries
from fusion.ledger import entry as entries
from fusion.ledger.alignment_rules import AlignmentRules
from fusion.ledger.entry import opening_digest
from fusion.ledger.model_rules import ModelRules
from fusion.ledger.python_rules import PythonRules
from fusion.ledger.vertical_rules import VerticalRules

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from fusion.ledger.entry import Entry
    from fusion.ledger.log_keys import LogKeys

_HUB_ONLY = (
    entries.JobStarted, entries.RoundListed, entries.RoundSummed, entries.ModelMade,
    entries.Released, vertical_entries.VerticalStarted, vertical_entries.AttemptBegun,
)  # fmt: skip
_NODE_ONLY = (
    entries.OrderTaken, entries.StudyAgreed, entries.StudyRefused, entries.RoundContributed,
    entries.SumOpened, entries.CheckpointSeen, entries.QueryAnswered, entries.PythonSubmitted,
    entries.PythonJudged, entries.PythonRun, entries.PythonReleased, entries.ModelKept,
    entries.ModelRevoked, entries.ModelRevocationHeard, entries.AnswersPublished,
    entries.ModelScored, entries.ModelExported,
    vertical_entries.VerticalAgreed, vertical_entries.RecordsAligned, vertical_entries.PartTrained,
    alignment_entries.SetCommitted, alignment_entries.SetAligned,
)  # fmt: skip


@dataclass(slots=True)
class _Job:
    """A job as the entries so far have it."""

    open: bool = True
    organisations: frozenset[str] = frozenset()
    quorum: int = 0
    models: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Reservation:
    """A part of a budget."""

    amount: int
    settled: bool = False


class Replay:
    """Takes the entries of one log in order, and raises at the first that can't be."""

    def __init__(self, keys: LogKeys, statement_key: str) -> None:
        """Begin with whose log it is.

        Args:
            keys: The organisation's keys for logs.
            statement_key: Its statement key, in hexadecimal.
        """
        self._keys = keys
        self._statement_key = statement_key
        self._number = -1
        self._jobs: dict[str, _Job] = {}
        self._own: dict[tuple[str, int], dict[int, entries.RoundContributed]] = {}
        self._listed: dict[tuple[str, int, int], entries.RoundListed] = {}
        self._opened: dict[tuple[str, int], int] = {}
        self._consumed: dict[str, int] = {}
        self._revoked: set[str] = set()
        self._reservations: dict[str, _Reservation] = {}
        self._runs: dict[str, bool] = {}
        """Runs of queries that were charged, and whether one was answered."""
        self._scorings: dict[str, bool] = {}
        """The same of scoring."""
        self._alignments: dict[str, bool] = {}
        """The same of alignments."""
        self.epochs: dict[int, tuple[int, str]] = {}
        """Roster epochs: the entry that names each, and the document's digest."""
        self.openings: dict[tuple[str, int], tuple[int, str, tuple[str, ...]]] = {}
        """Sums opened: entry, opening, contributions, by job and round."""
        self.contributed: dict[str, int] = {}
        """Own vectors released: the entry of each, by its digest."""
        self.summed: dict[str, tuple[int, str]] = {}
        """Vectors that the hub counted in: entry and contributor, by digest."""
        self.relied: list[tuple[int, entries.CheckpointSeen]] = []
        """Checkpoints of other logs under which sums were opened here, with their entries."""
        self.ordered: dict[str, tuple[int, str]] = {}
        """Operators' orders: the entry and the job of each, by its id."""
        self.notices: list[str] = []
        """What is allowed and worth a look."""
        self._logs: dict[str, str] = {}
        self._orders: dict[str, entries.OrderTaken] = {}
        self._vertical = VerticalRules(self._job, self._broken)
        self._rules = self._all_rules()

    def _all_rules(self) -> Mapping[type[Any], Callable[[Any], None]]:
        """Return what takes each kind of entry."""
        rules: Mapping[type[Any], Callable[[Any], None]] = {
            entries.OrganisationMade: self._made,
            entries.RosterSeen: self._roster,
            entries.LogSeen: self._log,
            entries.OrderTaken: self._order,
            entries.StudyAgreed: self._agreed,
            vertical_entries.VerticalAgreed: self._vertical_agreed,
            vertical_entries.VerticalStarted: self._vertical_started,
            entries.JobStarted: self._started,
            entries.JobEnded: self._ended,
            entries.ModelMade: self._model,
            entries.Released: self._released,
            entries.RoundContributed: self._contributed,
            entries.SumOpened: self._sum_opened,
            entries.CheckpointSeen: lambda seen: self.relied.append((self._number, seen)),
            entries.RoundListed: self._lists,
            entries.RoundSummed: self._summed,
            entries.GrantRevoked: self._revocation,
            entries.Decided: self._decided,
            entries.BudgetMoved: self._budget,
            entries.QueryAnswered: self._query,
        }
        python = PythonRules(self._runs, self._broken)
        models = ModelRules(self._keys.organisation, self._scorings, self._broken, self._notice)
        aligned = AlignmentRules(self._alignments, self._orders, self._broken)
        return {
            **rules, **python.rules, **models.rules, **aligned.rules, **self._vertical.rules
        }  # fmt: skip

    def feed(self, entry: Entry) -> None:
        """Take the next entry.

        Raises:
            LedgerBroken: It can't stand where it does.
        """
        self._number += 1
        hub = self._keys.organisation == AUTHORITY
        if isinstance(entry, _NODE_ONLY if hub else _HUB_ONLY):
            self._broken(f"{entry.kind} has no place in the log of {self._keys.organisation}")
        if (self._number == 0) != isinstance(entry, entries.OrganisationMade):
            self._broken("a log begins with organisation-made, and only begins with it")
        rule = self._rules.get(type(entry))
        if rule is not None:
            rule(entry)

    def _notice(self, what: str) -> None:
        """Note what is allowed and worth a look, of the entry at hand."""
        self.notices.append(f"entry {self._number}: {what}")

    def _broken(self, why: str) -> NoReturn:
        msg = f"Entry {self._number} of the log of {self._keys.organisation} can't be: {why}."
        raise LedgerBroken(msg, index=self._number)

    def _job(self, name: str) -> _Job:
        job = self._jobs.get(name)
        if job is None or not job.open:
            self._broken(f"job {name} {'has ended' if job else 'was neither agreed to nor begun'}")
        return job

    # ------------------------------------------------------------------ who

    def _made(self, entry: entries.OrganisationMade) -> None:
        stated = (entry.organisation, entry.statement_key, entry.log_key, entry.witness_key)
        keys = self._keys
        if stated != (keys.organisation, self._statement_key, keys.log.hex, keys.witness.hex):
            self._broken("it is another organisation's, or under other keys than were stated")

    def _roster(self, entry: entries.RosterSeen) -> None:
        if entry.federation != self._keys.federation:
            self._broken(f"it is a roster of {entry.federation}")
        if entry.epoch <= max(self.epochs, default=0):
            self._broken(f"roster epoch {entry.epoch} comes after epoch {max(self.epochs)}")
        self.epochs[entry.epoch] = (self._number, entry.digest)

    def _log(self, entry: entries.LogSeen) -> None:
        before = self._logs.get(entry.organisation)
        if before is not None and before != entry.log_key:
            self.notices.append(
                f"entry {self._number}: {entry.organisation} keeps its log under another key than "
                "before: ask it what became of the old one"
            )
        self._logs[entry.organisation] = entry.log_key

    # ------------------------------------------------------------------ jobs

    def _order(self, entry: entries.OrderTaken) -> None:
        before = self.ordered.get(entry.id)
        if before is not None:
            self._broken(f"its order was taken before, in entry {before[0]}")
        if entry.job in self._orders:
            self._broken(f"another order was taken for job {entry.job} before")
        self.ordered[entry.id] = (self._number, entry.job)
        self._orders[entry.job] = entry

    def _vertical_agreed(self, entry: vertical_entries.VerticalAgreed) -> None:
        self._agreed(entry)
        self._vertical.begin(entry.job, entry.organisations)

    def _vertical_started(self, entry: vertical_entries.VerticalStarted) -> None:
        if entry.job in self._jobs:
            self._broken(f"job {entry.job} was begun before")
        self._jobs[entry.job] = _Job(organisations=frozenset(entry.organisations))
        self._vertical.begin(entry.job, entry.organisations)

    def _agreed(self, entry: entries.StudyAgreed | vertical_entries.VerticalAgreed) -> None:
        job = self._jobs.get(entry.job)
        if job is not None and job.open:
            self._broken(f"job {entry.job} was agreed to before")
        taken = self._orders.get(entry.job)
        shown = ("", entry.study) if taken is None else (taken.order, taken.study)
        if (entry.order, entry.study) != shown:
            self._broken(f"job {entry.job} was agreed to under another order than was taken for it")
        self._jobs[entry.job] = _Job()

    def _started(self, entry: entries.JobStarted) -> None:
        if entry.job in self._jobs:
            self._broken(f"job {entry.job} was begun before")
        self._jobs[entry.job] = _Job(
            organisations=frozenset(entry.organisations), quorum=entry.quorum
        )

    def _ended(self, entry: entries.JobEnded) -> None:
        self._job(entry.job).open = False

    def _model(self, entry: entries.ModelMade) -> None:
        self._job(entry.job).models.add(entry.model)

    def _released(self, entry: entries.Released) -> None:
        if entry.output == "model" and entry.digest not in self._job(entry.job).models:
            self._broken("it releases a model that no entry says was made")

    # ------------------------------------------------------------------ rounds

    def _contributed(self, entry: entries.RoundContributed) -> None:
        self._job(entry.job)
        attempts = self._own.setdefault((entry.job, entry.round), {})
        if entry.attempt in attempts:
            self._broken(f"round {entry.round}, attempt {entry.attempt}, was contributed to before")
        if entry.vector in self.contributed:
            self._broken(
                f"its vector was released before, in entry {self.contributed[entry.vector]}"
            )
        attempts[entry.attempt] = entry
        self.contributed[entry.vector] = self._number

    def _sum_opened(self, entry: entries.SumOpened) -> None:
        self._job(entry.job)
        self._consume(entry.job, entry.round, entry.opening, entry.contributions)
        for own in self._own.get((entry.job, entry.round), {}).values():
            named = opening_digest(bytes.fromhex(own.manifest), bytes.fromhex(own.listing)).hex()
            if named == entry.opening and own.vector not in entry.contributions:
                self._broken("the own contribution to this very list is not in the sum")

    def _lists(self, entry: entries.RoundListed) -> None:
        self._check_named(entry, len(entry.commitments))
        where = (entry.job, entry.round, entry.attempt)
        if where in self._listed:
            self._broken(f"round {entry.round}, attempt {entry.attempt}, was listed before")
        self._listed[where] = entry

    def _check_named(
        self, entry: entries.RoundListed | entries.RoundSummed, contributions: int
    ) -> None:
        """Check what a list and the sum of it have in common."""
        job = self._job(entry.job)
        named = opening_digest(bytes.fromhex(entry.manifest), bytes.fromhex(entry.listing)).hex()
        if named != entry.opening:
            self._broken("its opening is not that of its manifest and list")
        if len(entry.contributors) != contributions:
            self._broken("contributors and contributions are not as many")
        if len(set(entry.contributors)) != len(entry.contributors):
            self._broken("an organisation is in the sum twice")
        strangers = sorted(set(entry.contributors) - job.organisations)
        if strangers:
            self._broken(f"{', '.join(strangers)} takes no part in the job")
        if len(entry.contributors) < job.quorum:
            self._broken(f"{len(entry.contributors)} contributions; the quorum is {job.quorum}")

    def _summed(self, entry: entries.RoundSummed) -> None:
        self._check_named(entry, len(entry.contributions))
        listed = self._listed.get((entry.job, entry.round, entry.attempt))
        if listed is None or (listed.opening, listed.contributors) != (
            entry.opening,
            entry.contributors,
        ):
            self._broken("no entry before it lists what it sums")
        self._consume(entry.job, entry.round, entry.opening, entry.contributions)
        for name, vector in zip(entry.contributors, entry.contributions, strict=True):
            self.summed[vector] = (self._number, name)

    def _consume(
        self, job: str, round_number: int, opening: str, contributions: Sequence[str]
    ) -> None:
        """A round is opened once, a contribution too: consumed sets are disjoint."""
        before = self._opened.get((job, round_number))
        if before is not None:
            self._broken(f"round {round_number} of {job} was opened before, in entry {before}")
        for contribution in contributions:
            earlier = self._consumed.get(contribution)
            if earlier is not None:
                self._broken(f"a contribution was opened before, in entry {earlier}")
            self._consumed[contribution] = self._number
        self._opened[job, round_number] = self._number
        self.openings[job, round_number] = (self._number, opening, tuple(contributions))

    # ------------------------------------------------------------------ grants

    def _revocation(self, entry: entries.GrantRevoked) -> None:
        self._revoked.add(entry.grant)

    def _decided(self, entry: entries.Decided) -> None:
        if entry.permit == bool(entry.code):
            self._broken("a permit has no code, and a refusal has one")
        if entry.permit and entry.grant in self._revoked:
            self._broken("it permits under a grant that was revoked")

    def _budget(self, entry: entries.BudgetMoved) -> None:
        name = f"{entry.grant} {entry.budget} {entry.reservation}"
        reservation = self._reservations.get(name)
        if entry.move == "reserved":
            if reservation is not None:
                self._broken("it reserves again what was reserved")
            self._reservations[name] = _Reservation(entry.amount)
            if (entry.action, entry.budget) == ("query", "runs"):
                self._runs[entry.reservation] = False
            if (entry.action, entry.budget) == ("score", "runs"):
                self._scorings[entry.reservation] = False
            if (entry.action, entry.budget) == ("align", "runs"):
                self._alignments[entry.reservation] = False
            return
        if reservation is None or reservation.settled or entry.amount > reservation.amount:
            self._broken("it settles what was not reserved, or more than was, or for a second time")
        reservation.settled = True

    def _query(self, entry: entries.QueryAnswered) -> None:
        answered = self._runs.get(entry.reservation)
        if answered is not False:
            self._broken(
                "it answers a query that was not charged"
                if answered is None
                else "it answers a query for a second time"
            )
        self._runs[entry.reservation] = True
