"""Which engine of ristretto255 runs: one a process, chosen at first use; all give the same bytes.

``FUSION_RISTRETTO_ENGINE`` names one: ``ifma``, ``avx2`` or ``sodium``; without it the fastest one
that this machine can run is taken. One that was asked for and can't run is replaced with a warning.
"""

from __future__ import annotations

import os
import warnings
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from fusion.crypto.ristretto import vector
from fusion.crypto.ristretto.sodium import SodiumGroup

if TYPE_CHECKING:
    from fusion.crypto.ristretto.group import Group

VARIABLE: Final = "FUSION_RISTRETTO_ENGINE"
NAMES: Final = (*vector.SHAPES, "sodium")
"""Fastest first; the last one can always run."""


class GroupWarning(UserWarning):
    """An engine was put aside, or is not to be had."""


def unavailable(name: str) -> str | None:
    """Say why the engine ``name`` can't run here, or None if it can."""
    if name not in NAMES:
        return f"there is no engine {name!r}; there are {', '.join(NAMES)}"
    return vector.unavailable(name) if name in vector.SHAPES else None


def named(name: str, threads: int | None = None) -> Group:
    """Return a new engine by name, for which :func:`unavailable` has no reason.

    Args:
        name: One of :data:`NAMES`.
        threads: Of a vector engine; by default as many as there are processors.

    Raises:
        ValueError: Its kernels give other bytes than libsodium.
    """
    shape = vector.SHAPES.get(name)
    return SodiumGroup() if shape is None else vector.VectorGroup(shape, threads)


def choose(wanted: str) -> Group:
    """Return the engine to be used if ``wanted`` is what the variable says; empty for any."""
    for name in (wanted,) if wanted else NAMES:
        reason = unavailable(name)
        if reason is None:
            try:
                return named(name)
            except ValueError as error:
                warnings.warn(f"{error}; another engine is used", GroupWarning, stacklevel=3)
        elif wanted:
            warnings.warn(f"{reason}; libsodium is used", GroupWarning, stacklevel=3)
    return SodiumGroup()


@lru_cache(maxsize=1)
def current() -> Group:
    """Return this process's engine."""
    return choose(os.environ.get(VARIABLE, "").strip().lower())
