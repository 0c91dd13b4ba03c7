"""Variance, covariance, correlation and regression from sums that are rounded first.

Each is a function of a count and of sums as they are released. Of an exact sum that is divided
before it is rounded, rows that add nothing but themselves would move the border of the rounding,
and so find the sum. Sums are exact before, so that they are the same in any order and on any
engine. How far one contributor can move a statistic follows from the farthest that a value lies
from the middle (made round); in the end it is rounded to that much, times the base that counts are
rounded to, so that nobody takes more digits for true than are.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import isfinite, sqrt
from typing import TYPE_CHECKING, Final

from sandbox.rounding import round_up, rounded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True, slots=True)
class Column:
    """Exact sums of a column over the observations of a cell, in units.

    Attributes:
        total: Of its values.
        squares: Of their squares.
        least: Least value.
        greatest: Greatest value.
    """

    total: Fraction
    squares: Fraction
    least: Fraction
    greatest: Fraction


@dataclass(frozen=True, slots=True)
class Totals:
    """Exact sums over the observations of a cell, in units, and how they are released.

    Attributes:
        count: How many observations there are.
        divisor: How many as a count is released.
        one: Most observations of one entity.
        first: The first column.
        second: The second; the first where there is one column.
        product: Sum of products of the two.
        base: Sums are rounded to so many of what one entity can add; 0: not rounded.
        noise: Of sums of values, and of sums of products, in what one entity can add.
    """

    count: int
    divisor: int
    one: int
    first: Column
    second: Column
    product: Fraction
    base: int
    noise: tuple[int, int]

    def sums(self) -> Sums:
        """Return the sums as they are released."""
        x, y = self.first, self.second
        a, b = _middle(x), _middle(y)
        reach_x, reach_y = _reach(x, a), _reach(y, b)
        values, products = self.noise
        product = self.product - a * y.total - b * x.total + self.count * a * b
        return Sums(
            n=self.divisor,
            one=float(round_up(Fraction(self.one))),
            x=self._rounded(x.total - self.count * a, reach_x, values),
            y=self._rounded(y.total - self.count * b, reach_y, values),
            xx=self._rounded(self._squares(x, a), reach_x**2, products),
            yy=self._rounded(self._squares(y, b), reach_y**2, products),
            xy=self._rounded(product, reach_x * reach_y, products),
            reach_x=float(reach_x),
            reach_y=float(reach_y),
            # Of one value only, the middle is it.
            middle_x=a if reach_x else self._mean(x),
            middle_y=b if reach_y else self._mean(y),
        )

    def _squares(self, of: Column, middle: Fraction) -> Fraction:
        return of.squares - 2 * middle * of.total + self.count * middle**2

    def _mean(self, of: Column) -> Fraction:
        far = round_up(max(abs(of.least), abs(of.greatest)))
        return self._rounded(of.total, far, self.noise[0]) / self.divisor

    def _rounded(self, value: Fraction, most: Fraction, moved: int) -> Fraction:
        """Return a sum as it is released, to which an observation adds so much at most.

        How many observations are of one entity is made round by itself: who has how many rows can
        be chosen, and would find with what a product of the two passes a digit.
        """
        largest = round_up(Fraction(self.one)) * most
        return rounded(value + moved * largest, largest * self.base)


def _middle(of: Column) -> Fraction:
    """Return about which number deviations are summed: 0 where values lie on both its sides.

    Elsewhere squares about 0 would be all middle and no spread: of years, say. It is the multiple
    of a quarter of the range (made round) that is nearest to the middle of the range, so that it
    is one of few. Rows of 0 move no sum: where some count there is a 0 in the range.
    """
    if of.least <= 0 <= of.greatest:
        return Fraction(0)
    grid = round_up(of.greatest - of.least) / 4
    return rounded((of.least + of.greatest) / 2, grid)


def _reach(of: Column, middle: Fraction) -> Fraction:
    """Return how far the farthest value lies from a middle, made round."""
    return round_up(max(abs(of.least - middle), abs(of.greatest - middle)))


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums of deviations from a middle over the observations of a cell, in units, as released.

    Attributes:
        n: How many there are.
        one: Most observations of one entity, made round.
        x: Sum of the first column.
        y: Sum of the second; equal to the first where there is one column.
        xx: Sum of squares of the first.
        yy: Sum of squares of the second.
        xy: Sum of products.
        reach_x: The farthest that a value of the first lies from its middle, made round.
        reach_y: The same of the second.
        middle_x: Middle of the first.
        middle_y: Middle of the second.
    """

    n: int
    one: float
    x: Fraction
    y: Fraction
    xx: Fraction
    yy: Fraction
    xy: Fraction
    reach_x: float
    reach_y: float
    middle_x: Fraction
    middle_y: Fraction

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

    @property
    def moved(self) -> float:
        """How far one entity can move a sum of products of deviations.

        By its own products, and by moving the means: to first order.
        """
        x, y = (abs(float(each / self.n)) for each in (self.x, self.y))
        return self.one * (self.reach_x * self.reach_y + x * self.reach_y + y * self.reach_x)


Moment = tuple[float, float]
"""A value, and how far one contributor can move it."""


def _variance(of: Sums, by: int) -> Moment | None:
    if by <= 0:
        return None
    return max(float(of.sxx / by), 0.0), of.moved / by


def _deviation(of: Sums, by: int) -> Moment | None:
    variance = _variance(of, by)
    if variance is None:
        return None
    value = sqrt(variance[0])
    return value, variance[1] / (2 * value) if value else variance[1] ** 0.5


def _covariance(of: Sums, by: int) -> Moment | None:
    if by <= 0:
        return None
    return float(of.sxy / by), of.moved / by


def _correlation(of: Sums) -> Moment | None:
    if of.sxx <= 0 or of.syy <= 0:
        return None
    scale = sqrt(float(of.sxx)) * sqrt(float(of.syy))
    value = min(max(float(of.sxy) / scale, -1.0), 1.0)
    return value, of.moved / scale


# In regr_*(y, x) the dependent column comes first: here x is it, and y is what explains it.
def _slope(of: Sums) -> Moment | None:
    if of.syy <= 0:
        return None
    return float(of.sxy / of.syy), of.moved / float(of.syy)


def _intercept(of: Sums) -> Moment | None:
    slope = _slope(of)
    if slope is None:
        return None
    mean_x, mean_y = of.middle_x + of.x / of.n, of.middle_y + of.y / of.n
    value = mean_x - of.sxy / of.syy * mean_y
    moved = slope[1] * abs(float(mean_y)) + of.one * of.reach_x / of.n
    return float(value), moved


def _r2(of: Sums) -> Moment | None:
    # DuckDB and the standard: 1 where the dependent column does not vary.
    if of.syy <= 0:
        return None
    if of.reach_x == 0 or (of.sxx == 0 and of.xx == 0):
        return 1.0, 0.0
    correlation = _correlation(of)
    if correlation is None:
        return None
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


_SIGNED: Final = frozenset({"covar_samp", "covar_pop", "corr", "regr_slope", "regr_intercept"})
"""What may lie on either side of 0; a variance of 0 would say that all values are the same."""


class TooCoarse(Exception):
    """A statistic is so near to 0 that what it is rounded to leaves nothing of it."""


def moment(kind: str, of: Totals) -> Fraction | None:
    """Return a statistic as it is released; None where it is undefined.

    Raises:
        TooCoarse: A variance or the like is less than what it is rounded to, or another statistic
            would be rounded to 0: nobody is to take for 0 what is not known.
    """
    if of.divisor == 0:
        return None
    found = MOMENTS[kind](of.sums())
    if found is None or not all(isfinite(each) for each in found):
        return None
    value, moved = Fraction(found[0]), Fraction(found[1])
    step = round_up(moved) * of.base
    if step > 0 and abs(value) < (step / 2 if kind in _SIGNED else step):
        raise TooCoarse
    return rounded(value, step)
