"""From syntax to typed expressions: conditions, arithmetic, CASE; the same for rows and results.

What an expression may stand on (columns, aggregates, windows, subqueries) is decided by the scope
that asks. Each construct has one method in ``_METHODS``; what has none is refused.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from math import inf, log10
from typing import TYPE_CHECKING, Any, Final, Protocol

from sqlglot import exp

from sandbox import bins, constants, days, texts
from sandbox import values as v
from sandbox.dialects import MAX_CHARACTERS
from sandbox.places import placed
from sandbox.refusals import refusal
from sandbox.values import Expr, Kind, Type, binned, build

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

MAX_ITEMS: Final = 1000
_COMPARE: Final = {
    "EQ": "eq", "NEQ": "ne", "GT": "gt", "GTE": "ge", "LT": "lt", "LTE": "le",
    "NullSafeEQ": "same", "NullSafeNEQ": "other",
}  # fmt: skip
_WHOLE: Final = {"TINYINT": 2**7, "SMALLINT": 2**15, "INT": 2**31, "BIGINT": 2**63}
"""Whole types, and the magnitude from which on a cast to them would fail."""
_LOGS: Final = {"10": "log10", "2": "log2"}
_REALS: Final = {"DOUBLE", "FLOAT"}
_COUNTED: Final = "count_if(condition) counts where it holds; CAST(condition AS INTEGER) is 1 or 0."
MIN_PLACES: Final = -9
"""Of a rounded result: to multiples of 10^9 at the most."""


class Scope(Protocol):
    """What expressions stand on."""

    released: bool

    def column(self, table: str, name: str) -> Expr:
        """Return a column; ``table`` may be empty."""
        ...

    def special(self, node: exp.Expr) -> Expr | None:
        """Return what an aggregate, a window or a subquery means here; None if it is neither."""
        ...


class Scalars:
    """Turns nodes into expressions within one scope."""

    def __init__(self, scope: Scope) -> None:
        """Stand on a scope."""
        self.scope = scope

    def any(self, node: exp.Expr | None) -> Expr:
        """Return the expression of a node, keys included.

        Raises:
            QueryRefused: It is not answered, or there is none: ``count()``.
        """
        if node is None:
            raise refusal("Q-03", "An argument is missing.")
        with placed(node):
            special = self.scope.special(node)
            if special is not None:
                return special
            name = type(node).__name__
            if name in _FUNCTIONS:
                made = _FUNCTIONS[name](self, node)
            elif name in _METHODS:
                made = getattr(self, _METHODS[name])(node)
            else:
                raise refusal("Q-03", f"It is of the kind {name}.")
            return made if self.scope.released else v.small(made)

    def data(self, node: exp.Expr | Expr | None) -> Expr:
        """Return the expression of a node, or an expression that was made of one, if no key."""
        made = node if isinstance(node, Expr) else self.any(node)
        if made.type.kind is Kind.KEY:
            raise refusal("Q-07")
        return made

    def truth(self, node: exp.Expr | None) -> Expr:
        """Return the expression of a condition."""
        return self._of(node, {Kind.BOOL}, "A condition is wanted.")

    def number(self, node: exp.Expr | Expr | None) -> Expr:
        """Return the expression of a number to compute with; of a result's, as a real one."""
        made = binned(self.measure(node))
        return v.real(made) if self.scope.released and not made.constant else made

    def measure(self, node: exp.Expr | Expr | None) -> Expr:
        """Return the expression of a number as it is, to be added up (:mod:`sandbox.bins`)."""
        return self._of(node, {Kind.INT, Kind.REAL}, "A number is wanted.")

    def text(self, node: exp.Expr | None) -> Expr:
        """Return the expression of a text."""
        return self._of(node, {Kind.TEXT}, "A text is wanted.")

    def day(self, node: exp.Expr | Expr | None) -> Expr:
        """Return the expression of a day; a text that is written as one is read as one."""
        made = self.data(node)
        if made.op == "text":
            return _day_of(str(made.args[0]))
        if made.type.kind is not Kind.DATE:
            raise refusal("Q-05", "A day is wanted.")
        return made

    def _of(self, node: exp.Expr | Expr | None, kinds: set[Kind], wanted: str) -> Expr:
        made = self.data(node)
        if made.type.kind not in kinds:
            truth = made.type.kind is Kind.BOOL and Kind.INT in kinds
            raise refusal("Q-05", wanted, _COUNTED if truth else "")
        return made

    # --------------------------------------------------------------------------- leaves

    def _column(self, node: exp.Expr) -> Expr:
        table = node.args.get("table")
        name = node.this
        if not isinstance(name, exp.Identifier):
            raise refusal("Q-06")
        return self.scope.column(str(table.this) if table else "", str(name.this))

    def _literal(self, node: exp.Expr) -> Expr:
        if node.args.get("is_string"):
            if len(str(node.this)) > MAX_CHARACTERS:
                raise refusal("Q-02", f"A text has at most {MAX_CHARACTERS} characters.")
            return v.text(str(node.this))
        digits, _, decimals = str(node.this).partition(".")
        decimals = decimals.rstrip("0")
        whole = digits + decimals
        if not whole.isascii() or not whole.isdigit() or len(whole) > 18:
            raise refusal("Q-14", "A number is written plainly, with at most 18 digits.")
        return v.integer(int(whole), len(decimals))

    def _boolean(self, node: exp.Expr) -> Expr:
        return v.truth(bool(node.this))

    def _null(self, _node: exp.Expr) -> Expr:
        return v.NOTHING

    def _paren(self, node: exp.Expr) -> Expr:
        return self.any(node.this)

    # ----------------------------------------------------------------------- conditions

    def _and_or(self, node: exp.Expr) -> Expr:
        op = "and" if isinstance(node, exp.And) else "or"
        parts = (self.truth(node.this), self.truth(node.expression))
        flat = [each for part in parts for each in (part.args if part.op == op else (part,))]
        return build(op, tuple(flat), v.BOOL, raw=False)

    def _not(self, node: exp.Expr) -> Expr:
        return build("not", (self.truth(node.this),), v.BOOL, raw=False)

    def _compare(self, node: exp.Expr) -> Expr:
        left, right = self.compared([node.this, node.expression])
        op = _COMPARE[type(node).__name__]
        if op in {"gt", "ge"}:
            # One spelling: b < a for a > b.
            left, right, op = right, left, "lt" if op == "gt" else "le"
        return build(op, (left, right), v.BOOL, raw=False, exact=True)

    def _between(self, node: exp.Expr) -> Expr:
        sides = self.compared([node.this, node.args["low"], node.args["high"]])
        return build("between", tuple(sides), v.BOOL, raw=False, exact=True)

    def _is(self, node: exp.Expr) -> Expr:
        if isinstance(node.expression, exp.Null):
            return build("isnull", (self.any(node.this),), v.BOOL, raw=False)
        if isinstance(node.expression, exp.Boolean):
            wanted = v.truth(bool(node.expression.this))
            return build("same", (self.truth(node.this), wanted), v.BOOL, raw=False)
        raise refusal("Q-03", "IS is followed by NULL, TRUE or FALSE.")

    def _in(self, node: exp.Expr) -> Expr:
        items = node.expressions
        if node.args.get("query") is not None or not items or len(items) > MAX_ITEMS:
            raise refusal("Q-12")
        value, *others = self.compared([node.this, *items])
        if not all(
            each.constant or (each.op == "real" and each.args[0].constant) for each in others
        ):
            raise refusal("Q-03", "IN takes a list of constants.")
        others.sort(key=lambda each: each.text)
        return build("in", (value, *others), v.BOOL, raw=False, exact=True)

    # ----------------------------------------------------------------------- arithmetic

    def _add(self, node: exp.Expr) -> Expr:
        if days.is_shift(node):
            return days.shift(self, node)
        op = "add" if isinstance(node, exp.Add) else "sub"
        left, right = self.any(node.this), self.any(node.expression)
        if op == "sub" and left.type.kind is right.type.kind is Kind.DATE:
            return days.between("day", right, left)
        # Of what was made: a node that is looked at twice makes a chain of them exponential.
        left, right = self.number(left), self.number(right)
        made = constants.combined(op, left, right)
        if made is not None:
            return made
        left, right = self.alike([left, right])
        low, high = right.type.low, right.type.high
        if op == "sub":
            low, high = -high, -low
        # Reals that nearly cancel leave a last bit.
        tiny = min(left.type.tiny, right.type.tiny) - 17
        kind = Type(
            left.type.kind, left.type.scale, left.type.low + low, left.type.high + high, tiny=tiny
        )
        return build(op, (left, right), kind)

    def _mul(self, node: exp.Expr) -> Expr:
        left, right = self.number(node.this), self.number(node.expression)
        if Kind.REAL in {left.type.kind, right.type.kind}:
            left, right = v.real(left), v.real(right)
        return _times(left, right)

    def _div(self, node: exp.Expr) -> Expr:
        left, right = self.number(node.this), self.number(node.expression)
        made = constants.combined("div", left, right)
        if made is not None:
            return made
        # The least that a divisor can be, other than 0, bounds the quotient.
        if right.type.low > 0 or right.type.high < 0:
            least = min(abs(right.type.low), abs(right.type.high))
        elif right.type.kind is Kind.INT:
            least = 10.0**-right.type.scale
        elif self.scope.released:
            least = 0.0
        else:
            raise refusal("Q-14", "The divisor may be as near to 0 as it likes.")
        most = left.type.most / least if least else float("inf")
        low = 0.0 if left.type.low >= 0 and right.type.low >= 0 else -most
        left, right = v.real(left), v.real(right)
        tiny = left.type.tiny - log10(min(max(right.type.most, 1.0), 1e300))
        return build("div", (left, right), Type(Kind.REAL, 0, low, most, tiny=tiny))

    def _whole_division(self, node: exp.Expr) -> Expr:
        left, right = self.number(node.this), self.number(node.expression)
        if right.op != "int" or right.type.scale or right.args[0] <= 0:
            # A divisor that is 0 for one person would tell of that person.
            raise refusal("Q-05", "// and % take a whole number above 0 that is written out.")
        if self.scope.released:
            left = v.real(left)
        elif left.type.kind is not Kind.INT or left.type.scale:
            raise refusal("Q-05", "// and % take whole numbers.")
        by, op = right.args[0], "mod" if isinstance(node, exp.Mod) else "idiv"
        # Below 0, engines differ from what these operations are.
        made = constants.combined(op, left, right) if left.type.low >= 0 else None
        if made is not None:
            return made
        if op == "mod":
            kind = Type(left.type.kind, 0, -(by - 1) if left.type.low < 0 else 0, by - 1)
            return build("mod", (left, by), kind)
        kind = Type(left.type.kind, 0, left.type.low / by - 1, left.type.high / by + 1)
        return build("idiv", (left, by), kind)

    def _pow(self, node: exp.Expr) -> Expr:
        power = self.number(node.expression)
        base = self.number(node.this)
        if power.op != "int" or power.type.scale or not 1 <= power.args[0] <= 4:
            raise refusal("Q-14", "Powers are 1 to 4, written out.")
        made = base
        for _ in range(power.args[0] - 1):
            made = _times(made, base)
        return made

    def _neg(self, node: exp.Expr) -> Expr:
        of = self.number(node.this)
        if of.op == "int":
            return v.integer(-of.args[0], of.type.scale)
        kind = replace(of.type, low=-of.type.high, high=-of.type.low)
        return build("neg", (of,), kind)

    def _abs(self, node: exp.Expr) -> Expr:
        of = self.number(node.this)
        if of.op == "int":
            return v.integer(abs(of.args[0]), of.type.scale)
        return build("abs", (of,), replace(of.type, low=0, high=of.type.most))

    def _sign(self, node: exp.Expr) -> Expr:
        return build("sign", (self.number(node.this),), Type(Kind.INT, 0, -1, 1), raw=False)

    def _rounded(self, node: exp.Expr) -> Expr:
        of, places = self.measure(node.this), 0
        decimals = node.args.get("decimals")
        if decimals is not None:
            given = self.number(decimals)
            least = MIN_PLACES if self.scope.released else 0
            if given.op != "int" or given.type.scale or not least <= given.args[0] <= 6:
                raise refusal("Q-05", f"round takes {least} to 6 decimals here, written out.")
            places = given.args[0]
        op = {"Floor": "floor", "Ceil": "ceil"}.get(type(node).__name__, "round")
        return self._round(op, of, places)

    def _round(self, op: str, of: Expr, places: int) -> Expr:
        made = constants.shortened(op, of, places)
        if made is not None:
            return made
        if self.scope.released:
            of = self.number(of)
            return build(op, (v.real(of), places), of.type)
        if of.type.kind is Kind.INT and of.type.scale <= places:
            return of
        of = binned(of)
        kind = Type(Kind.INT, places, of.type.low - 1, of.type.high + 1)
        factor = 10 ** (of.type.scale - places) if of.type.kind is Kind.INT else 10**places
        how = "int" if of.type.kind is Kind.INT else "real"
        return build(f"{op}_{how}", (of, factor), kind)

    def _root(self, node: exp.Expr) -> Expr:
        of = v.real(self.number(node.this))
        if isinstance(node, exp.Ln):
            if not self.scope.released and of.type.low < 1e-9:
                raise refusal("Q-05", "ln takes numbers that are above 0 by their bounds.")
            return build("ln", (of,), Type(Kind.REAL, 0, -30, 40, tiny=-17))
        return build("sqrt", (of,), replace(of.type, low=0, high=max(of.type.high, 0.0) ** 0.5))

    def _power_of(self, node: exp.Expr) -> Expr:
        """Return exp(x), log10(x), log2(x) of a result; of rows no engine agrees with another."""
        if not self.scope.released:
            raise refusal("Q-03", "It is answered over grouped results.", "Over rows: ln.")
        if isinstance(node, exp.Exp):
            of = v.real(self.number(node.this))
            return build("exp", (of,), Type(Kind.REAL, 0, 0.0, inf))
        base, of_what = node.this, node.args.get("expression")
        written = str(base.this) if of_what is not None and isinstance(base, exp.Literal) else "10"
        if (of_what is not None and not isinstance(base, exp.Literal)) or written not in _LOGS:
            raise refusal("Q-03", "Logarithms are ln, log10 and log2.")
        of = v.real(self.number(base if of_what is None else of_what))
        return build(_LOGS[written], (of,), Type(Kind.REAL))

    # --------------------------------------------------------------------------- choice

    def _case(self, node: exp.Expr) -> Expr:
        conditions, results = [], []
        for branch in node.args["ifs"]:
            if node.this is not None:
                sides = self.compared([node.this, branch.this])
                conditions.append(build("eq", tuple(sides), v.BOOL, raw=False, exact=True))
            else:
                conditions.append(self.truth(branch.this))
            results.append(branch.args.get("true"))
        default = node.args.get("default")
        return self._choose(conditions, [*results, default or exp.Null()])

    def _if(self, node: exp.Expr) -> Expr:
        other = node.args.get("false")
        return self._choose([self.truth(node.this)], [node.args["true"], other or exp.Null()])

    def _choose(self, conditions: Sequence[Expr], results: Sequence[exp.Expr]) -> Expr:
        found = self.alike(results)
        return bins.chosen("case", found, conditions, raw=any(each.raw for each in found))

    def _coalesce(self, node: exp.Expr) -> Expr:
        found = self.alike([node.this, *node.expressions])
        op = {"Greatest": "greatest", "Least": "least"}.get(type(node).__name__, "coalesce")
        return bins.chosen(op, found)

    def _nullif(self, node: exp.Expr) -> Expr:
        left, right = self.compared([node.this, node.expression])
        # What is left of a number is itself; one that a constant is compared with is not.
        return build("nullif", (left, right), left.type, exact=True)

    def _cast(self, node: exp.Expr) -> Expr:
        of, to = self.data(node.this), str(node.args["to"].this.value)
        made = None
        if to == "DATE":
            made = self.day(of)
        elif to in {"VARCHAR", "TEXT"}:
            made = texts.spelt(of)
        elif of.type.kind is Kind.BOOL and to in _WHOLE:
            args = (of, v.integer(1), build("not", (of,), v.BOOL), v.integer(0), v.NOTHING)
            made = build("case", args, Type(Kind.INT, 0, 0, 1), raw=False)
        elif of.type.number and to in _REALS:
            # A number of decimals is computed with as a real one all the same, and has a bin.
            made = of if of.type.bin else v.real(of)
        elif of.type.number and to in _WHOLE and self.scope.released and not of.constant:
            # Of a cell, what is out of range is missing: an error would fail the whole answer.
            made = build("fitting", (v.real(of), to), Type(Kind.INT))
        elif of.type.number and to in _WHOLE and of.type.most < _WHOLE[to] - 1:
            made = self._round("round", of, 0)
        if made is None:
            raise refusal("Q-05", "This CAST is not answered: it could fail on a value.")
        return made

    def compared(self, nodes: Sequence[exp.Expr]) -> list[Expr]:
        """Return the sides of a comparison, of one kind and scale."""
        return self.alike(bins.compared([self.data(each) for each in nodes]))

    def alike(self, nodes: Sequence[exp.Expr | Expr]) -> list[Expr]:
        """Return expressions of one kind, numbers at one scale."""
        found = [each if isinstance(each, Expr) else self.data(each) for each in nodes]
        kinds = {each.type.kind for each in found} - {Kind.NULL}
        if Kind.DATE in kinds and kinds <= {Kind.DATE, Kind.TEXT}:
            return [_day_of(str(e.args[0])) if e.op == "text" else _wanted_day(e) for e in found]
        if kinds == {Kind.INT}:
            scale = max(each.type.scale for each in found if each.type.kind is Kind.INT)
            return [v.scaled(e, scale) if e.type.number else e for e in found]
        if kinds == {Kind.INT, Kind.REAL}:
            return [v.real(each) if each.type.number else each for each in found]
        if not kinds:
            raise refusal("Q-05", "NULL alone has no type.")
        if len(kinds) > 1:
            raise refusal("Q-05", f"A {' and a '.join(sorted(kinds))} do not compare.")
        return found


def _times(left: Expr, right: Expr) -> Expr:
    """Return a product, with the interval that it lies in."""
    made = constants.combined("mul", left, right)
    if made is not None:
        return made
    one, other = left.type, right.type
    kind = Type(one.kind, one.scale + other.scale, *_product(one, other),
                tiny=one.tiny + other.tiny)  # fmt: skip
    return build("mul", (left, right), kind)


def _product(one: Type, other: Type) -> tuple[float, float]:
    corners = [a * b for a in (one.low, one.high) for b in (other.low, other.high)]
    corners = [0.0 if corner != corner else corner for corner in corners]  # noqa: PLR0124 - inf * 0
    return min(corners), max(corners)


def _wanted_day(value: Expr) -> Expr:
    if value.type.kind not in {Kind.DATE, Kind.NULL}:
        raise refusal("Q-05", "A day is wanted.")
    return value


def _day_of(written: str) -> Expr:
    try:
        return v.day(date.fromisoformat(written).isoformat())
    except ValueError:
        raise refusal("Q-05", "A day is written YYYY-MM-DD.") from None


_METHODS: Final[Mapping[str, str]] = {
    "Column": "_column", "Literal": "_literal", "Boolean": "_boolean",
    "Null": "_null", "Paren": "_paren",
    "And": "_and_or", "Or": "_and_or", "Not": "_not",
    **dict.fromkeys(_COMPARE, "_compare"),
    "Between": "_between", "Is": "_is", "In": "_in",
    "Add": "_add", "Sub": "_add", "Mul": "_mul", "Div": "_div",
    "IntDiv": "_whole_division", "Mod": "_whole_division", "Pow": "_pow",
    "Neg": "_neg", "Abs": "_abs", "Sign": "_sign",
    **dict.fromkeys(["Round", "Floor", "Ceil"], "_rounded"),
    "Sqrt": "_root", "Ln": "_root", "Exp": "_power_of", "Log": "_power_of",
    "Case": "_case", "If": "_if",
    **dict.fromkeys(["Coalesce", "Greatest", "Least"], "_coalesce"),
    "Nullif": "_nullif", "Cast": "_cast", "TryCast": "_cast",
}  # fmt: skip
_FUNCTIONS: Final[Mapping[str, Callable[[Scalars, Any], Expr]]] = {**texts.METHODS, **days.METHODS}
