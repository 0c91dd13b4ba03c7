"""From a statement to a plan: every SELECT is of rows, of public rows, or of released cells.

The kind follows from what stands in FROM. A SELECT over rows either stays one (a projection, or
one row for each entity), or ends in a core, from where on there are released cells only. What
mixes the kinds, or would let rows out, is refused. Pure: a statement and a policy give a plan or a
refusal, whatever the data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlglot import exp

from sandbox import aggregates, syntax
from sandbox.fanout import Fanout
from sandbox.grouping import cells, of_entities, projection
from sandbox.names import base
from sandbox.places import placed
from sandbox.refusals import refusal
from sandbox.relations import Core, Output, Plan, Relation, Result, released
from sandbox.results import ordered, select_results, union
from sandbox.rows import Rows
from sandbox.values import Expr

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sandbox.fanout import PublicRows
    from sandbox.policy import Policy

MAX_CORES: Final = 16
MAX_OUTPUTS: Final = 64
MAX_SELECTS: Final = 300
"""SELECTs of a statement where every name of WITH is written out: each name that is used twice
doubles what stands on it."""
Found = Relation | Result


def analyse(statement: str, policy: Policy, public: PublicRows | None = None) -> Plan:
    """Return what a statement asks for.

    Args:
        statement: SQL.
        policy: What may be asked.
        public: How many rows of public tables have one value; without it none is joined.

    Raises:
        QueryRefused: The policy does not answer it; the code names the rule.
    """
    analysis = Analysis(policy, public)
    tree = syntax.read(statement, policy.functions)
    try:
        found = analysis.query(tree, {})
    except RecursionError:
        raise refusal("Q-02") from None
    if isinstance(found, Relation) and found.entity:
        raise refusal("Q-06")
    result = analysis.result(found)
    return Plan(tuple(analysis.cores), result)


class Analysis:
    """One statement, as far as it has been understood."""

    def __init__(self, policy: Policy, public: PublicRows | None = None) -> None:
        """Begin."""
        self.policy = policy
        self.fanout = Fanout(public)
        self.cores: list[Core] = []
        self._selects = 0
        self._within: dict[int, tuple[Found, int]] = {}

    def query(self, node: exp.Expr, known: Mapping[str, Found]) -> Found:
        """Return what a query is, given the names of the WITH clauses around it.

        Raises:
            QueryRefused: It is not answered.
        """
        known = self._with(node, known)
        before, self._selects = self._selects, int(isinstance(node, exp.Select))
        found = self._query(node, known)
        self._within[id(found)] = found, self._selects
        self._count(before)
        return found

    def _count(self, selects: int) -> None:
        self._selects += selects
        if self._selects > MAX_SELECTS:
            raise refusal("Q-02", "Fewer subqueries, and names of WITH that are used less often.")

    def _query(self, node: exp.Expr, known: Mapping[str, Found]) -> Found:
        if isinstance(node, exp.Subquery):
            return self.query(node.this, known)
        if isinstance(node, exp.Union):
            left, right = self.query(node.this, known), self.query(node.expression, known)
            if _of_rows(left) or _of_rows(right):
                raise refusal("Q-13", "UNION takes grouped results.")
            both = union(self.result(left), self.result(right), keep=not node.args.get("distinct"))
            return ordered(both, node)
        if isinstance(node, exp.Select):
            return self._select(node, known)
        raise refusal("Q-03", f"It is of the kind {type(node).__name__}.")

    def result(self, found: Found) -> Result:
        """Return public rows as a result; a result is one."""
        if isinstance(found, Result):
            return found
        if found.entity:
            raise refusal("Q-13")
        outputs = tuple(
            Output(each.name, Expr("col", (0, position), released(each.value.type), each.name))
            for position, each in enumerate(found.outputs)
        )
        return Result(outputs, public=found)

    def core(self, core: Core) -> int:
        """Take a core in; return its number."""
        if len(self.cores) >= MAX_CORES or len(core.statistics) > MAX_OUTPUTS:
            raise refusal("Q-16")
        self.cores.append(core)
        return len(self.cores) - 1

    def _with(self, node: exp.Expr, known: Mapping[str, Found]) -> Mapping[str, Found]:
        clause = node.args.get("with_")
        if clause is None:
            return known
        names = dict(known)
        for each in clause.expressions:
            name = str(each.args["alias"].this.this).lower()
            if name in names or base(self.policy, name) is not None:
                raise refusal("Q-04", "A name of WITH is new: no table's, and given once.")
            names[name] = self.query(each.this, names)
        return names

    def _from(self, node: exp.Expr, known: Mapping[str, Found]) -> tuple[str, Found]:
        with placed(node):
            return self._named(node, known)

    def _named(self, node: exp.Expr, known: Mapping[str, Found]) -> tuple[str, Found]:
        alias = node.args.get("alias")
        if isinstance(node, exp.Table):
            if not isinstance(node.this, exp.Identifier):
                raise refusal("Q-03", "FROM names tables.")
            name = str(node.this.this)
            found = known.get(name.lower())
            if found is not None:
                self._count(self._within[id(found)][1])
            else:
                found = base(self.policy, name)
            if found is None:
                raise refusal("Q-04", "FROM names something else.")
            return (str(alias.this.this) if alias else name).lower(), found
        if isinstance(node, exp.Subquery):
            name = str(alias.this.this).lower() if alias else f"({id(node)})"
            return name, self.query(node.this, known)
        raise refusal("Q-03", "FROM names tables.")

    def _select(self, node: exp.Select, known: Mapping[str, Found]) -> Found:
        start = node.args.get("from_")
        if start is None:
            raise refusal("Q-04", "FROM is missing.")
        if not node.expressions or len(node.expressions) > MAX_OUTPUTS:
            raise refusal("Q-16")
        found = self._sources(node, known)
        joins = node.args.get("joins") or []
        if any(isinstance(each, Result) for _, each in found):
            if any(_of_rows(each) for _, each in found):
                raise refusal("Q-13")
            return select_results(node, [(name, self.result(each)) for name, each in found], joins)
        rows = self._rows(found, joins, known)
        rows.where(node.args.get("where"))
        return self._select_rows(node, rows)

    def sources(self, node: exp.Select, known: Mapping[str, Found]) -> Rows:
        """Return the scope of a SELECT over rows, as far as FROM and JOIN go."""
        self._count(1)
        if node.args.get("from_") is None:
            raise refusal("Q-04", "FROM is missing.")
        return self._rows(self._sources(node, known), node.args.get("joins") or [], known)

    def _sources(self, node: exp.Select, known: Mapping[str, Found]) -> list[tuple[str, Found]]:
        named = [node.args["from_"], *(node.args.get("joins") or [])]
        return [self._from(each.this, known) for each in named]

    def _rows(
        self, found: Sequence[tuple[str, Found]], joins: Sequence[exp.Expr],
        known: Mapping[str, Found],
    ) -> Rows:  # fmt: skip
        rows = Rows(self, known)
        for index, (name, relation) in enumerate(found):
            if isinstance(relation, Result):
                raise refusal("Q-13")
            rows.add(name, relation, joins[index - 1] if index else None)
        return rows

    def _select_rows(self, node: exp.Select, rows: Rows) -> Found:
        grouped = node.args.get("group") is not None or aggregates_in(node)
        if not rows.entity:
            plain = not any(
                node.args.get(each)
                for each in ("having", "qualify", "order", "limit", "offset", "distinct")
            )
            if plain and not grouped and not node.find(exp.Window):
                return projection(node, rows)
            found = [(each.name, self.result(rel)) for each, rel in rows.public_sources()]
            return select_results(node, found, node.args.get("joins") or [])
        keys = rows.group_keys(node)
        if keys is not None and rows.has_entity(keys):
            return of_entities(node, rows, keys)
        if grouped or keys is not None:
            return cells(node, rows, keys or [], self)
        return projection(node, rows)


def _of_rows(found: Found) -> bool:
    return isinstance(found, Relation) and found.entity


def aggregates_in(node: exp.Select) -> bool:
    """Whether a SELECT aggregates, in this SELECT itself and not only within a window."""
    parts = [*node.expressions, node.args.get("having"), node.args.get("order")]
    stack = [part for part in parts if part is not None]
    while stack:
        part = stack.pop()
        if isinstance(part, exp.Select | exp.Subquery):
            continue
        if isinstance(part, exp.Window):
            inner = [
                *part.args.get("partition_by", []),
                part.args.get("order"),
                *part.this.iter_expressions(),
            ]
            stack += [each for each in inner if each is not None]
            continue
        if isinstance(part, aggregates.NODES):
            return True
        stack += list(part.iter_expressions())
    return False
