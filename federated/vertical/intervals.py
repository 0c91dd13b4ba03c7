"""Bounds of rates and of areas under ROC curves: exact for rates, DeLong's for areas.

Rates: Clopper and Pearson, Biometrika 26 (1934). Areas and differences of two areas over the same
rows: DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988), equations 3 to 5. Both hold for rows
drawn independently. Pure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Final

import numpy as np

from fusion.errors import DataInvalid

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating]
    Bools = NDArray[np.bool_]

LEVEL: Final = 0.95
_HALVINGS: Final = 60
_DEVIATIONS: Final = 12


@dataclass(frozen=True, slots=True)
class Bounded:
    """A number and its bounds.

    Attributes:
        value: The estimate.
        low: Lower bound.
        high: Upper bound.
    """

    value: float
    low: float
    high: float


def rate(hits: int, of: int, level: float = LEVEL) -> Bounded:
    """Return a rate with the bounds of Clopper and Pearson.

    Args:
        hits: Successes.
        of: Trials, at least one.
        level: Of both bounds together.
    """
    tail = (1 - level) / 2
    return Bounded(hits / of, 1 - _upper(of - hits, of, tail), _upper(hits, of, tail))


def _upper(hits: int, of: int, tail: float) -> float:
    """Return the rate under which at most ``hits`` of ``of`` have the probability ``tail``."""
    if hits == of:
        return 1.0
    # Terms far below the mean do not matter: the mean is never below `hits` here.
    first = max(0, hits - int(_DEVIATIONS * math.sqrt(of)) - 60)
    counts = np.arange(hits, first, -1)
    top = math.lgamma(of + 1) - math.lgamma(hits + 1) - math.lgamma(of - hits + 1)
    steps = np.concatenate([[top], np.log(counts / (of - counts + 1))])
    ways, places = np.cumsum(steps), np.arange(hits, first - 1, -1)
    low, high = hits / of, 1.0
    for _ in range(_HALVINGS):
        p = (low + high) / 2
        terms = ways + places * math.log(p) + (of - places) * math.log1p(-p)
        if np.exp(terms).sum() > tail:
            low = p
        else:
            high = p
    return high


def difference(first: tuple[int, int], second: tuple[int, int]) -> Bounded:
    """Return one rate less another, each given as hits and trials, with bounds that hold for both.

    Each rate gets bounds at half the chance of error, so that together they hold at
    :data:`LEVEL` (Bonferroni).
    """
    level = (1 + LEVEL) / 2
    a, b = rate(*first, level), rate(*second, level)
    return Bounded(a.value - b.value, a.low - b.high, a.high - b.low)


def area(scores: Floats, positive: Bools) -> Bounded:
    """Return the area under the ROC curve with DeLong's bounds.

    Raises:
        DataInvalid: A class is missing.
    """
    found = _bounded(*placements(scores, positive))
    return Bounded(found.value, max(0.0, found.low), min(1.0, found.high))


def gain(scores: Floats, than: Floats, positive: Bools) -> Bounded:
    """Return by how much the area of one score is above that of another over the same rows.

    Raises:
        DataInvalid: A class is missing.
    """
    ones, twos = placements(scores, positive), placements(than, positive)
    return _bounded(ones[0] - twos[0], ones[1] - twos[1])


def placements(scores: Floats, positive: Bools) -> tuple[Floats, Floats]:
    """Return of each positive the share of negatives below it, of each negative the reverse.

    Ties count half; the mean of either is the area.

    Raises:
        DataInvalid: A class is missing, or a score is not a number.
    """
    high, low = scores[positive], scores[~positive]
    if not len(high) or not len(low) or not np.isfinite(scores).all():
        raise DataInvalid("An area under a curve needs numbers, and rows of both kinds.")
    return _below(high, np.sort(low)), 1.0 - _below(low, np.sort(high))


def _below(scores: Floats, ordered: Floats) -> Floats:
    left = np.searchsorted(ordered, scores, side="left")
    right = np.searchsorted(ordered, scores, side="right")
    return np.asarray((left + right) / (2 * len(ordered)))


def _bounded(high: Floats, low: Floats) -> Bounded:
    value = float(high.mean())
    spread = sum(float(part.var(ddof=1)) / len(part) for part in (high, low) if len(part) > 1)
    width = NormalDist().inv_cdf((1 + LEVEL) / 2) * math.sqrt(spread)
    return Bounded(value, value - width, value + width)
