"""Epsilon and delta to rho and back, by zero-concentrated differential privacy. Pure.

A mechanism is rho-zCDP (Bun and Steinke, TCC 2016) if its Rényi divergence of every order a above
1 between neighbours is at most a·rho. Values of rho add up, also when each release is chosen after
the ones before (theorem 2.3 of theirs); what it means in epsilon and delta is proposition 12 of
Canonne, Kamath and Steinke (NeurIPS 2020).

All in decimals with 34 digits, whose logarithms and roots are rounded correctly: every party
computes the same to the last digit. What is rounded is rounded towards more noise.
"""

from __future__ import annotations

from decimal import Context, Decimal, localcontext
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from fusion.errors import InputInvalid

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

MICRO: Final = 1_000_000
"""An epsilon of 1, in millionths."""
_DIGITS: Final = Context(prec=34)
ONE: Final = Decimal(1)
SAFE: Final = Decimal("1e-9")
"""Share of rho that is given up for all rounding; of the 34 digits, far fewer are wrong."""
_NARROWINGS: Final = 40
_HALVINGS: Final = 56


def exactly() -> AbstractContextManager[Context]:
    """Return the context of all arithmetic here: what the caller's own is does not matter."""
    return localcontext(_DIGITS)


def delta_of(rho: Decimal, epsilon: Decimal) -> Decimal:
    """Return a delta for which rho-zCDP is (epsilon, delta)-differentially private.

    Any order gives a valid bound (proposition 12 of Canonne, Kamath and Steinke); the best one is
    looked for by narrowing the interval that has it; a worse one is a looser bound, not a wrong
    one.
    """
    with exactly():
        if rho <= 0:
            return Decimal(0)
        low, high = Decimal("1e-6"), (epsilon + 1) / rho + 10
        for _ in range(_NARROWINGS):
            third = (high - low) / 3
            left, right = low + third, high - third
            if _log_delta(rho, epsilon, left) < _log_delta(rho, epsilon, right):
                high = right
            else:
                low = left
        return min(ONE, _log_delta(rho, epsilon, low).exp())


def _log_delta(rho: Decimal, epsilon: Decimal, above: Decimal) -> Decimal:
    """Return the logarithm of the bound on delta from the order 1 + ``above``."""
    order = ONE + above
    return above * (order * rho - epsilon) - above.ln() + order * (ONE - ONE / order).ln()


@lru_cache(maxsize=64)
def rho_of(epsilon_micro: int, delta: Decimal) -> Decimal:
    """Return the largest rho that is certainly within (epsilon, delta).

    Args:
        epsilon_micro: Epsilon in millionths.
        delta: Between 0 and 1.

    Raises:
        InputInvalid: Epsilon or delta is not between 0 and its bound.
    """
    if epsilon_micro < 1 or not 0 < delta < 1:
        msg = "Epsilon has to be positive, and delta between 0 and 1."
        raise InputInvalid(msg)
    with exactly():
        epsilon = Decimal(epsilon_micro) / MICRO
        # Pure epsilon-differential privacy is epsilon²/2-zCDP, so the answer is not above epsilon.
        low, high = Decimal(0), epsilon
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            if delta_of(middle, epsilon) <= delta:
                low = middle
            else:
                high = middle
        return low * (ONE - SAFE)


@lru_cache(maxsize=64)
def epsilon_of(rho: Decimal, delta: Decimal) -> int:
    """Return the smallest epsilon that rho-zCDP certainly gives at ``delta``, in millionths."""
    with exactly():
        if rho <= 0:
            return 0
        # rho + 2·sqrt(rho·ln(1/delta)) is always enough (Bun and Steinke, proposition 1.3).
        low = 0
        high = int((rho + 2 * (rho * -delta.ln()).sqrt()) * MICRO) + 2
        while high - low > 1:
            middle = (low + high) // 2
            if delta_of(rho, Decimal(middle) / MICRO) <= delta:
                high = middle
            else:
                low = middle
        return high
