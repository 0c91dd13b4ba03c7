"""Which engine of ristretto255 runs: one a process, chosen at first use; all give the same bytes."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from fusion.crypto.ristretto.sodium import SodiumGroup

if TYPE_CHECKING:
    from fusion.crypto.ristretto.group import Group

NAMES: Final = ("sodium",)
"""Fastest first."""


def unavailable(name: str) -> str | None:
    """Say why the engine ``name`` can't run here, or None if it can."""
    return None if name in NAMES else f"there is no engine {name!r}; there are {', '.join(NAMES)}"


def named(name: str) -> Group:
    """Return an engine by name, for which :func:`unavailable` has no reason."""
    if unavailable(name) is not None:
        raise ValueError(name)
    return SodiumGroup()


@lru_cache(maxsize=1)
def current() -> Group:
    """Return this process's engine."""
    return named(NAMES[0])
