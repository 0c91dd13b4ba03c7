"""Epsilon and delta to noise of many parties, by zero-concentrated differential privacy. Pure.

Rho to epsilon and back is in :mod:`fusion.crypto.concentrated`. What many parties' shares of noise
add up to is not itself discrete Gaussian: the gap is that of proposition 14 of Kairouz, Liu and
Steinke (arXiv:2102.06387, ICML 2021).

All in decimals with 34 digits, whose logarithms and roots are rounded correctly: every party
computes the same noise to the last digit, or the layouts would not be the same. What is rounded is
rounded towards more noise.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from fusion.crypto.concentrated import ONE, SAFE, delta_of, epsilon_of, exactly, rho_of

__all__ = [
    "delta_of", "epsilon_of", "exactly", "rho_of", "rho_of_sum", "sigma_for", "sum_gap",
]  # fmt: skip
_PI: Final = Decimal("3.1415926535897932384626433832795028841971693993751")


def sum_gap(sigma: int, contributors: int, size: int) -> Decimal:
    """Return how much a sum of noise is behind one discrete Gaussian, in units of sensitivity.

    ``tau·sqrt(d)`` of proposition 14 of Kairouz, Liu and Steinke: with a sensitivity of D, a sum of
    n contributions of N_Z(0, sigma²) on d coordinates is
    ``(D/(sqrt(n)·sigma) + tau·sqrt(d))²/2``-zCDP, where ``tau`` is at most
    ``10·(n - 1)·exp(-pi²·sigma²)``: each of its terms has k/(k + 1) of at least 1/2.
    """
    with exactly():
        exponent = -(_PI**2) * sigma * sigma
        return 10 * Decimal(max(0, contributors - 1)) * exponent.exp() * Decimal(size).sqrt()


def rho_of_sum(sensitivity_squared: int, sigma: int, contributors: int, size: int) -> Decimal:
    """Return the rho of one sum of which ``contributors`` parties' noise is not known.

    Args:
        sensitivity_squared: Of the sum's L2 norm to one row, in units of the fixed point.
        sigma: Of each party's noise, in the same units.
        contributors: Honest parties whose contributions are in the sum.
        size: Coordinates of the sum.
    """
    with exactly():
        variance = Decimal(contributors) * sigma * sigma
        ratio = (Decimal(sensitivity_squared) / variance).sqrt()
        return (ratio + sum_gap(sigma, contributors, size)) ** 2 / 2


def sigma_for(rho: Decimal, sensitivity_squared: int, contributors: int) -> int:
    """Return each party's sigma, so that ``contributors`` together give ``rho``, rounded up."""
    with exactly():
        sigma = (Decimal(sensitivity_squared) / (2 * rho * (ONE - SAFE) * contributors)).sqrt()
        return int(sigma) + 1
