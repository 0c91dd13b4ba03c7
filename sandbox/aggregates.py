"""Aggregates over rows: what is added up for each entity, and what is made of the sums.

Only what is a sum over entities is answered for a group (counts, sums, and statistics made of
them), and quantiles within the policy's range. Least, greatest and listed values are a single
person's, so they are refused there and answered within one entity (:func:`of_one`).
"""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from sqlglot import exp

from sandbox import values as v
from sandbox.bins import at_widths
from sandbox.names import ENTITY
from sandbox.policy import MAX_MAGNITUDE
from sandbox.refusals import refusal
from sandbox.relations import Measure, Statistic
from sandbox.values import Expr, Kind, Type, binned, build

if TYPE_CHECKING:
    from sandbox.policy import Policy
    from sandbox.scalars import Scalars

NODES: Final = (
    exp.AggFunc, exp.Filter, exp.WithinGroup, exp.Median, exp.PercentileCont, exp.PercentileDisc,
    exp.CountIf, exp.ApproxDistinct,
)  # fmt: skip
_ONE: Final = {
    "Stddev": "stddev_samp", "StddevSamp": "stddev_samp", "StddevPop": "stddev_pop",
    "Variance": "var_samp", "VariancePop": "var_pop",
}  # fmt: skip
_TWO: Final = {
    "Corr": "corr", "CovarSamp": "covar_samp", "CovarPop": "covar_pop",
    "RegrSlope": "regr_slope", "RegrIntercept": "regr_intercept", "RegrR2": "regr_r2",
}  # fmt: skip
_REAL_DECIMALS: Final = 6
_SQUARE_DECIMALS: Final = 4
MAX_BOUND: Final = 10**18
MAX_WIDE: Final = 10**28
"""The most that one entity counts: in 64 bits, and of products in 128."""


_DISTINCT: Final = "Group by the column in FROM (...), and count the groups that it has."
_DISTINCT_OF_ONE: Final = (
    "FROM (SELECT DISTINCT the key, the column FROM ...), then count(*) by key."
)


class Call(NamedTuple):
    """An aggregate without its wrapping."""

    node: exp.Expr
    condition: Expr | None
    ordered: exp.Expr | None


class Adds(Protocol):
    """Where values and measures are collected."""

    def value(self, of: Expr) -> int:
        """Return the position of a value among the columns of the rows."""
        ...

    def measure(self, of: Measure) -> int:
        """Return the position of a measure."""
        ...

    def rows_of_one(self) -> int:
        """Return the most rows of one entity that count."""
        ...


def unwrap(node: exp.Expr, scalars: Scalars) -> Call:
    """Take FILTER and WITHIN GROUP off an aggregate."""
    condition, ordered = None, None
    if isinstance(node, exp.Filter):
        condition = scalars.truth(node.expression.this)
        node = node.this
    if isinstance(node, exp.WithinGroup):
        items = node.expression.expressions
        if len(items) != 1 or items[0].args.get("desc"):
            raise refusal("Q-03", "WITHIN GROUP takes one column, ascending.")
        ordered, node = items[0].this, node.this
    return Call(node, condition, ordered)


def _given(value: Expr, condition: Expr | None) -> Expr:
    if condition is None:
        return value
    if value.op == "case" and value.args[-1] == v.NOTHING and len(value.args) == 3:
        condition = build("and", (condition, value.args[0]), v.BOOL, raw=False)
        value = value.args[1]
    own = build("case", (condition, value, v.NOTHING), value.type, raw=value.raw, exact=True)
    return own if value.known is None else replace(own, known=_given(value.known, condition))


def carried(value: Expr) -> frozenset[str]:
    """Return the columns that a value is made of, conditions of CASE left out."""
    parts = [each for each in value.args if isinstance(each, Expr)]
    if not parts:
        return value.columns
    if value.op == "case":
        parts = [*parts[1::2], parts[-1]] if len(parts) % 2 else parts[1::2]
    return frozenset().union(*(carried(each) for each in parts))


class Aggregates:
    """Turns aggregates over rows into statistics of cells."""

    def __init__(self, scalars: Scalars, adds: Adds, policy: Policy) -> None:
        """Stand on the expressions of rows."""
        self._scalars = scalars
        self._adds = adds
        self._policy = policy

    def statistic(self, node: exp.Expr) -> Statistic:
        """Return what an aggregate releases.

        Raises:
            QueryRefused: It is not answered for a group.
        """
        call = unwrap(node, self._scalars)
        name = type(call.node).__name__
        if name in {"Count", "CountIf", "ApproxDistinct", "RegrCount"}:
            return self._counted(call)
        if name in {"Sum", "Avg"}:
            return self._summed(call)
        if name in {"Median", "PercentileCont", "PercentileDisc"}:
            return self._quantile(call)
        if name in _ONE:
            return self._moments(_ONE[name], call, [call.node.this])
        if name in _TWO:
            return self._moments(_TWO[name], call, [call.node.this, call.node.expression])
        raise refusal("Q-10")

    def _measure(
        self, how: str, value: Expr | None, *, spread: bool = False, only_total: bool = False
    ) -> int:
        rows, bound = self._adds.rows_of_one(), 1
        if how == "sum" and value is not None:
            bound = max(1, int(value.type.most * 10**value.type.scale))
        place = None if value is None else self._adds.value(value)
        most = MAX_WIDE if value is not None and value.op == "wide" else MAX_BOUND
        signed = how == "sum" and value is not None and value.type.low < 0
        return self._adds.measure(
            Measure(how, place, min(bound * rows, most), spread, signed, only_total)
        )

    def _counted(self, call: Call) -> Statistic:
        node, of = call.node, call.node.this
        if isinstance(node, exp.Count) and node.expressions:
            raise refusal("Q-03", "count takes one column.")
        if of is None:
            raise refusal("Q-03", "count takes * or a column.", "Write count(*).")
        if isinstance(of, exp.Distinct) or isinstance(node, exp.ApproxDistinct):
            return self._entities(call)
        if isinstance(of, exp.Star):
            if call.condition is None:
                return Statistic("count", (self._measure("rows", None),))
            value = _given(v.integer(1), call.condition)
        elif isinstance(node, exp.CountIf):
            value = _given(v.integer(1), self._scalars.truth(of))
            value = _given(value, call.condition)
        elif isinstance(node, exp.RegrCount):
            left, right = self._scalars.measure(of), self._scalars.measure(node.expression)
            both = [build("not", (build("isnull", (e,), v.BOOL),), v.BOOL) for e in (left, right)]
            value = _given(_given(v.integer(1), build("and", tuple(both), v.BOOL)), call.condition)
        else:
            found = self._scalars.any(of)
            present = build("not", (build("isnull", (found,), v.BOOL),), v.BOOL, raw=False)
            value = _given(_given(v.integer(1), present), call.condition)
        return Statistic("count", (self._measure("count", value),))

    def _entities(self, call: Call) -> Statistic:
        of = call.node.this
        if isinstance(of, exp.Distinct):
            if len(of.expressions) != 1:
                raise refusal("Q-10", "DISTINCT counts entities.")
            of = of.expressions[0]
        found = self._scalars.any(of)
        if found.text == ENTITY and call.condition is None:
            return Statistic("entities", (self._measure("rows", None),))
        if found.text.split("?")[0] != ENTITY:
            raise refusal("Q-10", "DISTINCT counts entities.", _DISTINCT)
        present = build("not", (build("isnull", (found,), v.BOOL),), v.BOOL, raw=False)
        value = _given(_given(v.integer(1), present), call.condition)
        return Statistic("entities", (self._measure("count", value),))

    def _numeric(self, node: exp.Expr | None) -> Expr:
        return _whole(self._scalars.measure(node))

    def _summed(self, call: Call) -> Statistic:
        if isinstance(call.node.this, exp.Distinct):
            raise refusal("Q-10", "Distinct values are single values.")
        value = self._numeric(call.node.this)
        family = ",".join(sorted(carried(value)))
        value = _given(value, call.condition)
        total = self._measure("sum", value)
        if isinstance(call.node, exp.Sum):
            return Statistic("sum", (total,), (value.type.scale,), family=family)
        count = self._measure("count", value)
        return Statistic("mean", (count, total), (0, value.type.scale), family=family)

    def _moments(self, kind: str, call: Call, nodes: list[exp.Expr]) -> Statistic:
        # Rows of known values, multiples of the bin, move a sum of squares by steps that are finer
        # than a bin is in it: of values as they are, one would be told exactly.
        found = [binned(self._scalars.measure(each)) for each in nodes]
        found = [self._coarse(_whole(each)) for each in found]
        family = ",".join(sorted(frozenset().union(*(carried(each) for each in found))))
        if len(found) == 2:
            present = [build("not", (build("isnull", (e,), v.BOOL),), v.BOOL) for e in found]
            found = [_given(found[0], present[1]), _given(found[1], present[0])]
        found = [_given(each, call.condition) for each in found]
        counted, found = found[0], [self._within(each) for each in found]
        products = [(found[0], found[0])]
        if len(found) == 2:
            products += [(found[1], found[1]), (found[0], found[1])]
        measures = [self._measure("count", counted)]
        # What may be shown is decided by who is counted; these are sums over the same rows.
        measures += [self._measure("sum", each, spread=True, only_total=True) for each in found]
        scales = [0, *(each.type.scale for each in found)]
        for one, other in products:
            product = self._product(one, other)
            measures.append(self._measure("sum", product, only_total=True))
            scales.append(product.type.scale)
        return Statistic(kind, tuple(measures), tuple(scales), family=family)

    def _within(self, value: Expr) -> Expr:
        """Return a number whose n farthest contributors are read as the one that follows.

        Else whoever gives one person a weight of her own sees from a variance, which one value far
        away decides, that she is there.
        """
        top = self._policy.release.dominance
        if top is None or self._policy.mode == "dp":
            return value
        return build("within", (value, top.n), value.type, exact=True)

    def _coarse(self, value: Expr) -> Expr:
        """Return a number with few enough decimals for its square."""
        if value.type.scale <= _SQUARE_DECIMALS:
            return value
        kind = Type(Kind.INT, _SQUARE_DECIMALS, value.type.low - 1, value.type.high + 1)
        factor = 10 ** (value.type.scale - _SQUARE_DECIMALS)
        return build("round_int", (value, factor), kind, exact=True)

    def _product(self, one: Expr, other: Expr) -> Expr:
        most = one.type.most * other.type.most
        low = 0.0 if one is other else -most
        scale = one.type.scale + other.type.scale
        if most * 10**scale >= v.MAX_INTEGER:
            kind = Type(Kind.INT, scale, low, most)
            return Expr(
                "wide",
                (one, other),
                kind,
                f"mul({one.text},{other.text})",
                raw=True,
                columns=one.columns | other.columns,
                sensitive=one.sensitive | other.sensitive,
            )
        return build("mul", (one, other), Type(Kind.INT, scale, low, most), exact=True)

    def _bin(self, value: Expr) -> int:
        """Return what a quantile is rounded to, as a scaled whole number (:mod:`sandbox.widths`).

        Raises:
            QueryRefused: It is a product or quotient of numbers without a bin.
        """
        if value.type.bin and not value.type.added:
            return int(value.type.bin * 10**value.type.scale)
        if value.told.width == inf:
            raise refusal(
                "Q-10",
                "A quantile of this product, quotient, root or logarithm has no width: ask for "
                "that of each column, or have the owner state its bin, with conditions: bin.",
            )
        return max(1, round(value.told.width * 10.0**value.type.scale))

    def _quantile(self, call: Call) -> Statistic:
        fraction = 0.5
        of = call.node.this
        if not isinstance(call.node, exp.Median):
            given = self._scalars.data(call.node.expression if call.ordered is None else of)
            if given.op != "int":
                raise refusal("Q-10", "A quantile is written out, as 0.9.")
            fraction = given.args[0] / 10**given.type.scale
        of = of if call.ordered is None else call.ordered
        rules = self._policy.release.quantiles
        low, high = rules.low_percent, rules.high_percent
        if not low <= 100 * fraction <= high:
            raise refusal("Q-10", f"Quantiles from {low} % to {high} % are answered.")
        value, step, floor = self._scalars.measure(of), 0, 0
        if rules.rounding == "bin":
            # Values of one bin are one value, so that a quantile tells no more than its bin.
            value = at_widths(binned(value) if value.type.added else value)
            step = self._bin(_whole(value))
            floor = step if value.type.bin else 0
        value = _given(_whole(value), call.condition)
        return Statistic(
            "quantile",
            (self._measure("count", value),),
            (value.type.scale,),
            round(fraction * 10_000),
            step,
            floor,
            exact=isinstance(call.node, exp.PercentileDisc),
            family=",".join(sorted(carried(value))),
        )


def _whole(value: Expr) -> Expr:
    """Return a number as a whole one: those add up to the same in any order."""
    if value.type.kind is not Kind.REAL:
        return value
    # A real number is added up of others, so that its bin says nothing here.
    of = value.type
    kind = Type(Kind.INT, _REAL_DECIMALS, of.low, of.high, bin=of.bin, added=of.added)
    made = build("round_real", (value, 10**_REAL_DECIMALS), kind, exact=True)
    return made if value.known is None else replace(made, known=_whole(value.known))


def of_one(node: exp.Expr, scalars: Scalars, where: str, rows: int) -> Expr:
    """Return what an aggregate over the rows of one entity is: a value like any other.

    Args:
        node: The aggregate.
        scalars: Of the rows.
        where: Which rows, one spelling for each meaning.
        rows: The most rows of one entity that count.

    Raises:
        QueryRefused: It is not answered.
    """
    call = unwrap(node, scalars)
    name, of = type(call.node).__name__, call.node.this
    if name == "Count" and isinstance(of, exp.Star):
        return _agg("rows", v.integer(1), call.condition, where, Type(Kind.INT, 0, 0, rows))
    if name == "CountIf":
        of, name = exp.Case(ifs=[exp.If(this=of, true=exp.Literal.number(1))]), "Count"
    if isinstance(of, exp.Distinct):
        raise refusal("Q-03", "Within one entity nothing is DISTINCT.", _DISTINCT_OF_ONE)
    if name not in {"Count", "Sum", "Avg", "Min", "Max"}:
        raise refusal("Q-03", "Within one entity: count, sum, avg, min, max.")
    if name == "Count":
        counted = Type(Kind.INT, 0, 0, rows)
        return _agg("count", scalars.any(of), call.condition, where, counted)
    value = scalars.data(of)
    if name in {"Sum", "Avg"}:
        value = _whole(scalars.measure(of))
    name = name.lower()
    made = _agg(name, value, call.condition, where, _type_of(name, value.type, rows))
    if not made.type.added:
        return made
    known = binned(value)
    own = _agg(name, known, call.condition, where, _type_of(name, known.type, rows))
    return replace(made, known=own)


def _type_of(name: str, of: Type, rows: int) -> Type:
    """Return the type of a sum, an average, a least or greatest value of so many rows."""
    added = of.bin > 0
    if name == "avg":
        return Type(Kind.REAL, 0, of.low, of.high, tiny=-of.scale - 7, bin=of.bin, added=added)
    if name == "sum":
        most = float(MAX_MAGNITUDE)
        low, high = max(of.low * rows, -most), min(of.high * rows, most)
        return Type(Kind.INT, of.scale, min(low, 0.0), max(high, 0.0), bin=of.bin, added=added)
    return of


def _agg(name: str, of: Expr, condition: Expr | None, where: str, kind: Type) -> Expr:
    raw = of.raw and name != "count"
    made = build("agg", (name, _given(of, condition)), kind, raw=raw, exact=True)
    return Expr(made.op, made.args, made.type, f"{made.text} over [{where}]", made.raw,
                made.columns, made.sensitive, told=made.told)  # fmt: skip
