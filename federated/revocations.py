"""The hub's part in a revocation: a job without its grants or a member ends before its next round.

Nodes decide for themselves and need no hub for it. The hub only knows the grants that were handed
to it; it neither permits anything nor counts anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusion.grants.signing import Standing
from fusion.identity.members import AUTHORITY
from fusion.services.grants import folder_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from federated.study import Study
    from fusion.services.homes import HubHome


def revocation_watch(hub: HubHome, study: Study, note: Callable[[str], None]) -> Callable[[], bool]:
    """Return what says whether an organisation was revoked, or has no grant left for a study.

    Of grants, only those that the hub knows when the watch begins are looked at.

    Args:
        hub: Its folder.
        study: The job's.
        note: Told of files that are no grants.
    """
    folder = folder_of(hub)
    holding = [
        kept.signed
        for kept in folder.readable(note)
        if kept.standing is Standing.FINALIZED
        and (kept.signed.grant.assignee, kept.signed.grant.purpose, kept.signed.grant.dataset.id)
        == (study.operator, study.purpose, study.dataset)
        and (study.grants is None or kept.signed.id in study.grants)
    ]
    covering = [
        frozenset(signed.id for signed in holding if organisation in signed.grant.assigners)
        for organisation in study.organisations
    ]

    operator = {study.operator} - {None, AUTHORITY}
    needed = {*study.organisations, *operator}

    def gone() -> bool:
        if any(ids and all(map(folder.revoked, ids)) for ids in covering):
            return True
        active = {member.id for member in hub.roster().active}
        return not active.issuperset(needed)

    return gone
