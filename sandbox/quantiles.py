"""What of a quantile may leave: no more than a count of the people below it would say.

Where a value has two levels (``CASE WHEN ... THEN 1 ELSE 0 END``) the fraction at which a quantile
goes from one to the other is the share of people on each, and between the two an engine
interpolates by a weight that is made of how many there are: a count, to the last person. So a
fraction is answered where the next that is answered lies at least as many people away as counts are
rounded to, and of two values that lie further apart than a quantile is rounded to the lower one is
taken. Both follow from the size of the cell.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Final

BESIDE: Final = 1e-9
"""How far beside a fraction an engine is asked for another value: the gap shows in the slope."""

_WHOLE: Final = 10_000
_STEPS: Final = (5000, 2500, 500, 100, 10, 1)
"""Each divides the one before: fractions that a cell answers lie at least one step apart."""


def answered(fraction: int, entities: int, base: int) -> bool:
    """Return whether a fraction, in ten-thousandths, is coarse enough for so many people.

    Args:
        fraction: Asked for.
        entities: Who contribute.
        base: What counts are rounded to.
    """
    step = next(each for each in _STEPS if fraction % each == 0)
    return base <= 1 or entities * step >= base * _WHOLE


def one_value(first: float, beside: float, fraction: int, rows: int, width: int) -> float | None:
    """Return a quantile, or the lower of two values where it lies between two far apart.

    Among more than 100,000 rows the fraction beside it can lie beyond the next value. Then the gap
    is known up to a bound, and there is None where that is wider than a quantile is rounded to.

    Args:
        first: The quantile, interpolated (type 7 of Hyndman & Fan 1996).
        beside: That of a fraction which is :data:`BESIDE` more.
        fraction: In ten-thousandths.
        rows: How many values there are.
        width: What a quantile is rounded to; 0 for nothing.
    """
    weight = Fraction((rows - 1) * fraction, _WHOLE) % 1
    if not width or not weight:
        return first
    to_next, step = float(1 - weight), BESIDE * (rows - 1)
    if step > to_next:
        return first if beside - first <= width * to_next else None
    gap = (beside - first) / step
    return first if gap <= width else float(round(first - float(weight) * gap))
