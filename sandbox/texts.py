"""Functions of texts, each total: lengths and positions are written out and small."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlglot import exp

from sandbox import values as v
from sandbox.refusals import refusal
from sandbox.values import Expr, Kind, Type, build

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sandbox.scalars import Scalars

MAX_PATTERN: Final = 100
MAX_WILDCARDS: Final = 8
"""Matching takes time that grows with the wildcards of a pattern."""
MAX_LENGTH: Final = 10_000


def spelt(of: Expr) -> Expr | None:
    """Return a value as text, if that shows no single value: of texts, groups, truth values."""
    if of.type.kind is Kind.TEXT:
        return of
    whole = of.type.kind is Kind.INT and of.type.scale == 0
    if (whole or of.type.kind is Kind.BOOL) and not of.raw:
        return build("spelt", (of,), v.TEXT)
    return None


def _written(scalars: Scalars, node: exp.Expr | None, least: int) -> int:
    given = scalars.number(node)
    if given.op != "int" or given.type.scale or not least <= given.args[0] <= MAX_LENGTH:
        raise refusal("Q-05", f"A length or position is written out, {least} to {MAX_LENGTH}.")
    found: int = given.args[0]
    return found


def _one(op: str) -> Callable[[Scalars, Any], Expr]:
    def method(scalars: Scalars, node: exp.Expr) -> Expr:
        return build(op, (scalars.text(node.this),), v.TEXT)

    return method


def _length(scalars: Scalars, node: exp.Expr) -> Expr:
    return build("length", (scalars.text(node.this),), Type(Kind.INT, 0, 0, MAX_LENGTH))


def _end(scalars: Scalars, node: exp.Expr) -> Expr:
    op = "left" if isinstance(node, exp.Left) else "right"
    count = _written(scalars, node.expression, 0)
    return build(op, (scalars.text(node.this), count), v.TEXT)


def _substring(scalars: Scalars, node: exp.Expr) -> Expr:
    start = _written(scalars, node.args.get("start"), 1)
    length = node.args.get("length")
    count = MAX_LENGTH if length is None else _written(scalars, length, 0)
    return build("substring", (scalars.text(node.this), start, count), v.TEXT)


def _joined(scalars: Scalars, node: exp.Expr) -> Expr:
    if isinstance(node, exp.DPipe):
        return build("join", (_word(scalars, node.this), _word(scalars, node.expression)), v.TEXT)
    return build("concat", tuple(_word(scalars, each) for each in node.expressions), v.TEXT)


def _word(scalars: Scalars, node: exp.Expr) -> Expr:
    found = scalars.data(node)
    made = found if found.type.kind is Kind.NULL else spelt(found)
    if made is None:
        raise refusal("Q-05", "Texts are put together, and whole numbers that are no measures.")
    return made


def _like(scalars: Scalars, node: exp.Expr) -> Expr:
    of, pattern = scalars.text(node.this), scalars.text(node.expression)
    if pattern.op != "text":
        raise refusal("Q-03", "A pattern is written out.")
    written = str(pattern.args[0])
    if (
        len(written) > MAX_PATTERN
        or sum(map(written.count, "%_")) > MAX_WILDCARDS
        or "\\" in written
    ):
        raise refusal("Q-02", f"A pattern has at most {MAX_WILDCARDS} wildcards, no backslash.")
    op = "ilike" if isinstance(node, exp.ILike) else "like"
    return build(op, (of, pattern), v.BOOL, raw=False)


def _holds(scalars: Scalars, node: exp.Expr) -> Expr:
    op = "starts" if isinstance(node, exp.StartsWith) else "contains"
    part = scalars.text(node.expression)
    if part.op != "text":
        raise refusal("Q-03", "The part that is looked for is written out.")
    return build(op, (scalars.text(node.this), part), v.BOOL, raw=False)


METHODS: Final[Mapping[str, Callable[[Scalars, Any], Expr]]] = {
    "Upper": _one("upper"), "Lower": _one("lower"), "Trim": _one("trim"),
    "Length": _length, "Left": _end, "Right": _end, "Substring": _substring,
    "DPipe": _joined, "Concat": _joined, "Like": _like, "ILike": _like,
    "StartsWith": _holds, "Contains": _holds,
}  # fmt: skip
