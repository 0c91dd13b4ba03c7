"""Arithmetic on numbers that are written out, done exactly before anything is decided about them.

``5 * 1000`` is 5000: it is compared with a number that has a bin as 5000 is (:mod:`sandbox.bins`),
named as 5000 in what the history calls a cell, and accepted wherever a number has to be written
out. Results are decimals, the same on every engine. What is none (``1 / 3``), what is undefined
(``1 / 0``) and what is too large stays the operation that it is, and total like any other.
"""

from __future__ import annotations

from fractions import Fraction
from math import ceil, floor
from typing import TYPE_CHECKING, Final

from sandbox import values as v
from sandbox.policy import MAX_MAGNITUDE
from sandbox.rounding import rounded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sandbox.values import Expr

_TWO: Final[Mapping[str, Callable[[Fraction, Fraction], Fraction]]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "idiv": lambda a, b: Fraction(a // b),
    "mod": lambda a, b: a % b,
}
_DIVISIONS: Final = {"div", "idiv", "mod"}
_ROUNDED: Final[Mapping[str, Callable[[Fraction], Fraction]]] = {
    "round": lambda a: rounded(a, Fraction(1)),
    "floor": lambda a: Fraction(floor(a)),
    "ceil": lambda a: Fraction(ceil(a)),
}


def value_of(of: Expr) -> Fraction | None:
    """Return the number that an expression writes out; None if it is none."""
    if of.op == "real":
        of = of.args[0]
    return Fraction(of.args[0], 10**of.type.scale) if of.op == "int" else None


def written(value: Fraction) -> Expr | None:
    """Return a number as one that is written out; None if it has too many digits."""
    if abs(value) > MAX_MAGNITUDE:
        return None
    for scale in range(v.MAX_SCALE + 1):
        scaled = value * 10**scale
        if scaled.denominator == 1:
            fits = abs(scaled) < v.MAX_INTEGER
            return v.integer(int(scaled), scale) if fits else None
    return None


def combined(op: str, left: Expr, right: Expr) -> Expr | None:
    """Return what an operation on two numbers is that are written out; None where it stays one.

    Args:
        op: ``add``, ``sub``, ``mul``, ``div``, ``idiv`` or ``mod``.
        left: Of it.
        right: Of it.
    """
    one, other = value_of(left), value_of(right)
    if one is None or other is None or (op in _DIVISIONS and other == 0):
        return None
    return written(_TWO[op](one, other))


def shortened(how: str, of: Expr, places: int) -> Expr | None:
    """Return a number that is written out with fewer decimals; None of any other.

    Args:
        how: ``round``, halves away from 0, ``floor`` or ``ceil``.
        of: The number.
        places: Decimals that are left; below 0, zeros.
    """
    value, unit = value_of(of), Fraction(10) ** places
    return None if value is None else written(_ROUNDED[how](value * unit) / unit)
