"""Typed scalar expressions: what a plan computes for a row, independent of any dialect.

Numbers of a row are whole numbers with a decimal scale and an interval that they can't leave
(columns are clamped to their bounds when they are read), so that every operation is known to be
total before it runs: no overflow, no rounding that depends on an order of adding up. Division
gives a ``REAL`` with an interval of its own. An expression also carries its *text*, one spelling
for each meaning, in which columns are named by table: it is what normalised predicates, families
of measures and noise are keyed by.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import floor, inf
from typing import TYPE_CHECKING, Any, Final

from sandbox.policy import MAX_MAGNITUDE
from sandbox.refusals import refusal
from sandbox.widths import ALONE, UNKNOWN, Told, told

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MAX_SCALE: Final = 9
MIN_POWER: Final = -250.0
MAX_SPELLING: Final = 50_000
"""Characters of an expression's text. A column that is used twice in each of many nested selects
has a text that doubles with each; a statement itself has 8,000 characters."""
_WINDOW_PARTS: Final = 6
"""Arguments of a window before its partition, order and ties."""

MAX_INTEGER: Final = 2**62
"""Scaled numbers stay below this, so that 64 bits hold them and one addition more."""


class Kind(StrEnum):
    """What a value is."""

    BOOL = "truth value"
    INT = "number"
    REAL = "real number"
    TEXT = "text"
    DATE = "day"
    KEY = "key"
    NULL = "null"


@dataclass(frozen=True, slots=True)
class Type:
    """Kind of a value, and the interval a number lies in.

    Attributes:
        kind: What it is.
        scale: Decimals of an ``INT``, which is kept as a whole number of 10^-scale.
        low: Least value, in units; of a day, in years.
        high: Greatest value, in units; of a day, in years.
        finest: Of a day: the unit below which the policy groups no days.
        tiny: Of a real number: power of ten below which it is 0, so that nothing underflows.
        bin: Of a number that is as the data has it: what conditions may know of it, in units, by
            the policy; 0 where they may know it as it is (:mod:`sandbox.bins`).
        added: Whether such a number is made of several values, so that its own multiples of
            ``bin`` are no bound on what it tells of one.
    """

    kind: Kind
    scale: int = 0
    low: float = -inf
    high: float = inf
    finest: str = "day"
    tiny: float = 0.0
    bin: int = 0
    added: bool = False

    @property
    def number(self) -> bool:
        """Whether it can be computed with."""
        return self.kind in {Kind.INT, Kind.REAL}

    @property
    def most(self) -> float:
        """The greatest magnitude."""
        return max(abs(self.low), abs(self.high))


BOOL: Final = Type(Kind.BOOL)
TEXT: Final = Type(Kind.TEXT)
DATE: Final = Type(Kind.DATE, 0, 1000, 9000)
"""Days of a public table, which are cut off at these years."""
KEY: Final = Type(Kind.KEY)
NULL: Final = Type(Kind.NULL)


@dataclass(frozen=True, slots=True)
class Expr:
    """One operation on expressions and constants.

    Attributes:
        op: Name of the operation; the dialects have a text for each.
        args: Expressions, constants (str, int, bool, None) and, for a semi-join, a relation.
        type: Of the result.
        text: One spelling for each meaning.
        raw: Whether it may tell single values of a number or a day apart.
        columns: ``table.column`` of what the value is made of (conditions included).
        sensitive: Those of them that the policy calls sensitive.
        known: Of what is ``added``: the same made of what may be known of each value.
        told: To what its quantiles are rounded.
    """

    op: str
    args: tuple[Any, ...]
    type: Type
    text: str
    raw: bool = False
    columns: frozenset[str] = field(default=frozenset())
    sensitive: frozenset[str] = field(default=frozenset())
    known: Expr | None = None
    told: Told = UNKNOWN

    def __post_init__(self) -> None:
        """Check the length of its text.

        Raises:
            QueryRefused: It is too long.
        """
        if len(self.text) > MAX_SPELLING:
            raise refusal("Q-02")

    @property
    def constant(self) -> bool:
        """Whether it is a literal."""
        return self.op in {"int", "text", "date", "bool", "null"}

    def parts(self) -> Iterator[Expr]:
        """Yield the expressions it is made of, itself first."""
        yield self
        for each in self.args:
            if isinstance(each, Expr):
                yield from each.parts()


_HARMLESS: Final = {"isnull", "scale", "real"}
"""What is the same for all values of a number, or another way to write it."""

_COMMUTATIVE: Final = {"and", "or", "eq", "ne", "add", "mul", "least", "greatest", "same"}


def build(
    op: str,
    args: tuple[Any, ...],
    kind: Type,
    *,
    raw: bool | None = None,
    exact: bool = False,
) -> Expr:
    """Return an operation, with what follows from its arguments.

    Args:
        op: Its name.
        args: What it is applied to.
        kind: Of the result.
        raw: Whether it may tell single values apart; by default if an argument does.
        exact: Whether it may have numbers as the data has them, where conditions may know their
            bin alone (:mod:`sandbox.bins`).

    Raises:
        QueryRefused: It has such a number and may not.
    """
    exprs = [each for each in args if isinstance(each, Expr)]
    if not exact and op not in _HARMLESS and any(each.type.bin for each in exprs):
        raise refusal("Q-27")
    texts = [each.text if isinstance(each, Expr) else repr(each) for each in args]
    if op in _COMMUTATIVE:
        texts = sorted(texts)
        if op in {"and", "or"}:
            texts = list(dict.fromkeys(texts))
    numbers = [each for each in exprs if each.type.number]
    return Expr(
        op,
        args,
        bounded(kind),
        f"{op}({','.join(texts)})",
        any(each.raw for each in exprs) if raw is None else raw,
        frozenset().union(*(each.columns for each in exprs)),
        frozenset().union(*(each.sensitive for each in exprs)),
        told=told(op, args, numbers, kind) if kind.number else UNKNOWN,
    )


def bounded(kind: Type) -> Type:
    """Return a type whose numbers are small enough to be computed exactly.

    Raises:
        QueryRefused: They are not.
    """
    if kind.most == inf:
        return kind  # of a released value
    if kind.kind is Kind.INT and (
        kind.scale > MAX_SCALE
        or kind.most > MAX_MAGNITUDE * 1000
        or kind.most * 10**kind.scale >= MAX_INTEGER
    ):
        raise refusal("Q-14")
    if kind.kind is Kind.REAL and kind.tiny < MIN_POWER:
        raise refusal("Q-14")
    return kind


def small(value: Expr) -> Expr:
    """Return an expression of a row if its magnitude is that of a measurement.

    Raises:
        QueryRefused: It is not.
    """
    if value.type.number and value.type.most > MAX_MAGNITUDE:
        raise refusal("Q-14")
    return value


def integer(value: int, scale: int = 0) -> Expr:
    """Return a whole number of 10^-scale."""
    while scale and value % 10 == 0:
        value, scale = value // 10, scale - 1
    units = value / 10**scale
    kind = bounded(Type(Kind.INT, scale, units, units))
    return Expr("int", (value,), kind, f"{value}e-{scale}", told=ALONE)


def text(value: str) -> Expr:
    """Return a text."""
    return Expr("text", (value,), TEXT, repr(value))


def day(value: str) -> Expr:
    """Return a day, written YYYY-MM-DD."""
    year = int(value[:4])
    return Expr("date", (value,), Type(Kind.DATE, 0, year, year), f"date {value}")


def truth(value: bool) -> Expr:  # noqa: FBT001 - the value itself
    """Return true or false."""
    return Expr("bool", (value,), BOOL, str(value).lower())


NOTHING: Final = Expr("null", (), NULL, "null")


def column(source: int, position: int, of: Expr) -> Expr:
    """Return what stands in a column of a source: it means what the column's expression does.

    What may be known of what was added up stands in another column (:class:`sandbox.names.Names`).
    """
    return replace(of, op="col", args=(source, position), known=None)


def scaled(value: Expr, scale: int) -> Expr:
    """Return a whole number at a scale that is at least its own."""
    if value.type.scale == scale:
        return value
    factor = 10 ** (scale - value.type.scale)
    if value.op == "int":
        return replace(value, args=(value.args[0] * factor,), type=replace(value.type, scale=scale))
    made = build("scale", (value, factor), replace(value.type, scale=scale))
    known = None if value.known is None else scaled(value.known, scale)
    return replace(made, text=value.text, known=known)


def real(value: Expr) -> Expr:
    """Return a number as a real one."""
    if value.type.kind is Kind.REAL:
        return value
    of = value.type
    kind = Type(Kind.REAL, 0, of.low, of.high, tiny=-of.scale, bin=of.bin, added=of.bin > 0)
    made = build("real", (value, of.scale), kind)
    known = real(binned(value)) if of.bin else None
    return replace(made, text=value.text, known=known)


def binned(value: Expr) -> Expr:
    """Return what may be known of a value wherever more than sums of it are made.

    A multiple of its bin is read as itself, which comparisons tell anyway: amounts are often 0 or
    round. The others are read as the middle of their bin. These are whole numbers of decimals,
    exactly, so that every engine has the same, and a greater value is read as no smaller one. What
    was added up is added up of those.

    Raises:
        QueryRefused: It was added up of what is not known here.
    """
    if not value.type.bin:
        return value
    if value.known is not None:
        return value.known
    if value.type.added or value.type.kind is not Kind.INT:
        raise refusal("Q-27")
    return read_at(value, value.type.bin * 10**value.type.scale)


def read_at(value: Expr, step: int) -> Expr:
    """Return a whole number, of decimals, read as the middle of its bin, a multiple as itself.

    Args:
        value: The number.
        step: The bin, in units of its last decimal.
    """
    half, scale = step // 2, value.type.scale
    low, high = (_middle(each, step, half, scale) for each in (value.type.low, value.type.high))
    return build("bin", (value, step, half), Type(Kind.INT, scale, low, high), exact=True)


def _middle(bound: float, step: int, half: int, scale: int) -> float:
    """Return what a bound of a number is read as."""
    width = step / 10**scale
    return bound if bound % width == 0 else floor(bound / width) * width + half / 10**scale


def ties_of(window: Expr) -> int:
    """Return the place of the first argument of a window that only breaks ties."""
    others, items = window.args[3], window.args[4]
    return _WINDOW_PARTS + int(others) + int(items)


def replaced(of: Expr, args: tuple[Any, ...]) -> Expr:
    """Return an operation on other arguments that mean the same."""
    return replace(of, args=args)


def split(conditions: Iterable[Expr]) -> Iterator[Expr]:
    """Yield conditions that all hold, one by one."""
    for each in conditions:
        if each.op == "and":
            yield from split(each.args)
        else:
            yield each
