"""Whether a study's operator ordered this very run: asked at every party, before its grants are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from fusion.errors import MessageInvalid
from fusion.grants.order import Code, check_order, check_taken, open_order, refused
from fusion.identity.members import AUTHORITY

if TYPE_CHECKING:
    from federated.evidence import Evidence
    from fusion.identity.roster import Roster
    from fusion.ports import Clock


class Ordered(Protocol):
    """A study, of any kind, as far as an order is about it."""

    @property
    def operator(self) -> str | None:
        """Who has to order it, if anybody."""
        ...

    def digest(self) -> str:
        """Return what names it."""
        ...


def take_order(
    log: Evidence, roster: Roster, job: str, study: Ordered, document: bytes | None, clock: Clock
) -> None:
    """Verify the operator's order for a job and take it, for this job and no other.

    One that was taken for this job before is good up to its end, whatever became of its time and
    of the key under it: a run that is set up again is the run that was ordered.

    Args:
        log: The party's memory; the order is bound to the job there, and logged.
        roster: The party's own, as it is now.
        job: The run.
        study: As the hub showed it. One that names no operator has no order, and no grant.
        document: The order as the hub showed it.
        clock: The time.

    Raises:
        OrderRefused: There is none, or it is another's, for another study, out of its time, or
            taken for another run.
        MemberRevoked: The operator is a member no longer.
        UnknownOrganisation: The operator never was a member.
        MessageInvalid: It is no order, or one for a study that names no operator.
    """
    operator = study.operator
    if operator is None:
        if document is not None:
            raise MessageInvalid("An order came for a study that names no operator.")
        return
    if document is None:
        raise refused(Code.MISSING)
    if log.order(job) == document:
        # A job that was refused or has ended is agreed to anew: for the study that was ordered.
        check_taken(document, study.digest())
        if operator != AUTHORITY:
            roster.member(operator)
        return
    now = clock.now()
    order = open_order(document, roster, operator)
    check_order(order, study.digest(), now)
    log.ordered(job, order, document, now)
