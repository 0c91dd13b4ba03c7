"""To what a quantile of a value is rounded: what follows from the bins of the columns in it.

A quantile is one person's value, so that it is told to a width. Of a column that is its bin, or a
thousandth of its range; of what is added up, averaged, chosen or multiplied by a constant, that of
the columns in it, multiplied alike: the range of such a value can be a million times what anyone
has, and a thousandth of that would round everybody to 0. A product or quotient of columns has no
width of its own, and a root or logarithm is one of a number that is read at its width
(:func:`sandbox.bins.at_widths`). What is made of bins alone tells no more than bins and is not
rounded further; with other numbers in it there is no such quantile.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandbox.values import Expr, Type


class Told(NamedTuple):
    """What may be told of single values of an expression.

    Attributes:
        width: To what a quantile is rounded, in units; infinite where nothing follows.
        known: Whether it is made of what conditions may know alone: bins, groups and counts.
    """

    width: float
    known: bool


UNKNOWN: Final = Told(inf, known=False)
ALONE: Final = Told(0.0, known=True)
"""Of a constant."""

_ALIKE: Final = {
    "neg", "abs", "scale", "real", "add", "sub", "mod", "within", "case", "coalesce", "greatest",
    "least", "nullif", "round_int", "floor_int", "ceil_int", "round_real", "floor_real",
    "ceil_real",
}  # fmt: skip
"""What is as wide as the widest number in it."""

_DAYS: Final = {"day": 1, "week": 7, "month": 30, "quarter": 91, "year": 365}

_COUNTS: Final = {"rows", "count", "row_number", "rank", "dense_rank"}


def told(op: str, args: Sequence[Any], numbers: Sequence[Expr], kind: Type) -> Told:
    """Return what may be told of the result of an operation.

    Args:
        op: Its name.
        args: What it is applied to.
        numbers: Those of them that are numbers.
        kind: Of the result.
    """
    known = all(each.told.known for each in numbers)
    widest = max((each.told.width for each in numbers), default=inf)
    if op == "bin":
        return Told(widest, known=True)
    if op in {"agg", "window"}:
        return Told(1.0, known=True) if args[0] in _COUNTS else args[1].told
    if op in _ALIKE:
        return Told(widest, known)
    if op == "idiv":
        return Told(widest / args[1], known)
    if op in {"mul", "div"}:
        return _product(op, numbers, widest, known=known)
    if op == "days_between":
        widest = max(_DAYS[each.type.finest] for each in args[1:])
        return Told(max(1.0, widest / _DAYS[args[0]]), known=False)
    if op in {"sqrt", "ln"}:  # nothing follows: of a number that is read at its width all is known
        return Told(0.0 if known else inf, known)
    # Of functions, parts of days and lengths.
    return Told(
        0.0 if known and numbers else (kind.high - kind.low) / 1000, known and bool(numbers)
    )


def _product(op: str, numbers: Sequence[Expr], widest: float, *, known: bool) -> Told:
    """Return what may be told of a product or quotient: of one with a constant, its multiple."""
    by = [each for each in numbers if each.type.low == each.type.high]
    if len(by) == len(numbers):
        return ALONE
    factor = abs(by[-1].type.low) if by else 0.0
    if factor and (op == "mul" or numbers[-1] is by[-1]):
        return Told(widest * factor if op == "mul" else widest / factor, known)
    return Told(0.0 if known else inf, known)
