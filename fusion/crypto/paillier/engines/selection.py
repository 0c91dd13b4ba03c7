"""Which engine runs, and why.

One engine a process, chosen at first use. ``FUSION_PAILLIER_ENGINE`` names one: ``gmp``, ``avx2``
or ``ifma``; without it the fastest one that this machine can run is taken. An engine that was asked
for and can't run is replaced by GMP with a warning.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from fusion.crypto.paillier.engines.gmp import GmpEngine
from fusion.crypto.paillier.engines.kernels.shape import AVX2, IFMA
from fusion.crypto.paillier.engines.processor import reason_against
from fusion.crypto.paillier.engines.vector import EngineWarning, VectorEngine

if TYPE_CHECKING:
    from fusion.crypto.paillier.engines.engine import Engine

VARIABLE: Final = "FUSION_PAILLIER_ENGINE"
NAMES: Final = ("ifma", "avx2", "gmp")
"""Fastest first."""

_SHAPES: Final = {shape.name: shape for shape in (IFMA, AVX2)}


@dataclass(frozen=True, slots=True)
class Choice:
    """An engine and why it was taken.

    Attributes:
        engine: Computes.
        reason: In words, for an operator.
    """

    engine: Engine
    reason: str


def unavailable(name: str) -> str | None:
    """Say why the engine ``name`` can't run here, or None if it can."""
    if name == "gmp":
        return None
    shape = _SHAPES.get(name)
    if shape is None:
        return f"there is no engine {name!r}; there are {', '.join(NAMES)}"
    return reason_against(shape)


def named(name: str, threads: int | None = None) -> Engine:
    """Return a new engine by name, for tests and benchmarks.

    Args:
        name: One of :data:`NAMES`, for which :func:`unavailable` has no reason.
        threads: Threads of a vector engine; by default as many as there are processors.
    """
    return GmpEngine() if name == "gmp" else VectorEngine(_SHAPES[name], threads)


def choose(wanted: str) -> Choice:
    """Return the engine to be used if ``wanted`` is what the variable says; empty for any."""
    if wanted:
        reason = unavailable(wanted)
        if reason is None:
            return Choice(named(wanted), f"{VARIABLE}={wanted}")
        warnings.warn(f"{VARIABLE}={wanted}: {reason}. GMP is used.", EngineWarning, stacklevel=3)
        return Choice(GmpEngine(), f"{VARIABLE}={wanted}, but {reason}")
    against: list[str] = []
    for name in NAMES:
        reason = unavailable(name)
        if reason is None:
            why = (
                f"the fastest this machine can run ({'; '.join(against)})"
                if against
                else ("the fastest there is")
            )
            return Choice(named(name), why)
        against.append(f"{name}: {reason}")
    raise AssertionError(NAMES)  # the last name can always run


_used: list[Choice] = []


@lru_cache(maxsize=1)
def _chosen() -> Choice:
    return choose(os.environ.get(VARIABLE, "").strip().lower())


def choice() -> Choice:
    """Return this process's engine, and why it is that one."""
    return _used[-1] if _used else _chosen()


def current() -> Engine:
    """Return this process's engine."""
    return choice().engine


class using:  # noqa: N801 -- reads as `with using(engine):`
    """Use an engine of one's own for a while: tests and benchmarks compare engines with it.

    For one thread at a time; the engine holds for the whole process.
    """

    def __init__(self, engine: Engine) -> None:
        """Take the engine."""
        self._choice = Choice(engine, "asked for by the program")

    def __enter__(self) -> Engine:
        """Put it in force."""
        _used.append(self._choice)
        return self._choice.engine

    def __exit__(self, *_: object) -> None:
        """Return to what was in force before."""
        _used.remove(self._choice)
