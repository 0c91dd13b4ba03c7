"""Over released cells: HAVING, ORDER BY, LIMIT, windows, ratios, joins and unions of results.

Nothing here touches a row, so the analyst may do as in any SQL; still only listed constructs are
taken, and each is total.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlglot import exp

from sandbox import aggregates
from sandbox import values as v
from sandbox.names import Named, Names
from sandbox.refusals import refusal
from sandbox.relations import Output, Result, Sorted, released
from sandbox.scalars import Scalars
from sandbox.values import Expr, Kind, Type, build

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_RANKS: Final = {
    "RowNumber": "row_number", "Rank": "rank", "DenseRank": "dense_rank",
    "PercentRank": "percent_rank", "CumeDist": "cume_dist",
}  # fmt: skip
_MOVED: Final = {"Lag": "lag", "Lead": "lead", "FirstValue": "first_value",
                 "LastValue": "last_value"}  # fmt: skip
_TOTALS: Final = {
    "Sum": "sum", "Avg": "avg", "Min": "min", "Max": "max", "Median": "median", "Count": "count",
    "Stddev": "stddev_samp", "StddevSamp": "stddev_samp", "StddevPop": "stddev_pop",
    "Variance": "var_samp", "VariancePop": "var_pop",
}  # fmt: skip
OF_THE_WHOLE: Final = (
    "A share of the whole is count(*) * 100 / sum(count(*)) OVER (); other results stand in FROM."
)
MAX_LIMIT: Final = 10**9


class Sorting:
    """Windows and orders over a scope of released cells."""

    def __init__(self, scope: Any) -> None:  # noqa: ANN401 - any scope of released cells
        """Stand on a scope."""
        self._scope = scope
        self._inside = False

    def window(self, node: exp.Window) -> Expr:
        """Return a window over results."""
        if self._inside:
            raise refusal("Q-03", "A window stands in no other.")
        self._inside = True
        try:
            return self._window(node)
        finally:
            self._inside = False

    def _window(self, node: exp.Window) -> Expr:
        scalars = Scalars(self._scope)
        partition = [scalars.data(each) for each in node.args.get("partition_by") or []]
        order = node.args.get("order")
        items = [
            _item(each, scalars.data(each.this)) for each in (order.expressions if order else [])
        ]
        items = [each for each in items if not each.value.constant]
        name, of, kind, extra = self._function(node.this, scalars)
        frame = _frame(node.args.get("spec"))
        parts = [part for e in items for part in (e.value, e.descending, e.nulls_first)]
        flat = (name, of, extra, frame, len(partition), *partition, *parts)
        return build("over", flat, kind)

    def _function(self, node: exp.Expr, scalars: Scalars) -> tuple[str, Expr | None, Type, int]:
        name = type(node).__name__
        if name in _RANKS:
            whole = name in {"RowNumber", "Rank", "DenseRank"}
            return _RANKS[name], None, Type(Kind.INT if whole else Kind.REAL), 0
        if name in _MOVED:
            given = node.args.get("offset")
            offset = scalars.number(given) if given is not None else v.integer(1)
            if offset.op != "int" or offset.type.scale or not 0 <= offset.args[0] <= 1000:
                raise refusal("Q-05", "An offset is written out, 0 to 1000.")
            of = scalars.data(node.this)
            return _MOVED[name], of, of.type, offset.args[0] if name in {"Lag", "Lead"} else -1
        if name == "Ntile":
            count = scalars.number(node.this)
            if count.op != "int" or count.type.scale or not 1 <= count.args[0] <= 1000:
                raise refusal("Q-05", "ntile takes 1 to 1000, written out.")
            return "ntile", count, Type(Kind.INT), 0
        if name in _TOTALS:
            # The aggregate within, as in sum(count(*)) over (), is of the cell.
            return *_total(node, scalars), 0
        raise refusal("Q-03", "This is no window function that is answered.")

    def order(self, node: exp.Expr | None, items: Sequence[exp.Expr], outputs: Sequence[Output],
              scalars: Scalars) -> tuple[Sorted, ...]:  # fmt: skip
        """Return ORDER BY: names of the SELECT first, positions, expressions."""
        found = []
        for each in node.expressions if node is not None else []:
            of = each.this
            named = [o for o in outputs if _is_name(of, o.name)]
            if named:
                value = named[0].value
            elif isinstance(of, exp.Literal) and not of.args.get("is_string"):
                place = int(str(of.this)) if str(of.this).isdigit() else 0
                if not 1 <= place <= len(items):
                    raise refusal("Q-04", "ORDER BY names a column that is not there.")
                value = outputs[place - 1].value
            else:
                value = scalars.data(of)
            if not value.constant:
                # What is the same in every row orders nothing, and engines refuse to try.
                found.append(_item(each, value))
        return tuple(found)


def _is_name(node: exp.Expr, name: str) -> bool:
    return (
        isinstance(node, exp.Column)
        and node.args.get("table") is None
        and str(node.this.this).lower() == name.lower()
    )


def _item(node: exp.Expr, value: Expr) -> Sorted:
    return Sorted(value, bool(node.args.get("desc")), bool(node.args.get("nulls_first")))


def _frame(node: exp.Expr | None) -> str:
    if node is None:
        return ""
    sides = []
    for which in ("start", "end"):
        edge, side = node.args.get(which), node.args.get(f"{which}_side") or ""
        if isinstance(edge, exp.Literal) and str(edge.this).isdigit() and len(str(edge.this)) < 6:
            edge = str(edge.this)
        elif edge is None and which == "end":
            edge = "CURRENT ROW"
        elif edge not in {"UNBOUNDED", "CURRENT ROW"}:
            raise refusal("Q-03", "A frame is unbounded, or a number of rows.")
        if str(side).upper() not in ({""} if edge == "CURRENT ROW" else {"PRECEDING", "FOLLOWING"}):
            raise refusal("Q-03", "A frame is of rows that precede or follow.")
        sides.append(f"{edge} {str(side).upper()}".strip())
    kind = str(node.args.get("kind")).upper()
    if kind not in {"ROWS", "RANGE"} or (kind == "RANGE" and any(s[0].isdigit() for s in sides)):
        raise refusal("Q-03", "A frame is of rows.")
    return f"{kind} BETWEEN {sides[0]} AND {sides[1]}"


def filtering(value: Expr) -> Expr:
    """Return a condition or a key that stands before windows are computed.

    Raises:
        QueryRefused: It has a window, itself or by a name of the SELECT.
    """
    if any(each.op == "over" for each in value.parts()):
        raise refusal(
            "Q-03",
            "A window stands in SELECT and ORDER BY.",
            "Give it a name in FROM (SELECT ...) and put the condition on that name.",
        )
    return value


def _total(node: exp.Expr, scalars: Scalars) -> tuple[str, Expr | None, Type]:
    name, of = _TOTALS[type(node).__name__], node.this
    if name == "count":
        if isinstance(of, exp.Star):
            return "count", None, Type(Kind.INT)
        return "count", scalars.data(of), Type(Kind.INT)
    if name in {"min", "max"}:
        value = scalars.data(of)
        return name, value, value.type
    return name, v.real(scalars.number(of)), Type(Kind.REAL)


def finish(node: exp.Select, scope: Any, scalars: Scalars,  # noqa: ANN401 - any released scope
           name_of: Callable[[exp.Expr], str]) -> Result:  # fmt: skip
    """Return columns, HAVING, ORDER BY and LIMIT of a SELECT over a scope of released cells."""
    outputs = []
    for each in node.expressions:
        bare = each.this if isinstance(each, exp.Alias) else each
        if isinstance(bare, exp.Star):
            raise refusal("Q-09", "A star has no place in a group.")
        outputs.append(Output(name_of(each), scalars.data(bare)))
    having = node.args.get("having")
    conditions = (filtering(scalars.truth(having.this)),) if having is not None else ()
    order = scope.sorting.order(node.args.get("order"), node.expressions, outputs, scalars)
    return Result(
        tuple(outputs),
        having=conditions,
        order=order,
        limit=limit_of(node),
        offset=limit_of(node, "offset"),
    )


def limit_of(node: exp.Expr, name: str = "limit") -> int | None:
    """Return LIMIT, or OFFSET by its name."""
    limit = node.args.get(name)
    if limit is None:
        return None
    count = limit.expression
    written = str(count.this) if isinstance(count, exp.Literal) else ""
    if not written.isdigit() or len(written) > 9:
        raise refusal("Q-03", "LIMIT takes a number.")
    return int(written)


class _Released:
    """The scope of a SELECT over results."""

    released = True

    def __init__(self, grouped: bool) -> None:  # noqa: FBT001 - a state, not an option
        self.names = Names()
        self.sorting = Sorting(self)
        self.grouped = grouped
        self.keys: list[Expr] = []
        self.aliases: dict[str, exp.Expr] = {}
        self._meant: dict[tuple[str, bool, bool], Expr] = {}
        self._inside = False

    def column(self, table: str, name: str) -> Expr:
        found = self.names.find(table, name)
        if found is None:
            meant = self.aliases.get(name.lower()) if not table else None
            if meant is None:
                raise refusal("Q-04", f"No table of FROM has a column `{name}`.")
            known = (name.lower(), self.grouped, self._inside)
            if known in self._meant:
                return self._meant[known]
            own = {each: what for each, what in self.aliases.items() if each != name.lower()}
            before, self.aliases = self.aliases, own
            try:
                made = self._meant[known] = Scalars(self).any(meant)
            finally:
                self.aliases = before
            return made
        if self.grouped and not self._inside and all(k.args != found.args for k in self.keys):
            raise refusal("Q-09", "A column is neither grouped by nor aggregated.")
        return found

    def special(self, node: exp.Expr) -> Expr | None:
        if isinstance(node, exp.Window):
            return self.sorting.window(node)
        if isinstance(node, exp.Select | exp.Subquery | exp.Union):
            raise refusal("Q-12", hint=OF_THE_WHOLE)
        if isinstance(node, exp.In) and node.args.get("query") is not None:
            raise refusal("Q-12")
        if isinstance(node, aggregates.NODES):
            return self._aggregate(node)
        if self.grouped and not self._inside and any(k.op != "col" for k in self.keys):
            return self._key(node)
        return None

    def _key(self, node: exp.Expr) -> Expr | None:
        if not any(isinstance(each, exp.Column) for each in node.walk()):
            return None
        if any(isinstance(each, (*aggregates.NODES, exp.Window)) for each in node.walk()):
            return None
        self._inside = True
        try:
            found = Scalars(self).any(node)
        finally:
            self._inside = False
        return next((key for key in self.keys if key.args == found.args and key.op == found.op),
                    None)  # fmt: skip

    def _aggregate(self, node: exp.Expr) -> Expr:
        if not self.grouped or self._inside or type(node).__name__ not in _TOTALS:
            raise refusal("Q-10", "Over results: count, sum, avg, min, max, median, stddev.")
        self._inside = True
        try:
            name, of, kind = _total(node, Scalars(self))
        finally:
            self._inside = False
        return build("total", (name, of), kind)


def select_results(node: exp.Select, sources: Sequence[tuple[str, Result]],
                   joins: Sequence[exp.Expr]) -> Result:  # fmt: skip
    """Return a SELECT over results.

    Raises:
        QueryRefused: A construct is not answered.
    """
    group, distinct = node.args.get("group"), node.args.get("distinct")
    if node.args.get("qualify") is not None:
        raise refusal("Q-03", "QUALIFY stands on rows; put a result's window into FROM (...).")
    grouped = group is not None or _has_aggregates(node)
    scope = _Released(grouped)
    scalars = Scalars(scope)
    scope.grouped = False
    found = _joins(scope, scalars, sources, joins)
    where = node.args.get("where")
    conditions = (filtering(scalars.truth(where.this)),) if where is not None else ()
    items = _stars(node.expressions, scope)
    scope.aliases = {
        str(e.args["alias"].this).lower(): e.this
        for e in node.expressions
        if isinstance(e, exp.Alias)
    }
    if group is not None:
        scope.keys = [filtering(each) for each in _keys(group, node, scalars)]
    scope.grouped = grouped
    outputs = [
        Output(name, each if isinstance(each, Expr) else scalars.data(each)) for name, each in items
    ]
    if grouped and any(isinstance(each, Expr) for _, each in items):
        raise refusal("Q-09", "A star has no place in a group.")
    having = node.args.get("having")
    return Result(
        tuple(outputs),
        sources=found,
        where=conditions,
        group=tuple(scope.keys) if grouped else None,
        having=(filtering(scalars.truth(having.this)),) if having is not None else (),
        distinct=distinct is not None,
        order=scope.sorting.order(node.args.get("order"), node.expressions, outputs, scalars),
        limit=limit_of(node),
        offset=limit_of(node, "offset"),
    )


def _stars(nodes: Sequence[exp.Expr], scope: _Released) -> list[tuple[str, Expr | exp.Expr]]:
    from sandbox.grouping import name_of  # noqa: PLC0415 - grouping stands on this module

    items: list[tuple[str, Expr | exp.Expr]] = []
    for each in nodes:
        if isinstance(each, exp.Star):
            items += [(o.name, o.value) for o in scope.names.all()]
        elif isinstance(each, exp.Column) and isinstance(each.this, exp.Star):
            items += [(o.name, o.value) for o in scope.names.all(str(each.args["table"].this))]
        else:
            items.append((name_of(each), each.this if isinstance(each, exp.Alias) else each))
    if not items:
        raise refusal("Q-04", "Nothing is selected.")
    return items


def _keys(group: exp.Expr, node: exp.Select, scalars: Scalars) -> list[Expr]:
    if group.args.get("all"):
        plain = [e for e in node.expressions if not any(isinstance(n, aggregates.NODES)
                                                        for n in e.walk())]  # fmt: skip
        return [scalars.data(e.this if isinstance(e, exp.Alias) else e) for e in plain]
    found = []
    for each in group.expressions:
        of = each
        if isinstance(each, exp.Literal) and not each.args.get("is_string"):
            place = int(str(each.this)) if str(each.this).isdigit() else 0
            if not 1 <= place <= len(node.expressions):
                raise refusal("Q-04", "GROUP BY names a column that is not there.")
            of = node.expressions[place - 1]
        found.append(scalars.data(of.this if isinstance(of, exp.Alias) else of))
    return found


def _joins(
    scope: _Released,
    scalars: Scalars,
    sources: Sequence[tuple[str, Result]],
    joins: Sequence[exp.Expr],
) -> tuple[tuple[Result, str, tuple[Expr, ...]], ...]:
    found: list[tuple[Result, str, tuple[Expr, ...]]] = []
    for index, (name, result) in enumerate(sources):
        join = joins[index - 1] if index else None
        side = str(join.args.get("side") or "").upper() if join else ""
        how = str(join.args.get("kind") or "").upper() if join else ""
        if side not in {"", "LEFT"} or how not in {"", "INNER", "OUTER", "CROSS"}:
            raise refusal("Q-08", "Joins of results are INNER, LEFT or CROSS.")
        merged = [each.name for each in join.args.get("using") or []] if join else []
        pairs = [(scope.column("", each), _at(result, each)) for each in merged]
        scope.names.add(Named(name, result.outputs))
        on = [
            build("eq", tuple(scalars.alike([one, scope.names.at(index, place)])), v.BOOL)
            for one, place in pairs
        ]
        scope.names.merge(merged)
        condition = join.args.get("on") if join else None
        if condition is not None:
            on.append(filtering(scalars.truth(condition)))
        if side == "LEFT" and not on:
            raise refusal("Q-08", "A left join has a condition.")
        found.append((result, "from" if not index else side.lower() or "inner", tuple(on)))
    return tuple(found)


def _at(result: Result, name: str) -> int:
    for place, each in enumerate(result.outputs):
        if each.name.lower() == name.lower():
            return place
    raise refusal("Q-04", "USING names a column of both.")


def _has_aggregates(node: exp.Select) -> bool:
    from sandbox.analyse import aggregates_in  # noqa: PLC0415 - analyse stands on this module

    return aggregates_in(node)


def union(left: Result, right: Result, *, keep: bool) -> Result:
    """Return two results under each other.

    Raises:
        QueryRefused: Their columns do not fit.
    """
    if len(left.outputs) != len(right.outputs):
        raise refusal("Q-05", "UNION takes results with equally many columns.")
    outputs = []
    for place, (one, other) in enumerate(zip(left.outputs, right.outputs, strict=True)):
        kinds = {one.value.type.kind, other.value.type.kind} - {Kind.NULL}
        if len(kinds) > 1 and kinds != {Kind.INT, Kind.REAL}:
            raise refusal("Q-05", "UNION takes columns of one type.")
        kind = Kind.REAL if len(kinds) > 1 else next(iter(kinds), Kind.NULL)
        if one.value.type.scale or other.value.type.scale:
            kind = Kind.REAL
        outputs.append(Output(one.name, Expr("col", (0, place), released(Type(kind)), one.name)))
    return Result(tuple(outputs), union=(left, right, keep))


def ordered(result: Result, node: exp.Expr) -> Result:
    """Return a result with the ORDER BY and LIMIT of a set operation."""
    if node.args.get("order") is None and node.args.get("limit") is None:
        return result
    scope = _Released(grouped=False)
    scope.names.add(Named("", result.outputs))
    scalars = Scalars(scope)
    outputs = scope.names.all()
    order = scope.sorting.order(node.args.get("order"), outputs, outputs, scalars)  # type: ignore[arg-type]
    return Result(tuple(outputs), sources=((result, "from", ()),), order=order,
                  limit=limit_of(node))  # fmt: skip
