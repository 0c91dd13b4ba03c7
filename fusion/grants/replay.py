"""Making every logged decision again, and adding up every budget: what an auditor does.

A log that keeps its rules (:mod:`fusion.ledger.rules`) could still say that something was permitted
which its grant forbids. With the grants, revocations and requests that the entries name by their
SHA-256, the decision is made again, by the same function, from what had been logged by then.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

from pydantic import ValidationError

from fusion.errors import FusionError, LedgerBroken, UnknownOrganisation
from fusion.grants.approval import open_verdict
from fusion.grants.budget import NOTHING, Amount, Counter
from fusion.grants.decide import State, decide
from fusion.grants.order import check_order, open_order
from fusion.grants.permit import Permit
from fusion.grants.refusal import Code
from fusion.grants.request import Request, charge_name
from fusion.grants.signing import check_revokes, open_grant, open_revocation
from fusion.ledger import entry as entries
from fusion.ledger.entry import decode, moment_of
from fusion.wire import canonical

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from fusion.grants.signing import SignedGrant
    from fusion.identity.roster import Roster
    from fusion.ledger.bundle import Bundle
    from fusion.ledger.entry import Entry

_COUNTERS: Final[dict[str, Counter]] = {
    "runs": "runs",
    "rows": "rows",
    "epsilon-millionths": "epsilon_micro",
}
_T = TypeVar("_T")
_CHARGED_BEFORE: Final = "F-405"
_KINDS: Final = tuple(
    f'"kind":"{kind}"'.encode()
    for kind in (
        "grant-seen", "grant-revoked", "order-taken", "decided", "budget-moved", "python-judged",
    )
)  # fmt: skip


class Decisions:
    """Takes the entries of one log in order, and raises at the first decision that can't be."""

    def __init__(
        self, organisation: str, rosters: Sequence[Roster], attached: Mapping[str, bytes]
    ) -> None:
        """Begin.

        Args:
            organisation: Whose log.
            rosters: Say who signs what, oldest first: a signature counts if one epoch has its key.
            attached: Documents by their SHA-256, as the bundle has them.
        """
        self._organisation = organisation
        self._rosters = rosters
        self._attached = attached
        self._number = 0
        self._grants: dict[str, SignedGrant] = {}
        self._revoked: set[str] = set()
        self._orders: dict[str, entries.OrderTaken] = {}
        self._charges: dict[str, tuple[str, str, Amount]] = {}
        self._settled: dict[str, str] = {}
        self._due: dict[tuple[str, str], int] = {}
        self.made: list[dict[str, Any]] = []
        """Every decision: entry, grant, job, action, permit, code."""
        self.orders: list[dict[str, Any]] = []
        """Every order: entry, job, operator, study, order, ordered_at."""
        self._rules: Mapping[type[Any], Callable[[Any], None]] = {
            entries.GrantSeen: self._seen,
            entries.GrantRevoked: self._revocation,
            entries.OrderTaken: self._ordered,
            entries.Decided: self._decided,
            entries.BudgetMoved: self._moved,
            entries.PythonJudged: self._judged,
        }

    def pass_by(self, number: int) -> None:
        """Take the number of an entry that is about no grant, or the number of entries.

        Raises:
            LedgerBroken: A permit was not charged in full before it.
        """
        self._number = number
        if self._due:
            self._broken("a permit before it was not charged in full")

    def feed(self, number: int, entry: Entry) -> None:
        """Take the next entry.

        Raises:
            LedgerBroken: The decision, or the move, does not follow from what was logged before.
        """
        self._number = number
        if not isinstance(entry, entries.BudgetMoved):
            self.pass_by(number)
        rule = self._rules.get(type(entry))
        if rule is not None:
            rule(entry)

    def _broken(self, why: str) -> NoReturn:
        msg = f"Entry {self._number} of the log of {self._organisation} can't be: {why}."
        raise LedgerBroken(msg, index=self._number)

    def _document(self, digest: str) -> bytes:
        data = self._attached.get(digest)
        if data is None:
            self._broken("the bundle lacks the document that it names")
        if hashlib.sha256(data).hexdigest() != digest:
            self._broken("the document that it names was changed")
        return data

    def _seen(self, entry: entries.GrantSeen) -> None:
        data = self._document(entry.document)
        try:
            signed = _in_some_epoch(self._rosters, lambda roster: open_grant(data, roster))
        except FusionError as error:
            self._broken(f"its grant does not verify: {error.message}")
        if signed.id != entry.grant or tuple(sorted(signed.signed)) != entry.signers:
            self._broken("it names another grant, or other signers, than its document")
        self._grants[entry.grant] = signed

    def _revocation(self, entry: entries.GrantRevoked) -> None:
        data = self._document(entry.revocation)
        try:
            revocation = _in_some_epoch(self._rosters, lambda roster: open_revocation(data, roster))
            if entry.grant in self._grants:
                check_revokes(revocation, self._grants[entry.grant])
        except FusionError as error:
            self._broken(f"its revocation does not verify: {error.message}")
        if (revocation.grant, revocation.organisation) != (entry.grant, entry.organisation):
            self._broken("it names another grant, or another signer, than its document")
        self._revoked.add(entry.grant)

    def _ordered(self, entry: entries.OrderTaken) -> None:
        data = self._document(entry.order)
        try:
            order = _in_some_epoch(
                self._rosters, lambda roster: open_order(data, roster, entry.operator)
            )
            check_order(order, entry.study, moment_of(entry.at))
        except FusionError as error:
            self._broken(f"its order does not hold: {error.message}")
        if order.id != entry.id:
            self._broken("it names another order than its document")
        self._orders[entry.job] = entry
        self.orders.append(
            {"entry": self._number, "job": entry.job, "operator": entry.operator}
            | {"study": entry.study, "order": order.id, "ordered_at": order.ordered_at}
        )

    def _judged(self, entry: entries.PythonJudged) -> None:
        data, owner = self._document(entry.verdict), self._organisation
        try:
            verdict = _in_some_epoch(
                self._rosters,
                lambda roster: open_verdict(data, owner, roster.member(owner).statement_key),
            )
        except FusionError as error:
            self._broken(f"its verdict does not verify: {error.message}")
        said = (verdict.job, verdict.assignee, verdict.approved, verdict.runs)
        checked = verdict.release == "checked"
        if (*said, checked) != (
            entry.job, entry.organisation, entry.approved, entry.runs, entry.checked,
        ):  # fmt: skip
            self._broken("it says something else than its verdict")

    def _check_ordered(self, request: Request) -> None:
        """Neither training nor an alignment is permitted to anybody who did not ask for it."""
        order = self._orders.get(request.job)
        if order is None or (order.operator, order.study) != (request.assignee, request.study):
            self._broken(f"nothing before it shows that {request.assignee} ordered {request.job}")

    def _decided(self, entry: entries.Decided) -> None:
        request = self._request(entry)
        said = {"entry": self._number, "grant": entry.grant, "job": request.job}
        if entry.permit and request.action in {"train", "align"}:
            self._check_ordered(request)
        said |= {"action": request.action, "permit": entry.permit, "code": entry.code}
        self.made.append(said)
        if not entry.grant:
            none = Code.NAMED if request.grants else Code.NO_GRANT
            if entry.permit or entry.code != none:
                self._broken("it names no grant, and is no refusal for the lack of one")
            return
        signed = self._grants.get(entry.grant)
        if signed is None:
            self._broken("no entry before it shows the grant")
        reservation = hashlib.sha256(charge_name(request).encode()).hexdigest()
        used = self._used(entry.grant, request.action, reservation)
        state = State(revoked=entry.grant in self._revoked, used=used)
        result = decide(signed, request, state, moment_of(entry.at))
        if not isinstance(result, Permit):
            if entry.permit or entry.code != result.code:
                self._broken(f"the grant refuses this request with {result.code}")
            return
        if entry.permit:
            if reservation in self._charges:
                self._broken("what it permits was charged before")
            costs = {n: getattr(result.cost, counter) for n, counter in _COUNTERS.items()}
            self._due = {(reservation, name): cost for name, cost in costs.items() if cost}
            self._charges[reservation] = (entry.grant, request.action, NOTHING)
        elif entry.code != _CHARGED_BEFORE or reservation not in self._charges:
            self._broken("the grant permits this request")

    def _request(self, entry: entries.Decided) -> Request:
        data = self._document(entry.request)
        try:
            request = Request.model_validate_json(data)
            fitting = canonical.encode(request.document()) == data
        except (ValidationError, FusionError):
            self._broken("its request is not well formed")
        if not fitting or request.party != self._organisation:
            self._broken("its request is somebody else's, or not in canonical form")
        return request

    def _used(self, grant: str, action: str, besides: str) -> Amount:
        return sum(
            (
                amount
                for reservation, (of, what, amount) in self._charges.items()
                if (of, what) == (grant, action)
                and reservation != besides
                and self._settled.get(reservation) != "released"
            ),
            start=NOTHING,
        )

    def _moved(self, entry: entries.BudgetMoved) -> None:
        charge = self._charges.get(entry.reservation)
        if charge is None or charge[:2] != (entry.grant, entry.action):
            self._broken("it moves a budget that no permit charged")
        if entry.move == "reserved":
            if self._due.pop((entry.reservation, entry.budget), None) != entry.amount:
                self._broken("it reserves what the permit does not cost")
            amount = charge[2] + Amount(**{_COUNTERS[entry.budget]: entry.amount})
            self._charges[entry.reservation] = (entry.grant, entry.action, amount)
            return
        if getattr(charge[2], _COUNTERS[entry.budget]) != entry.amount:
            self._broken("it settles another amount than was reserved")
        if self._settled.setdefault(entry.reservation, entry.move) != entry.move:
            self._broken("it settles a charge otherwise than the entry before")


def _in_some_epoch(rosters: Sequence[Roster], opening: Callable[[Roster], _T]) -> _T:
    """Return what verifies against one of the rosters, the newest first.

    Raises:
        FusionError: It verifies against none.
    """
    failure: FusionError = UnknownOrganisation("The bundle has no roster.")
    for roster in reversed(rosters):
        try:
            return opening(roster)
        except FusionError as error:
            failure = error
    raise failure


def replay(bundle: Bundle, rosters: Sequence[Roster]) -> Decisions:
    """Make every decision of a log again; the bundle's tree and rules were checked before.

    Returns:
        The decisions, and the orders.

    Raises:
        LedgerBroken: One does not follow from what was logged before it; its number.
    """
    decisions = Decisions(bundle.organisation, rosters, bundle.attachments)
    for number, data in enumerate(bundle.entries):
        # Canonical JSON, and no text in it can hold a quotation mark: others need no decoding.
        if any(kind in data for kind in _KINDS):
            decisions.feed(number, decode(data))
        else:
            decisions.pass_by(number)
    decisions.pass_by(len(bundle.entries))
    return decisions
