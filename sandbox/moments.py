"""Variance, covariance, correlation and regression from exact sums, and how coarse they have to be.

Each is computed from whole numbers, so that it is the same in any order and on any engine. How far
one contributor can move it follows from the farthest that a value lies from the mean; it is rounded
to that much, times the base that counts are rounded to.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, sqrt
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from fractions import Fraction


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums over the observations of a cell, in units.

    Attributes:
        n: How many there are.
        one: Most observations of one entity.
        x: Sum of the first column, and the sums of products.
        y: Sum of the second; equal to the first where there is one column.
        xx: Sum of squares of the first.
        yy: Sum of squares of the second.
        xy: Sum of products.
        reach_x: The farthest that a value of the first lies from its mean.
        reach_y: The same of the second.
    """

    n: int
    one: int
    x: Fraction
    y: Fraction
    xx: Fraction
    yy: Fraction
    xy: Fraction
    reach_x: float
    reach_y: float

    @property
    def sxx(self) -> Fraction:
        """Sum of squared deviations of the first column."""
        return self.xx - self.x * self.x / self.n

    @property
    def syy(self) -> Fraction:
        """Sum of squared deviations of the second."""
        return self.yy - self.y * self.y / self.n

    @property
    def sxy(self) -> Fraction:
        """Sum of products of deviations."""
        return self.xy - self.x * self.y / self.n


Moment = tuple[float, float]
"""A value, and how far one contributor can move it."""


def _variance(of: Sums, by: int) -> Moment | None:
    if by <= 0:
        return None
    return float(of.sxx / by), of.one * of.reach_x**2 / by


def _deviation(of: Sums, by: int) -> Moment | None:
    variance = _variance(of, by)
    if variance is None:
        return None
    value = sqrt(max(variance[0], 0.0))
    return value, variance[1] / (2 * value) if value else variance[1] ** 0.5


def _covariance(of: Sums, by: int) -> Moment | None:
    if by <= 0:
        return None
    return float(of.sxy / by), of.one * of.reach_x * of.reach_y / by


def _correlation(of: Sums) -> Moment | None:
    if of.sxx <= 0 or of.syy <= 0:
        return None
    scale = sqrt(float(of.sxx)) * sqrt(float(of.syy))
    return float(of.sxy) / scale, of.one * of.reach_x * of.reach_y / scale


# In regr_*(y, x) the dependent column comes first: here x is it, and y is what explains it.
def _slope(of: Sums) -> Moment | None:
    if of.syy <= 0:
        return None
    return float(of.sxy / of.syy), of.one * of.reach_x * of.reach_y / float(of.syy)


def _intercept(of: Sums) -> Moment | None:
    slope = _slope(of)
    if slope is None:
        return None
    value = of.x / of.n - of.sxy / of.syy * of.y / of.n
    moved = slope[1] * abs(float(of.y / of.n)) + of.one * of.reach_x / of.n
    return float(value), moved


def _r2(of: Sums) -> Moment | None:
    # DuckDB and the standard: 1 where the dependent column does not vary.
    if of.syy <= 0:
        return None
    correlation = _correlation(of)
    if correlation is None:
        return 1.0, 0.0
    value, moved = correlation
    return value * value, (2 * abs(value) + moved) * moved


MOMENTS: Final[Mapping[str, Callable[[Sums], Moment | None]]] = {
    "var_samp": lambda of: _variance(of, of.n - 1),
    "var_pop": lambda of: _variance(of, of.n),
    "stddev_samp": lambda of: _deviation(of, of.n - 1),
    "stddev_pop": lambda of: _deviation(of, of.n),
    "covar_samp": lambda of: _covariance(of, of.n - 1),
    "covar_pop": lambda of: _covariance(of, of.n),
    "corr": _correlation,
    "regr_slope": _slope,
    "regr_intercept": _intercept,
    "regr_r2": _r2,
}
PARAMETERS: Final = {"regr_slope": 2, "regr_intercept": 2, "regr_r2": 2, "corr": 2}
"""Parameters of a statistic, which do not count as degrees of freedom; one for the others."""


def moment(kind: str, of: Sums) -> Moment | None:
    """Return a statistic and how far one contributor can move it; None where it is undefined."""
    found = MOMENTS[kind](of)
    if found is None or not all(isfinite(each) for each in found):
        return None
    return found
