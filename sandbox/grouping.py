"""What a SELECT over rows becomes: rows again, one row for each entity, or the cells of a core."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sqlglot import exp

from fusion.errors import QueryRefused
from sandbox import aggregates, days
from sandbox import values as v
from sandbox.aggregates import Aggregates, of_one
from sandbox.names import ENTITY
from sandbox.refusals import refusal
from sandbox.relations import (
    Core,
    Measure,
    Output,
    Relation,
    Result,
    Source,
    Statistic,
    columns_as,
    key_output,
    with_known,
    within,
)
from sandbox.results import OF_THE_WHOLE, Sorting, finish
from sandbox.scalars import Scalars
from sandbox.values import Expr, Kind, Type

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandbox.analyse import Analysis
    from sandbox.rows import Rows

_ROWS_ONLY = ("order", "limit", "offset")


def projection(node: exp.Select, rows: Rows) -> Relation:
    """Return a SELECT that stays rows.

    Raises:
        QueryRefused: It picks rows by their order.
    """
    if any(node.args.get(each) is not None for each in _ROWS_ONLY):
        raise refusal("Q-15")
    if node.args.get("having") is not None:
        raise refusal("Q-06", "HAVING stands on groups.")
    rows.alias(node.expressions)
    outputs: list[Output] = []
    for each in node.expressions:
        outputs += _expand(each, rows)
    outputs = with_known(_distinct_names(outputs))
    qualify = node.args.get("qualify")
    if qualify is None:
        return rows.relation(outputs)
    kept = rows.scalars.truth(qualify.this)
    inner = rows.relation([*outputs, Output("", kept)])
    return Relation(
        columns_as(0, outputs),
        inner.entity,
        inner.rows,
        sources=(Source(inner),),
        where=(v.column(0, len(outputs), kept),),
        predicate=tuple(sorted({*inner.predicate, kept.text})),
    )


def _expand(node: exp.Expr, rows: Rows) -> list[Output]:
    if isinstance(node, exp.Star):
        return rows.all()
    if isinstance(node, exp.Column) and isinstance(node.this, exp.Star):
        return rows.all(str(node.args["table"].this))
    bare = node.this if isinstance(node, exp.Alias) else node
    return [Output(name_of(node), rows.scalars.any(bare))]


def name_of(node: exp.Expr) -> str:
    """Return the name of a column of a SELECT: its alias, or what it is made of."""
    if isinstance(node, exp.Alias):
        return str(node.args["alias"].this)
    if isinstance(node, exp.Column):
        return str(node.this.this)
    if isinstance(node, exp.Paren):
        return name_of(node.this)
    return type(node).__name__.lower()


def _distinct_names(outputs: Sequence[Output]) -> list[Output]:
    """Keep the first column of a name that occurs twice: none else can be told apart."""
    found: dict[str, Output] = {}
    for each in outputs:
        found.setdefault(each.name.lower(), each)
    return list(found.values())


class _Collected:
    """The columns of rows that groups are made of: keys first, then values."""

    def __init__(self, rows: Rows, keys: Sequence[Expr]) -> None:
        self.rows = rows
        self.columns: list[Expr] = []
        self.measures: list[Measure] = []
        for each in keys:
            if each.text not in {own.text for own in self.columns}:
                self.columns.append(each)
        self.keys = len(self.columns)

    def key(self, text: str) -> int | None:
        for place, each in enumerate(self.columns[: self.keys]):
            if each.text == text:
                return place
        return None

    def value(self, of: Expr) -> int:
        for place, each in enumerate(self.columns[self.keys :], self.keys):
            if each.text == of.text and each.type == of.type:
                return place
        self.columns.append(of)
        return len(self.columns) - 1

    def measure(self, of: Measure) -> int:
        for place, each in enumerate(self.measures):
            if (each.how, each.value) == (of.how, of.value):
                self.measures[place] = replace(
                    each,
                    spread=each.spread or of.spread,
                    only_total=each.only_total and of.only_total,
                )
                return place
        self.measures.append(of)
        return len(self.measures) - 1

    def rows_of_one(self) -> int:
        return self.rows.rows_of_one()

    def relation(self) -> Relation:
        return self.rows.relation(
            [Output(f"c{place}", each) for place, each in enumerate(self.columns)]
        )

    def matching(self, node: exp.Expr) -> int | None:
        """Return the key that an expression means, if it means one.

        What is no expression of rows (a name of this SELECT is in it) is no key.
        """
        if not self.keys or not any(isinstance(each, exp.Column) for each in node.walk()):
            return None
        if any(isinstance(each, (*aggregates.NODES, exp.Window)) for each in node.walk()):
            return None
        try:
            return self.key(self.rows.scalars.any(node).text)
        except QueryRefused:
            return None


# ------------------------------------------------------------------- one row an entity


class _Entities:
    """The scope of a SELECT with one row for each entity."""

    released = False

    def __init__(self, found: _Collected) -> None:
        self._found = found
        self._where = "; ".join(found.rows.relation([]).predicate)
        self._group = within(found.columns[: found.keys])
        self._aliases: dict[str, exp.Expr] = {}
        self._meant: dict[str, Expr] = {}

    def alias(self, items: Sequence[exp.Expr]) -> None:
        self._aliases = {
            str(e.args["alias"].this).lower(): e.this for e in items if isinstance(e, exp.Alias)
        }

    def column(self, table: str, name: str) -> Expr:
        if not table and name.lower() in self._meant:
            return self._meant[name.lower()]
        meant = self._aliases.pop(name.lower(), None) if not table else None
        if meant is None:
            raise refusal("Q-09", "A column is neither grouped by nor aggregated.")
        made = self._meant[name.lower()] = Scalars(self).any(meant)
        return made

    def special(self, node: exp.Expr) -> Expr | None:
        if isinstance(node, exp.Window | exp.Select | exp.Subquery | exp.Union):
            raise refusal("Q-12" if not isinstance(node, exp.Window) else "Q-11")
        if isinstance(node, aggregates.NODES):
            where = f"{self._where} by {self._group}"
            made = of_one(node, self._found.rows.scalars, where, self._found.rows_of_one())
            return self._collected(made)
        if isinstance(node, exp.In) and node.args.get("query") is not None:
            raise refusal("Q-12", "It stands in WHERE.")
        place = self._found.matching(node)
        return None if place is None else v.column(0, place, self._found.columns[place])

    def _collected(self, made: Expr) -> Expr:
        """Return an aggregate over a column of the rows that are collected."""
        name, of = made.args
        known = None if made.known is None else self._collected(made.known)
        own = v.column(0, self._found.value(of), of)
        return replace(made, args=(name, own), known=known)


def of_entities(node: exp.Select, rows: Rows, keys: Sequence[Expr]) -> Relation:
    """Return a SELECT that has one row for each entity (and further keys).

    Raises:
        QueryRefused: A key of something else is grouped by, or rows are picked.
    """
    if any(node.args.get(each) is not None for each in _ROWS_ONLY):
        raise refusal("Q-15")
    if node.args.get("qualify") is not None:
        raise refusal("Q-03", "QUALIFY stands on rows, not on groups.")
    if any(each.type.kind is Kind.KEY and each.text != ENTITY for each in keys):
        raise refusal("Q-07")
    if any(each.type.bin and not rows.once(each) for each in keys):
        raise refusal("Q-27", "Rows of one person are grouped by it.")
    found = _Collected(rows, keys)
    scope = _Entities(found)
    scalars = Scalars(scope)
    outputs = []
    for each in node.expressions:
        bare = each.this if isinstance(each, exp.Alias) else each
        outputs.append(Output(name_of(each), scalars.any(bare)))
    scope.alias(node.expressions)
    having = node.args.get("having")
    conditions = (scalars.truth(having.this),) if having is not None else ()
    inner = found.relation()
    others = [place for place in range(found.keys) if found.columns[place].text != ENTITY]
    texts = tuple(f"having {each.text}" for each in conditions)
    return Relation(
        tuple(with_known(_distinct_names(outputs))),
        True,
        1 if not others else inner.rows,
        sources=(Source(inner),),
        group=tuple(v.column(0, place, found.columns[place]) for place in others),
        having=conditions,
        predicate=tuple(sorted({*inner.predicate, *texts})),
    )


# ------------------------------------------------------------------------------- cells


class _Cells:
    """The scope of a SELECT over the cells of a core: keys, statistics, what is made of them."""

    released = True

    def __init__(self, found: _Collected, made: Aggregates, items: Sequence[exp.Expr]) -> None:
        self.statistics: list[Statistic] = []
        self.sorting = Sorting(self)
        self._found = found
        self._made = made
        self._aliases = {
            str(e.args["alias"].this).lower(): e.this for e in items if isinstance(e, exp.Alias)
        }
        self._meant: dict[str, Expr] = {}

    def column(self, table: str, name: str) -> Expr:
        if not table and name.lower() in self._meant:
            return self._meant[name.lower()]
        meant = self._aliases.get(name.lower()) if not table else None
        if meant is None:
            raise refusal("Q-09", "A column is neither grouped by nor aggregated.")
        own = {each: what for each, what in self._aliases.items() if each != name.lower()}
        before, self._aliases = self._aliases, own
        try:
            made = self._meant[name.lower()] = Scalars(self).any(meant)
        finally:
            self._aliases = before
        return made

    def special(self, node: exp.Expr) -> Expr | None:
        if isinstance(node, exp.Window):
            return self.sorting.window(node)
        if isinstance(node, exp.Select | exp.Subquery | exp.Union):
            raise refusal("Q-12", hint=OF_THE_WHOLE)
        if isinstance(node, exp.In) and node.args.get("query") is not None:
            raise refusal("Q-12", "It stands in WHERE.")
        if isinstance(node, aggregates.NODES):
            return self.statistic(self._made.statistic(node))
        if isinstance(node, exp.Column) and self._is_alias(node):
            return None
        place = self._found.matching(node)
        return None if place is None else key_output(place, self._found.columns[place])

    def _is_alias(self, node: exp.Column) -> bool:
        return node.args.get("table") is None and str(node.this.this).lower() in self._aliases

    def statistic(self, of: Statistic) -> Expr:
        if of not in self.statistics:
            self.statistics.append(of)
        place = self._found.keys + self.statistics.index(of)
        kind = Type(Kind.INT if of.whole else Kind.REAL)
        return Expr("col", (0, place), kind, f"statistic {place}")


def cells(node: exp.Select, rows: Rows, keys: Sequence[Expr], analysis: Analysis) -> Result:
    """Return a SELECT over groups: a core, and what is made of its released cells.

    Raises:
        QueryRefused: A group would be a value of single people.
    """
    if node.args.get("qualify") is not None:
        raise refusal("Q-03", "QUALIFY stands on rows; put a group's window into FROM (...).")
    for each in keys:
        if each.type.kind is Kind.KEY:
            raise refusal("Q-07")
        if each.type.kind is Kind.NULL:
            raise refusal("Q-05", "NULL alone is no group.", "Group by columns, or leave it out.")
        if each.raw or each.type.kind is Kind.REAL:
            raise refusal("Q-09", hint=days.grouped(each))
    found = _Collected(rows, keys)
    scope = _Cells(found, Aggregates(rows.scalars, found, analysis.policy), node.expressions)
    result = finish(node, scope, Scalars(scope), name_of)
    core = Core(found.relation(), found.keys, tuple(found.measures), tuple(scope.statistics))
    number = analysis.core(core)
    columns = [
        *(key_output(place, each) for place, each in enumerate(found.columns[: found.keys])),
        *(scope.statistic(each) for each in scope.statistics),
    ]
    inner = Result(
        tuple(Output(f"c{place}", each) for place, each in enumerate(columns)), core=number
    )
    return Result(
        result.outputs,
        sources=((inner, "from", ()),),
        where=result.having,
        distinct=node.args.get("distinct") is not None and node.args.get("group") is not None,
        order=result.order,
        limit=result.limit,
        offset=result.offset,
    )
