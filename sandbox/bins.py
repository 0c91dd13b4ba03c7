"""Numbers whose bin alone may be known: what of an expression reads them exactly, what does not.

A threshold that is walked question by question finds values exactly, and so does whatever else is
not linear, or has a constant that can be walked: ``least(greatest((x - 51234) * 100, 0), 1)`` is a
step, and the rounding of ``sum(x * 1.234)`` tells where its largest contribution passes a power of
ten. So a number with a ``bin`` (:meth:`sandbox.policy.Policy.bin_of`) is read as it is where the
statement has nothing to move: added up and averaged, by groups or by person, chosen among others of
its kind, and compared with a multiple of its bin. Everywhere else it is read as the middle of its
bin, a multiple of the bin as itself (:func:`sandbox.values.binned`), or the statement is refused.
Which it is follows from types: :attr:`sandbox.values.Type.bin` says that an expression has such
numbers, and :func:`sandbox.values.build` takes them for no operation that does not say that it may.
"""

from __future__ import annotations

from dataclasses import replace
from math import inf, lcm
from typing import TYPE_CHECKING, Any

from sandbox import values as v
from sandbox.constants import value_of
from sandbox.policy import MAX_MAGNITUDE
from sandbox.refusals import refusal
from sandbox.values import Expr, Kind, Type, binned, build

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from fractions import Fraction

    from sandbox.relations import Plan, Relation


def compared(sides: Sequence[Expr]) -> list[Expr]:
    """Return the sides of a comparison as it may read them.

    Raises:
        QueryRefused: A number with a bin is compared with a constant that is no multiple of it.
    """
    exact = [each for each in sides if each.type.bin]
    if len(exact) != 1 or exact[0].type.added or not all(map(_plain, sides)):
        return [binned(each) for each in sides]
    for each in sides:
        value = value_of(each)
        if value is not None:
            _check(exact[0].type, value)
    # 5000 as a real number is 5000, and compared with as a whole one.
    return [each.args[0] if each.op == "real" and not each.type.bin else each for each in sides]


def _plain(side: Expr) -> bool:
    return bool(side.type.bin) or side.op == "null" or value_of(side) is not None


def _check(of: Type, constant: Fraction) -> None:
    if not of.low <= constant <= of.high or constant % of.bin == 0:
        return
    below = constant // of.bin * of.bin
    near = [str(each) for each in (below, below + of.bin) if of.low <= each <= of.high]
    hint = f"Write {' or '.join(near)}, which are nearest." if near else ""
    raise refusal("Q-27", f"The bin is {of.bin}.", hint)


def chosen(
    op: str, values: Sequence[Expr], conditions: Sequence[Expr] = (), *, raw: bool | None = None
) -> Expr:
    """Return one of several values of a kind: CASE, COALESCE, GREATEST and LEAST.

    Numbers with a bin stay as they are among themselves and beside 0 and NULL. Any other constant
    could be moved.

    Args:
        op: The operation.
        values: What is chosen among, of one kind.
        conditions: Of CASE, one for each value but the last.
        raw: As :func:`sandbox.values.build` takes it.
    """
    values = _alike(values)
    made = build(op, _args(values, conditions), hull(values), raw=raw, exact=True)
    if made.type.added:
        known = [binned(each) for each in values]
        own = build(op, _args(known, conditions), hull(known), raw=raw)
        made = replace(made, known=own)
    return made


def _alike(values: Sequence[Expr]) -> Sequence[Expr]:
    bins = [each.type.bin for each in values if each.type.bin]
    plain = all(each.type.bin or each.op == "null" or _zero(each) for each in values)
    return values if plain and lcm(*bins) <= MAX_MAGNITUDE else [binned(each) for each in values]


def _zero(value: Expr) -> bool:
    return value_of(value) == 0


def _args(values: Sequence[Expr], conditions: Sequence[Expr]) -> tuple[Expr, ...]:
    pairs = (part for pair in zip(conditions, values, strict=False) for part in pair)
    return (*pairs, *values[len(conditions) :])


def hull(found: Sequence[Expr]) -> Type:
    """Return the type that covers expressions of one kind."""
    known = [each.type for each in found if each.type.kind is not Kind.NULL]
    if not known:
        return v.NULL
    first = known[0]
    low, high = min(each.low for each in known), max(each.high for each in known)
    tiny = min(each.tiny for each in known)
    bins = [each.bin for each in known if each.bin]
    own, added = lcm(*bins) if bins else 0, any(each.added for each in known)
    return Type(first.kind, first.scale, low, high, first.finest, tiny, own, added)


# --------------------------------------------------------------------------- of quantiles


def at_widths(value: Expr) -> Expr:
    """Return a value whose quantile is asked for, made of coarse numbers under a root or logarithm.

    These functions keep order, so that a quantile of one is the function of a quantile, and tells
    what that tells: the number is read at the middle of the width to which its own quantiles are
    rounded (:mod:`sandbox.widths`). No one width of results would do: of the logarithm of an income
    it would tell small ones to less than that, and large ones to a multiple of it.
    """
    if value.told.known or not value.type.number:
        return value
    if value.op in _MONOTONE:
        of = at_widths(value.args[0])
        if of is not value.args[0]:
            return build(value.op, (of,), value.type)
        whole = of.args[0] if of.op == "real" else of
        if whole.type.kind is not Kind.INT or whole.told.width == inf:
            return value
        step = max(1, round(whole.told.width * 10**whole.type.scale))
        return build(value.op, (v.real(v.read_at(whole, step)),), value.type)
    if value.op in _OVER:
        args = tuple(at_widths(each) if isinstance(each, Expr) else each for each in value.args)
        return value if args == value.args else build(value.op, args, value.type)
    return value


_MONOTONE = frozenset({"sqrt", "ln"})
_OVER = frozenset({
    "neg", "abs", "add", "sub", "mul", "div", "real", "coalesce", "greatest", "least", "case",
    "nullif", "round_real", "floor_real", "ceil_real", "within",
})  # fmt: skip
"""Of such functions, what is made of them here too."""


# --------------------------------------------------------------------------- what is said of it


def notes(plan: Plan) -> list[tuple[str, str]]:
    """Return what is to be said of numbers that a statement reads at their bin: message and hint.

    A function of statement and policy, like the plan.
    """
    read: dict[str, int] = {}
    for core in plan.cores:
        for relation, expr in _read(core.rows, range(len(core.rows.outputs))):
            if expr.op == "bin":
                width = expr.args[0].type.bin
                read |= {name: max(width, read.get(name, 0)) for name in _columns(relation, expr)}
    return [
        (
            f"{name} is computed with as the middle of its bin of {width}.",
            "Exact are multiples of its bin, sums of it alone, and comparisons with multiples.",
        )
        for name, width in sorted(read.items())
    ]


def _columns(relation: Relation, of: Expr) -> set[str]:
    """Return the columns with a bin that a value is made of, without conditions and ties."""
    found, seen, waiting = set[str](), set[tuple[int, int]](), [(relation, of)]
    while waiting:
        at, expr = waiting.pop()
        if (id(at), id(expr)) in seen:
            continue
        seen.add((id(at), id(expr)))
        if expr.op == "col":
            inner = at.sources[expr.args[0]].relation
            waiting.append((inner, inner.outputs[expr.args[1]].value))
        elif expr.op == "base":
            found |= expr.columns
        args = expr.args[: v.ties_of(expr)] if expr.op == "window" else expr.args
        waiting += [(at, each) for each in args if isinstance(each, Expr) and each.type.bin]
    return found


def _parts(of: Expr) -> Iterator[Expr]:
    """Yield the operations of an expression, itself first, but those that only break ties."""
    yield of
    for each in of.args[: v.ties_of(of)] if of.op == "window" else of.args:
        if isinstance(each, Expr):
            yield from _parts(each)


def _read(
    relation: Relation, places: Sequence[int], seen: dict[int, set[int]] | None = None
) -> Iterator[tuple[Relation, Expr]]:
    """Yield every operation that is carried out for these columns of a relation, and where."""
    seen = {} if seen is None else seen
    first = id(relation) not in seen
    own = seen.setdefault(id(relation), set())
    new = [place for place in places if place not in own]
    own |= set(new)
    exprs = [relation.outputs[place].value for place in new]
    if first:
        exprs += [*relation.where, *relation.having, *(relation.group or ())]
        exprs += [each for source in relation.sources for each in source.on]
        for source in relation.sources:
            yield from _read(source.relation, (), seen)
    for expr in exprs:
        for part in _parts(expr):
            yield relation, part
            if part.op == "col":
                yield from _read(relation.sources[part.args[0]].relation, [part.args[1]], seen)
            inner: list[Any] = [arg for arg in part.args if not isinstance(arg, Expr)]
            if part.op in {"in_entities", "in_public"}:
                for arg in inner:
                    yield from _read(arg, () if part.op == "in_entities" else [0], seen)
