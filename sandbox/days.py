"""Functions of days: parts, truncation, differences and shifts, none of which can fail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlglot import exp

from sandbox import values as v
from sandbox.policy import UNITS
from sandbox.refusals import refusal
from sandbox.values import Expr, Kind, Type, build

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sandbox.scalars import Scalars

_PARTS: Final = {
    # part: least, greatest, the unit below which it tells days apart
    "year": (1, 9999, "year"), "quarter": (1, 4, "quarter"), "month": (1, 12, "month"),
    "week": (1, 53, "week"), "day": (1, 31, "day"), "doy": (1, 366, "day"),
    "dow": (0, 6, "year"), "isodow": (1, 7, "year"),
}  # fmt: skip
_NODES: Final = {
    "Year": "year", "Quarter": "quarter", "Month": "month", "Week": "week", "WeekOfYear": "week",
    "Day": "day", "DayOfMonth": "day", "DayOfYear": "doy", "DayOfWeek": "dow",
    "DayOfWeekIso": "isodow",
}  # fmt: skip
_NAMES: Final = {"dayofweek": "dow", "weekday": "dow", "dayofyear": "doy", "dayofmonth": "day"}
_FORMATS: Final = {"%Y": "year", "%Y-%m": "month"}
_SHIFTS: Final = {"day": ("day", 1), "week": ("day", 7), "month": ("month", 1),
                  "quarter": ("month", 3), "year": ("month", 12)}  # fmt: skip
MAX_SHIFT: Final = 10_000
MAX_YEAR: Final = 9999


def _unit(node: object) -> str:
    name = str(node.this).lower() if isinstance(node, exp.Expr) else ""
    return name.removesuffix("s") if name.removesuffix("s") in UNITS else name


def _coarse(of: Expr, unit: str) -> bool:
    return UNITS.index(unit) >= UNITS.index(of.type.finest)


def _part(scalars: Scalars, node: exp.Expr) -> Expr:
    if isinstance(node, exp.Extract | exp.Anonymous):
        first, last = _two(node)
        name = _unit(first)
        part, of = _NAMES.get(name, name), scalars.day(last)
    else:
        part, of = _NODES[type(node).__name__], scalars.day(node.this)
    if part not in _PARTS:
        raise refusal("Q-03", f"Parts of a day are {', '.join(_PARTS)}.")
    low, high, unit = _PARTS[part]
    raw = of.raw and not _coarse(of, unit)
    return build("part", (part, of), Type(Kind.INT, 0, low, high), raw=raw)


def _two(node: exp.Expr) -> tuple[exp.Expr, exp.Expr]:
    """Return part and day of extract(part FROM day) or date_part('part', day)."""
    if isinstance(node, exp.Extract):
        return node.this, node.expression
    if len(node.expressions) != 2:
        raise refusal("Q-03", "date_part takes a part and a day.")
    first, last = node.expressions
    return first, last


def _truncated(scalars: Scalars, node: exp.Expr) -> Expr:
    unit, of = _unit(node.args.get("unit")), scalars.day(node.this)
    if unit not in UNITS:
        raise refusal("Q-03", f"Days are truncated to {', '.join(UNITS)}.")
    raw = of.raw and not _coarse(of, unit)
    return build("truncated", (unit, of), of.type, raw=raw)


def _spelt(scalars: Scalars, node: exp.Expr) -> Expr:
    written, of = scalars.text(node.args.get("format")), scalars.day(node.this)
    form = str(written.args[0]) if written.op == "text" else ""
    if form not in _FORMATS:
        raise refusal("Q-03", f"Days are spelt as {' or '.join(_FORMATS)}.")
    return build("day_spelt", (form, of), v.TEXT, raw=of.raw and not _coarse(of, _FORMATS[form]))


def between(unit: str, first: Expr, last: Expr) -> Expr:
    """Return how many borders of a unit lie from one day to another."""
    return build("days_between", (unit, first, last), Type(Kind.INT, 0, -4e6, 4e6))


def _difference(scalars: Scalars, node: exp.Expr) -> Expr:
    unit = _unit(node.args.get("unit"))
    if unit not in UNITS:
        raise refusal("Q-03", f"Days differ in {', '.join(UNITS)}.")
    return between(unit, scalars.day(node.expression), scalars.day(node.this))


def is_shift(node: exp.Expr) -> bool:
    """Whether a sum or difference is of a day and an interval."""
    return isinstance(node.expression, exp.Interval)


def shift(scalars: Scalars, node: exp.Expr) -> Expr:
    """Return a day plus or minus a written interval."""
    interval = node.expression
    unit, count = _unit(interval.args.get("unit")), interval.this
    written = str(count.this) if isinstance(count, exp.Literal) else ""
    if unit not in _SHIFTS or not written.isascii() or not written.isdigit():
        raise refusal("Q-03", "An interval is a whole number of days, weeks, months or years.")
    base, factor = _SHIFTS[unit]
    by = int(written[:9]) * factor
    if by > MAX_SHIFT:
        raise refusal("Q-14", "An interval is at most 10,000 days or months.")
    of, by = scalars.day(node.this), by if isinstance(node, exp.Add) else -by
    # The interval of a day is in years; before the first one engines count differently.
    years = by / 12 if base == "month" else by / 365
    low, high = of.type.low + min(years, 0) - 1, of.type.high + max(years, 0) + 1
    if low < 0 or high > MAX_YEAR + 1:
        raise refusal("Q-14", "A day is too far away.")
    return build("shifted", (base, by, of), Type(Kind.DATE, 0, low, high, of.type.finest))


def grouped(key: Expr) -> str:
    """Return how the days of a group would have to be grouped; empty if it is not made of days."""
    for part in key.parts():
        if part.type.kind is Kind.DATE and part.raw:
            units = UNITS[UNITS.index(part.type.finest) :]
            return "Days of this column are grouped by date_trunc of " + " or ".join(units) + "."
    return ""


def _named(scalars: Scalars, node: exp.Expr) -> Expr:
    """Return the name of a day's weekday or month."""
    if not scalars.scope.released:
        raise refusal(
            "Q-03",
            "Names of days and months are of grouped results.",
            "Over rows: extract(isodow FROM day), extract(month FROM day).",
        )
    op = "dayname" if isinstance(node, exp.Dayname) else "monthname"
    return build(op, (scalars.day(node.this),), v.TEXT)


METHODS: Final[Mapping[str, Callable[[Scalars, Any], Expr]]] = {
    "Extract": _part,
    "Anonymous": _part, **dict.fromkeys(_NODES, _part), "TimestampTrunc": _truncated,
    "DateTrunc": _truncated, "DateDiff": _difference, "TimeToStr": _spelt,
    "Dayname": _named, "Monthname": _named,
}  # fmt: skip
