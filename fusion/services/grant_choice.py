"""Which of a party's grants a request is decided under: those of whoever asks, and no others.

A refusal says what a grant says, and whoever asks is no party to a grant of somebody else. So a
request is held to grants with its own assignee alone; where there is none, it is told that there is
none, whoever else has one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from fusion.grants.budget import NOTHING
from fusion.grants.decide import State, decide, no_grant
from fusion.grants.permit import Permit
from fusion.grants.refusal import Code, Refusal, distance
from fusion.grants.request import charge_name
from fusion.grants.signing import Standing
from fusion.ledger.entry import moment_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from fusion.grants.budget import Budgets
    from fusion.grants.request import Request
    from fusion.services.grants import Kept

_STANDING: Final = frozenset({Code.NOT_SIGNED, Code.REVOKED, Code.NOT_YET, Code.EXPIRED})
"""Why a grant does not hold now, whatever is asked; they come first in every refusal."""


def choose(
    grants: Iterable[Kept], request: Request, budgets: Budgets | None, now: datetime
) -> Permit | Refusal:
    """Ask every grant of the assignee's that could be meant; return a permit, or a refusal.

    Of several refusals it is the one that is nearest to a permit. A job that was charged before
    stays with its grant, and its own charge does not count again.
    """
    key = charge_name(request)
    bound = None if budgets is None else budgets.charged_to(key)
    refusals: list[Refusal] = []
    for kept in grants:
        if bound is not None and kept.signed.id != bound:
            continue
        if kept.signed.grant.assignee != request.assignee:
            continue
        if bound is None and not _is_about(kept, request):
            continue
        name, action = kept.signed.id, request.action
        used = NOTHING if budgets is None else budgets.used(name, action, besides=key)
        result = decide(kept.signed, request, State(revoked=kept.revoked, used=used), now)
        if isinstance(result, Permit):
            return result
        refusals.append(result)
    if not refusals:
        return no_grant(request)
    return min(refusals, key=distance)


def holds(kept: Kept, now: datetime) -> bool:
    """Return whether a grant holds now: signed by all, not revoked, in its time."""
    grant = kept.signed.grant
    in_time = moment_of(grant.not_before) <= now < moment_of(grant.not_after)
    return kept.standing is Standing.FINALIZED and in_time


def none_holds(grants: Iterable[Kept], request: Request, now: datetime) -> Refusal | None:
    """Return why the assignee has no grant that holds for an action on a table, if it has none.

    The refusal is about where its own grants stand alone. Nothing else of the request is looked
    at, so nothing else is in the answer: not what the request would have needed.
    """
    own = [
        kept
        for kept in grants
        if kept.signed.grant.assignee == request.assignee
        and _is_about(kept, request)
        and kept.signed.grant.permission(request.action) is not None
    ]
    if any(holds(kept, now) for kept in own):
        return None
    refusals = []
    for kept in own:
        result = decide(kept.signed, request, State(revoked=kept.revoked), now)
        if isinstance(result, Refusal):
            clauses = tuple(each for each in result.clauses if each.code in _STANDING)
            refusals.append(replace(result, clauses=clauses))
    return min(refusals, key=distance, default=no_grant(request))


def _is_about(kept: Kept, request: Request) -> bool:
    grant = kept.signed.grant
    meant = not request.grants or kept.signed.id in request.grants
    return meant and request.party in grant.assigners and request.dataset == grant.dataset.id
