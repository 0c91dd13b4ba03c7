"""A mean as a function of the score, as a table: a spline of straight lines between its levels.

Scores are shared modulo a power of two, the *period*; what is above it does not count. Both
share-holders drop the same low bits of their shares, which rounds the score to one of its two
neighbouring levels, each as often as it is near (the share is uniform, so the carry is a fair
coin of the right bias). The mean of the level's value is then the straight line between levels, and
one oblivious transfer a row gives both a share of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from federated.protocols.vertical.linear_terms import Family

    Words = NDArray[np.uint64]
    Floats = NDArray[np.float64]

VALUE_BITS: Final = 12
"""Fraction bits of a mean."""

_PERIOD_BITS: Final = {"logistic": 6, "linear": 5, "poisson": 4}
_CENTRE: Final = {"logistic": 0.0, "linear": 0.0, "poisson": -1.5}
_FEWEST_BITS, _MOST_BITS, _ENTRIES_BITS = 7, 9, 21


@dataclass(frozen=True, slots=True)
class Lookup:
    """The table of a family.

    Attributes:
        family: The model.
        level_bits: There are ``2 ** level_bits`` levels a period.
    """

    family: Family
    level_bits: int

    @classmethod
    def of(cls, family: Family, row_bits: int) -> Lookup:
        """Return the table for so many rows: the fewer there are, the finer it is."""
        return cls(family, min(_MOST_BITS, max(_FEWEST_BITS, _ENTRIES_BITS - row_bits)))

    @property
    def period_bits(self) -> int:
        """The period is ``2 ** period_bits``."""
        return _PERIOD_BITS[self.family]

    @property
    def centre(self) -> float:
        """Score of the level 0; levels go half a period to both sides."""
        return _CENTRE[self.family]

    @property
    def step(self) -> float:
        """Distance of levels."""
        return float(2.0 ** (self.period_bits - self.level_bits))

    def mean(self, z: Floats) -> Floats:
        """Return the mean of scores within the period, in floating point."""
        return _mean(self.family, z)

    def values(self) -> Words:
        """Return the mean at each level, with :data:`VALUE_BITS`; the upper half is below 0.

        A line between two points of a curve is, in the mean, ``h^2 f''/12`` from it; the levels
        are moved by that, so that errors cancel over rows.
        """
        count = 1 << self.level_bits
        level = np.arange(count)
        z = np.where(level < count // 2, level, level - count) * self.step + self.centre
        found = _mean(self.family, z) - self.step**2 / 12 * _bend(self.family, z)
        return np.rint(found * (1 << VALUE_BITS)).astype(np.int64).view(np.uint64)

    def levels(self, share: Words, fraction_bits: int) -> Words:
        """Return the share of a level: the high bits of the share of a score.

        Args:
            share: Of the score less :attr:`centre`.
            fraction_bits: Of it.
        """
        width = fraction_bits + self.period_bits
        kept = share & np.uint64((1 << width) - 1)
        return kept >> np.uint64(width - self.level_bits)

    def tables(self, shares: Words, masks: Words) -> Words:
        """Return for each row the masked means by the other's share of the level.

        Args:
            shares: Own shares of levels.
            masks: Uniform words: the own shares of the means.

        Returns:
            ``(rows, levels)``.
        """
        count = 1 << self.level_bits
        # Dropping the low bits of both shares loses their carry: 1 stands in for it.
        place = (shares[:, None] + np.arange(1, count + 1, dtype=np.uint64)) % np.uint64(count)
        return np.asarray(self.values()[place.astype(np.int64)] - masks[:, None])


def _mean(family: Family, z: Floats) -> Floats:
    if family == "linear":
        return z
    return np.asarray(np.exp(z) if family == "poisson" else 1.0 / (1.0 + np.exp(-z)))


def _bend(family: Family, z: Floats) -> Floats:
    """Return the second derivative of the mean."""
    if family == "linear":
        return np.zeros_like(z)
    mean = _mean(family, z)
    return mean if family == "poisson" else mean * (1 - mean) * (1 - 2 * mean)
