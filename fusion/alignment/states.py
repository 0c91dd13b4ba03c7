"""The protocol of two parties as tables: who waits for what, and what may leave when.

Two rules. Whatever decides on the order of messages is in these tables. The tables know roles and
states, never what a message says. What is in no table is refused (A-55). The table in
``docs/claims/alignment.md`` is checked against them.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


class Role(StrEnum):
    """What a party is in an alignment of two."""

    LEARNS = "learns"
    HELPS = "helps"
    MUTUAL = "mutual"


class State(IntEnum):
    """What a party waits for; a later one is larger."""

    GREETING = 0
    LISTING = 1
    PLEDGING = 2
    ANSWERING = 3
    AGREEING = 4
    CLOSING = 5
    OVER = 6


TAKES: Final[Mapping[tuple[Role, State, str], State]] = {
    (Role.LEARNS, State.GREETING, "hello"): State.LISTING,
    (Role.LEARNS, State.LISTING, "masked"): State.ANSWERING,
    (Role.LEARNS, State.ANSWERING, "doubled"): State.OVER,
    (Role.HELPS, State.GREETING, "hello"): State.LISTING,
    (Role.HELPS, State.LISTING, "masked"): State.CLOSING,
    (Role.HELPS, State.CLOSING, "done"): State.OVER,
    (Role.MUTUAL, State.GREETING, "hello"): State.LISTING,
    (Role.MUTUAL, State.LISTING, "masked"): State.PLEDGING,
    (Role.MUTUAL, State.PLEDGING, "pledge"): State.ANSWERING,
    (Role.MUTUAL, State.ANSWERING, "doubled"): State.AGREEING,
    (Role.MUTUAL, State.AGREEING, "output"): State.OVER,
}
"""Which message is taken in which state, and the state after the last of its kind."""

SENDS: Final[Mapping[Role, tuple[tuple[str, State], ...]]] = {
    Role.LEARNS: (
        ("hello", State.GREETING),
        ("masked", State.LISTING),
        ("done", State.OVER),
    ),
    Role.HELPS: (
        ("hello", State.GREETING),
        ("masked", State.LISTING),
        ("doubled", State.CLOSING),
    ),
    Role.MUTUAL: (
        ("hello", State.GREETING),
        ("masked", State.LISTING),
        ("pledge", State.PLEDGING),
        ("doubled", State.ANSWERING),
        ("output", State.AGREEING),
    ),
}
"""What a party sends, in order, and from which state on."""


def role_of(outcome: str, *, first: bool) -> Role:
    """Return the role of the first or the second party."""
    if outcome == "both":
        return Role.MUTUAL
    return Role.LEARNS if first else Role.HELPS
