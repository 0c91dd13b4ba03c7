"""Who shares one history: organisations that may put together what they are given.

A history bounds what one group learns. Of two organisations with a history each, one can ask with a
person and one without her; in one pool they are one group. What was released to several becomes one
history when a policy puts them together. It never becomes several again: whoever was in a pool was
told what the others' results leave open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusion.crypto.hashing import digest
from fusion.errors import InputInvalid
from sandbox.policy import EVERYBODY

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sandbox.policy import Policy


def group_of(policy: Policy, organisation: str) -> str:
    """Return the name of the group whose history an organisation's releases are counted in."""
    for pool in policy.pools:
        if EVERYBODY in pool:
            return EVERYBODY
        if organisation in pool:
            return _name(pool)
    return organisation


def others_of(policy: Policy, organisation: str) -> frozenset[str] | None:
    """Return who is in one pool with an organisation; None if it is everybody."""
    for pool in policy.pools:
        if EVERYBODY in pool:
            return None
        if organisation in pool:
            return frozenset(pool) - {organisation}
    return frozenset()


def next_group(before: Policy, after: Policy, group: str) -> str:
    """Return the group that a group's history goes on in under a new policy.

    Args:
        before: The policy under which the group got what it got.
        after: The policy that replaces it.
        group: Its name, as :func:`group_of` of ``before`` gives it.

    Raises:
        InputInvalid: The new policy takes a pool apart.
    """
    found = {group_of(after, each) for each in _members(before, group)}
    if len(found) > 1 or (group == EVERYBODY and (EVERYBODY,) not in after.pools):
        raise InputInvalid(
            "Results were released to organisations of one pool, which this policy takes apart.",
            hint="Keep them in one pool; a pool may get more members.",
        )
    return found.pop()


def _members(policy: Policy, group: str) -> Iterable[str]:
    for pool in policy.pools:
        if _name(pool) == group:
            return pool
    return (group,)


def _name(pool: tuple[str, ...]) -> str:
    parts = (each.encode() for each in sorted(pool))
    return "pool:" + digest("banyan/queries/pool/v1", *parts).hex()
