"""What a log says of grants: which are known, what was decided under them, what was charged.

Each entry names the document that it is about by its SHA-256, and the document is kept beside the
log, so that an auditor makes every decision again (:mod:`fusion.grants.replay`).
"""

from __future__ import annotations

import collections
import hashlib
import threading
from typing import TYPE_CHECKING, Final, Literal

from fusion.grants.budget import Evidence
from fusion.grants.permit import Permit
from fusion.grants.signing import open_revocation
from fusion.ledger import entry as entries
from fusion.ledger.entry import encode
from fusion.services.logbook import papers_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusion.errors import GrantRefused
    from fusion.grants.budget import Amount, Counter
    from fusion.grants.refusal import Refusal
    from fusion.grants.request import Request
    from fusion.grants.signing import SignedGrant
    from fusion.identity.roster import Roster
    from fusion.services.logbook import LogBook

    Refused = Callable[[LogBook, Request, Refusal | Permit, GrantRefused, str], None]
    """Logs a refusal, as :func:`refused` does."""

Move = Literal["reserved", "committed", "released"]
Budget = Literal["runs", "rows", "epsilon-millionths"]
MAX_REFUSALS: Final = 100
"""Refusals of one organisation that are logged until the node is started again."""

_NAMES: Final[dict[Counter, Budget]] = {
    "runs": "runs",
    "rows": "rows",
    "epsilon_micro": "epsilon-millionths",
}


def see_grant(book: LogBook, signed: SignedGrant, at: str) -> None:
    """Log a grant as it is known here, once for each set of signatures."""
    document = _digest(signed.envelope)
    entry = entries.GrantSeen(
        at=at, grant=signed.id, document=document, signers=tuple(sorted(signed.signed))
    )
    book.once(f"grant:{document}", entry, (signed.envelope,))


def see_revocation(book: LogBook, data: bytes, roster: Roster, at: str) -> None:
    """Log that a grant is revoked, once.

    Raises:
        VerificationFailed: It is no revocation that verifies.
    """
    revocation = open_revocation(data, roster)
    entry = entries.GrantRevoked(
        at=at,
        grant=revocation.grant,
        organisation=revocation.organisation,
        revocation=_digest(data),
    )
    book.once(f"revoked:{revocation.grant}", entry, (data,))


def permitted(request: Request, permit: Permit, key: str, at: str) -> Evidence:
    """Return what is logged, in the transaction that charges it, of a permit."""
    data = request.canonical()
    decided = entries.Decided(
        at=at, grant=permit.grant, request=_digest(data), permit=True, code=""
    )
    moved = moves("reserved", permit.grant, request.action, key, permit.cost, at)
    return Evidence((encode(decided), *moved.entries), papers_of((data,)))


def refused(
    book: LogBook, request: Request, result: Refusal | Permit, error: GrantRefused, at: str
) -> None:
    """Log a refusal; the same again adds nothing."""
    data = request.canonical()
    grant = result.grant or ""
    entry = entries.Decided(
        at=at, grant=grant, request=_digest(data), permit=False, code=error.code
    )
    book.once(f"refused:{grant}:{_digest(data)}:{error.code}", entry, (data,))


class RefusalLog:
    """Refusals of questions that are asked again and again, each organisation's up to a number.

    They are logged under one name for all jobs of a kind: whoever asks on and on would fill a log,
    since what is asked, and for how many rows, is the asker's own text.
    """

    def __init__(self, book: LogBook, now: Callable[[], str]) -> None:
        """Count from here on.

        Args:
            book: The log.
            now: Returns the time as it stands in entries.
        """
        self._book, self._now = book, now
        self._lock = threading.Lock()
        self._counts: collections.Counter[str] = collections.Counter()

    def counted(self, organisation: str) -> bool:
        """Count one more of an organisation; return whether it is among those that are logged."""
        with self._lock:
            self._counts[organisation] += 1
            return self._counts[organisation] <= MAX_REFUSALS

    def refused(
        self,
        book: LogBook,
        request: Request,
        result: Refusal | Permit,
        error: GrantRefused,
        at: str,
    ) -> None:
        """Log a refusal, if there were not as many before; see :func:`refused`."""
        logged = self.counted(request.assignee)
        # A grant that refuses does so whatever the job is called; a store refuses this very job.
        if not isinstance(result, Permit):
            request = request.model_copy(update={"job": request.job.partition("-")[0]})
        if logged:
            refused(book, request, result, error, at)


def moves(move: Move, grant: str, action: str, key: str, amount: Amount, at: str) -> Evidence:
    """Return what is logged of a charge: an entry for each counter that it moves."""
    reservation = _digest(key.encode())
    return Evidence(
        tuple(
            encode(
                entries.BudgetMoved.model_validate(
                    {
                        "at": at,
                        "grant": grant,
                        "action": action,
                        "budget": name,
                        "move": move,
                        "reservation": reservation,
                        "amount": getattr(amount, counter),
                    }
                )
            )
            for counter, name in _NAMES.items()
            if getattr(amount, counter)
        )
    )


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
