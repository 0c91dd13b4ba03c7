"""The scope of a SELECT over rows: joins that keep entities apart, conditions, windows, keys."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlglot import exp

from sandbox import aggregates
from sandbox import values as v
from sandbox.names import ENTITY, Named, Names
from sandbox.refusals import refusal
from sandbox.relations import (
    MAX_ROWS_OF_ONE,
    Output,
    Relation,
    Result,
    Source,
    apart,
)
from sandbox.scalars import Scalars
from sandbox.values import Expr, Kind, Type, binned, build

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sandbox.analyse import Analysis, Found

_RANKS: Final = {"RowNumber": "row_number", "Rank": "rank", "DenseRank": "dense_rank"}
_SHIFTED: Final = {"Lag": "lag", "Lead": "lead"}
_OVER: Final = {"Count": "count", "Sum": "sum", "Min": "min", "Max": "max", "Avg": "avg"}


_TOO_MANY: Final = (
    "A join of tables with several rows makes too many rows of one person: at most a million. "
    "Join public tables on columns of which each value has one row."
)
_TOO_MANY_PUBLIC: Final = "A join of public tables makes too many rows: at most a million."


class _Called(NamedTuple):
    """The function of a window.

    Attributes:
        name: Of the function.
        of: Its argument.
        kind: Type of its value.
        offset: Of lag and lead.
        known: Of what is added up of numbers with a bin: argument and type of what may be known.
    """

    name: str
    of: Expr | None
    kind: Type
    offset: int = 0
    known: tuple[Expr, Type] | None = None


class Rows:
    """What expressions over rows stand on."""

    released = False

    def __init__(self, analysis: Analysis, known: Mapping[str, Found]) -> None:
        """Begin without a source."""
        self.analysis = analysis
        self.scalars = Scalars(self)
        self.sources: list[Source] = []
        self.conditions: list[Expr] = []
        self._names = Names()
        self._known = known
        self._clause = "where"
        self._aliases: dict[str, exp.Expr] = {}
        self._meant: dict[str, Expr] = {}

    # ------------------------------------------------------------------------- sources

    @property
    def entity(self) -> bool:
        """Whether its rows carry an entity."""
        return any(source.relation.entity for source in self.sources)

    def public_sources(self) -> Iterator[tuple[Named, Relation]]:
        """Yield names and relations, all of which are public."""
        for named, source in zip(self._names.sources, self.sources, strict=True):
            yield named, source.relation

    def add(self, name: str, relation: Relation, join: exp.Expr | None) -> None:
        """Take a relation in, by FROM or by a join.

        Raises:
            QueryRefused: It is joined in a way that could pair up different entities.
        """
        side = str(join.args.get("side") or "").upper() if join else ""
        how = str(join.args.get("kind") or "").upper() if join else ""
        if side not in {"", "LEFT"} or how not in {"", "INNER", "OUTER"}:
            raise refusal("Q-08", "Joins are INNER or LEFT.")
        left = side == "LEFT"
        if left and relation.entity and not self.entity:
            raise refusal("Q-08", "A left join begins with a table about entities.")
        merged = [each.name for each in join.args.get("using") or []] if join else []
        pairs = [self._pair(each, relation) for each in merged]
        self._names.add(Named(name, relation.outputs, relation.tables(), left))
        index = len(self.sources)
        if join is None:
            self.sources.append(Source(relation))
            return
        on = [
            *(
                build("eq", tuple(self.scalars.alike([one, self._names.at(index, place)])), v.BOOL)
                for one, place in pairs
            ),
            *self._conjuncts(join.args.get("on")),
        ]
        # Where USING made two columns one, the first one is meant.
        self._names.merge(merged)
        self.sources.append(self._joined(relation, "left" if left else "inner", on, index))

    def _pair(self, name: str, relation: Relation) -> tuple[Expr, int]:
        found = self._names.find("", name)
        places = [p for p, each in enumerate(relation.outputs) if each.name.lower() == name.lower()]
        if found is None or not places:
            raise refusal("Q-04", "USING names a column of both tables.")
        return found, places[0]

    def _conjuncts(self, node: exp.Expr | None) -> list[Expr]:
        """Return the parts of a join's condition; equality of keys is allowed here alone."""
        if node is None:
            return []
        if isinstance(node, exp.Paren):
            return self._conjuncts(node.this)
        if isinstance(node, exp.And):
            return [*self._conjuncts(node.this), *self._conjuncts(node.expression)]
        if isinstance(node, exp.EQ):
            sides = [self.scalars.any(node.this), self.scalars.any(node.expression)]
            if any(each.type.kind is Kind.KEY for each in sides):
                return [build("eq", tuple(sides), v.BOOL)]
        return [self.scalars.truth(node)]

    def _joined(self, relation: Relation, kind: str, on: list[Expr], index: int) -> Source:
        keys = [each for each in on if each.args and _keyed(each)]
        rest = [each for each in on if not _keyed(each)]
        linked = [each for each in keys if self._links(each, index)]
        if len(linked) != len(keys):
            raise refusal("Q-08", "Keys are compared with the entity's key alone.")
        if relation.entity and self.entity:
            if not linked:
                raise refusal("Q-08", "The entity's key has to be equal on both sides.")
            return Source(relation, kind, tuple(rest), entity=True)
        if not any(each.op == "eq" and _crosses(each, index) for each in rest):
            raise refusal("Q-08", "A public table is joined on equal columns.")
        return Source(relation, kind, tuple(rest))

    def _links(self, equal: Expr, index: int) -> bool:
        """Whether a condition says that the entity of a source is that of an earlier one."""
        places = {each.args[0] for each in equal.args}
        names = {each.text for each in equal.args}
        own = f"{ENTITY}?{self._names.sources[index].name}"
        return index in places and len(places) == 2 and names <= {ENTITY, own} and (ENTITY in names)

    # ---------------------------------------------------------------------- expressions

    def where(self, node: exp.Expr | None) -> None:
        """Take the conditions of WHERE in."""
        if node is not None:
            found = self.scalars.truth(node.this)
            self.conditions += found.args if found.op == "and" else [found]
        self._clause = "select"

    def column(self, table: str, name: str) -> Expr:
        """Return a column of a source, else what the name stands for in this SELECT."""
        found = self._names.find(table, name)
        if found is None and not table:
            found = self._meant.get(name.lower())
        if found is not None:
            return found
        meant = self._aliases.get(name.lower()) if not table else None
        if meant is None:
            raise refusal("Q-04", f"No table of FROM has a column `{name}`.")
        # Not itself again: `x + 1 as x` has no x to stand on.
        rest = {each: what for each, what in self._aliases.items() if each != name.lower()}
        before, self._aliases = self._aliases, rest
        try:
            made = self._meant[name.lower()] = self.scalars.any(meant)
        finally:
            self._aliases = before
        return made

    def alias(self, items: Sequence[exp.Expr]) -> None:
        """Let names given in this SELECT stand for what they name."""
        self._aliases = {
            str(each.args["alias"].this).lower(): each.this
            for each in items
            if isinstance(each, exp.Alias)
        }
        self._meant = {}

    def all(self, table: str = "") -> list[Output]:
        """Return the columns that ``*`` means."""
        return self._names.all(table)

    def special(self, node: exp.Expr) -> Expr | None:
        """Return a semi-join or a window; aggregates have no place in a row."""
        if isinstance(node, exp.In) and node.args.get("query") is not None:
            return self._semi_join(node)
        if isinstance(node, exp.Window):
            if self._clause != "select":
                raise refusal("Q-11", "A window stands in the SELECT list.")
            return self._window(node)
        if isinstance(node, exp.Exists):
            return self._exists(node)
        if isinstance(node, exp.Select | exp.Subquery | exp.Union):
            raise refusal("Q-12")
        if isinstance(node, aggregates.NODES):
            raise refusal("Q-10", "An aggregate has no place here.")
        return None

    def _semi_join(self, node: exp.In) -> Expr:
        value = self.scalars.any(node.this)
        found = self.analysis.query(node.args["query"], self._known)
        if isinstance(found, Result) or len(found.outputs) != 1:
            raise refusal("Q-12")
        of = found.outputs[0].value
        if value.text == ENTITY and found.entity and of.text == ENTITY:
            op = "in_entities"
        elif not found.entity and Kind.KEY not in {value.type.kind, of.type.kind}:
            value, of = self.scalars.alike([value, of])
            if value.type.bin:
                raise refusal("Q-27", "A public table is a list of constants.")
            if of.op == "scale" or value.op == "scale":
                raise refusal("Q-05", "The numbers differ in their decimals.")
            op = "in_public"
        else:
            raise refusal("Q-12")
        spelt = f"{op}({value.text},{of.text},{';'.join(found.predicate)})"
        return Expr(op, (value, found), v.BOOL, spelt, columns=value.columns | of.columns,
                    sensitive=value.sensitive | of.sensitive | found.sensitive())  # fmt: skip

    def _exists(self, node: exp.Exists) -> Expr:
        """Return EXISTS (... WHERE inner.key = outer.key ...) as the semi-join that it is."""
        select = node.this
        plain = ("group", "having", "qualify", "order", "limit", "offset", "distinct", "with_")
        if not isinstance(select, exp.Select) or any(select.args.get(each) for each in plain):
            raise refusal("Q-12")
        inner = self.analysis.sources(select, self._known)
        where = select.args.get("where")
        link = None
        for each in _anded(where.this if where is not None else None):
            found = self._outer_link(each, inner) if link is None else None
            link = found or link
            if found is None:
                self._inside(each, inner)
        if link is None or not inner.entity:
            raise refusal("Q-12", "EXISTS compares the entity's key inside and outside.")
        relation = inner.relation([])
        spelt = f"in_entities({link.text},{';'.join(relation.predicate)})"
        return Expr("in_entities", (link, relation), v.BOOL, spelt, columns=link.columns,
                    sensitive=relation.sensitive())  # fmt: skip

    def _inside(self, condition: exp.Expr, inner: Rows) -> None:
        """Take a condition of EXISTS in, which is about what stands inside.

        Raises:
            QueryRefused: It compares with a column outside, and not on the entity's key.
        """
        for each in condition.find_all(exp.Column):
            if inner.named(each) is None and self.named(each) is not None:
                raise refusal(
                    "Q-12",
                    "EXISTS compares the entity's key inside and outside, and nothing else of"
                    " outside.",
                    "Join the tables, or ask for the column IN (SELECT ...) of a public table.",
                )
        inner.condition(condition)

    def _outer_link(self, node: exp.Expr, inner: Rows) -> Expr | None:
        """Return the outer entity's key, if a condition says that it is the inner one's."""
        if not isinstance(node, exp.EQ):
            return None
        for one, other in ((node.this, node.expression), (node.expression, node.this)):
            if not isinstance(one, exp.Column) or not isinstance(other, exp.Column):
                return None
            inside, outside = inner.named(one), self.named(other)
            if (
                inside is not None
                and inside.text == ENTITY
                and inner.named(other) is None
                and (outside is not None and outside.text == ENTITY)
            ):
                return outside
        return None

    def named(self, node: exp.Column) -> Expr | None:
        """Return a column of a source, or None if there is none."""
        table = node.args.get("table")
        return self._names.find(str(table.this) if table else "", str(node.this.this))

    def condition(self, node: exp.Expr) -> None:
        """Take one condition in."""
        self.conditions.append(self.scalars.truth(node))

    def _window(self, node: exp.Window) -> Expr:
        partition = [binned(self.scalars.any(each)) for each in node.args.get("partition_by") or []]
        if not self.has_entity(partition):
            raise refusal("Q-11")
        if node.args.get("spec") is not None:
            raise refusal("Q-03", "Windows over rows take no frame.")
        order = node.args.get("order")
        items = [(binned(self.scalars.any(e.this)), bool(e.args.get("desc")))
                 for e in (order.expressions if order else [])]  # fmt: skip
        called = self._function(node.this)
        others = tuple(each for each in partition if each.text != ENTITY)
        made = self._over(called, others, items)
        if called.known is None:
            return made
        known = called._replace(of=called.known[0], kind=called.known[1])
        return replace(made, known=self._over(known, others, items))

    def _over(self, called: _Called, others: tuple[Expr, ...],
              items: Sequence[tuple[Expr, bool]]) -> Expr:  # fmt: skip
        """Return a function over the rows of a person, in parts and in an order."""
        name, of, kind, offset, _ = called
        keyed = build("sort", (*(e for e, _ in items),), v.BOOL)
        spelt = "".join("-" if down else "+" for _, down in items)
        ties = self._ties() if name in {"row_number", "lag", "lead"} else []
        flat = (name, of, offset, len(others), len(items), spelt, *others,
                *(each for each, _ in items), *ties)  # fmt: skip
        made = build("window", flat, kind, exact=True)
        within = ",".join(sorted(each.text for each in others))
        text = f"{name}({of.text if of else ''},{offset}) over ({within};{keyed.text}{spelt})"
        return Expr(made.op, made.args, kind, text, raw=made.raw, columns=made.columns,
                    sensitive=made.sensitive, told=made.told)  # fmt: skip

    def _ties(self) -> list[Expr]:
        """Return what breaks ties: all that a row has, so that rows that tie are equal.

        What conditions may know comes first. Rows that are equal in that look alike to all that is
        made of them, whichever the numbers as they are put first.
        """
        found = [each.value for each in self._names.all()]
        return [*map(binned, found), *(each for each in found if each.type.bin)]

    def _function(self, node: exp.Expr) -> _Called:
        """Return what a window calls."""
        name, rows = type(node).__name__, self.rows_of_one()
        if name in _RANKS:
            return _Called(_RANKS[name], None, Type(Kind.INT, 0, 1, rows))
        if name in _SHIFTED:
            given = node.args.get("offset")
            offset = self.scalars.number(given) if given is not None else v.integer(1)
            if offset.op != "int" or offset.type.scale or not 0 <= offset.args[0] <= 1000:
                raise refusal("Q-05", "An offset is written out, 0 to 1000.")
            of = self.scalars.data(node.this)
            known = None if of.known is None else (of.known, of.known.type)
            return _Called(_SHIFTED[name], of, of.type, offset.args[0], known)
        if name in _OVER:
            made = aggregates.of_one(node, self.scalars, "window", rows)
            known = None if made.known is None else (made.known.args[1], made.known.type)
            return _Called(str(made.args[0]), made.args[1], made.type, known=known)
        raise refusal("Q-11", "Windows over rows: row_number, rank, lag, lead, sum and the like.")

    # ----------------------------------------------------------------------------- keys

    def group_keys(self, node: exp.Select) -> list[Expr] | None:
        """Return the keys of GROUP BY or DISTINCT; None without one."""
        self.alias(node.expressions)
        group = node.args.get("group")
        if group is not None and group.args.get("all"):
            return [
                self.scalars.any(_bare(each))
                for each in node.expressions
                if not _has(each, aggregates.NODES)
            ]
        if group is not None:
            return [self._key(each, node) for each in group.expressions]
        if node.args.get("distinct") is None:
            return None
        if node.args["distinct"].args.get("expressions") or _has(node, aggregates.NODES):
            raise refusal("Q-15", "DISTINCT stands alone, over rows without aggregates.")
        return [self.scalars.any(_bare(each)) for each in node.expressions]

    def _key(self, node: exp.Expr, select: exp.Select) -> Expr:
        if isinstance(node, exp.Literal) and not node.args.get("is_string"):
            place = int(str(node.this)) if str(node.this).isdigit() else 0
            if not 1 <= place <= len(select.expressions):
                raise refusal("Q-09", "GROUP BY names a column that is not there.")
            node = select.expressions[place - 1]
        return self.scalars.any(_bare(node))

    def once(self, key: Expr) -> bool:
        """Whether one entity has one value of a key: a column of a table with one row of each."""
        table, _, _ = key.text.partition(".")
        bare = key.text.partition("#")[0] in key.columns
        return bare and table in self.analysis.policy.single

    def has_entity(self, keys: Sequence[Expr]) -> bool:
        """Whether the entity is among keys."""
        return any(each.text == ENTITY for each in keys)

    def rows_of_one(self) -> int:
        """Return the most rows of one entity that count.

        Raises:
            QueryRefused: They are too many, or it is not known how many rows of a public table
                have one value.
        """
        if len(self.sources) == 1:
            return self.sources[0].relation.rows
        fanout = self.analysis.fanout
        rows = fanout.rows_of(self.sources, self.conditions)
        if rows > MAX_ROWS_OF_ONE and self.entity:
            raise refusal("Q-02", _TOO_MANY)
        # Of public tables that are larger by themselves, a join may have as many.
        if rows > MAX_ROWS_OF_ONE and rows > fanout.largest(self.sources):
            raise refusal("Q-02", _TOO_MANY_PUBLIC)
        return rows

    def relation(self, outputs: Sequence[Output]) -> Relation:
        """Return the rows with these columns.

        Raises:
            QueryRefused: One entity could have so many that the time would tell of her.
        """
        rows = self.rows_of_one()
        predicate = {each.text for each in self.conditions}
        marks = apart(self.sources, self.analysis.policy.single)
        for own, source in zip(marks, self.sources, strict=True):
            mark = "left " if source.kind == "left" else ""
            predicate |= {f"{own}{mark}{each}" for each in source.relation.predicate}
            predicate |= {f"{mark}{each.text}" for each in source.on}
        return Relation(
            tuple(outputs),
            self.entity,
            rows,
            sources=tuple(self.sources),
            where=tuple(self.conditions),
            predicate=tuple(sorted(predicate)),
        )


def _anded(node: exp.Expr | None) -> list[exp.Expr]:
    if node is None:
        return []
    if isinstance(node, exp.Paren):
        return _anded(node.this)
    if isinstance(node, exp.And):
        return [*_anded(node.this), *_anded(node.expression)]
    return [node]


def _bare(node: exp.Expr) -> exp.Expr:
    return node.this if isinstance(node, exp.Alias) else node


def _has(node: exp.Expr, kinds: tuple[type, ...]) -> bool:
    return any(isinstance(each, kinds) for each in node.walk())


def _keyed(condition: Expr) -> bool:
    return any(isinstance(e, Expr) and e.type.kind is Kind.KEY for e in condition.args) and (
        condition.op == "eq"
    )


def _crosses(equal: Expr, index: int) -> bool:
    """Whether an equality is between a column of one source and one of another."""
    sides = [{p.args[0] for p in each.parts() if p.op == "col"} for each in equal.args]
    return len(sides) == 2 and all(sides) and (sides[0] == {index}) != (sides[1] == {index})
