"""From a plan to SQL: each core in one two-level pass, group by keys and entity, then by keys.

The inner level adds up what one entity contributes and cuts it off at its bound; the outer level
counts entities and gives all that suppression needs: how many contribute, their total, the largest
contribution, the sum of squares, and the key of the set of contributors. Nothing is decided here;
the rules are in :mod:`sandbox.disclosure`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from sandbox import edges, tables
from sandbox.aggregates import MAX_BOUND
from sandbox.dialect_spark import SparkDialect
from sandbox.dialects import Dialect, lower_end, quoted, total, type_name
from sandbox.partials import MAX_CELLS
from sandbox.quantiles import BESIDE
from sandbox.refusals import refusal
from sandbox.values import Expr, Kind, Type

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sandbox.dialects import Name
    from sandbox.policy import Policy
    from sandbox.relations import Core, Measure, Relation, Source, Statistic

MAX_TEXT: Final = 400_000
Coded = frozenset[str] | None
KINDS: Final = {
    Kind.TEXT: "text", Kind.INT: "whole", Kind.REAL: "real", Kind.BOOL: "truth", Kind.DATE: "day",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class CoreQuery:
    """SQL for one engine, and what its rows are.

    Attributes:
        sql: One SELECT.
        columns: Name and kind (``text``, ``whole``, ``real``, ``truth``, ``day``) of each column.
        tables: The tables it reads.
    """

    sql: str
    columns: tuple[tuple[str, str], ...]
    tables: tuple[str, ...]


def _dialect(name: Name) -> type[Dialect]:
    return SparkDialect if name == "spark" else Dialect


class Writer:
    """Writes the relations below one core as WITH clauses, each once, with needed columns only."""

    def __init__(self, policy: Policy, dialect: Name, coded: Coded = None) -> None:
        """Write for an engine.

        Args:
            policy: What is read of tables, and how.
            dialect: Of the engine.
            coded: Of a store (:mod:`sandbox.store`), the columns that have codes; None where the
                engine reads the tables themselves.
        """
        self.dialect = dialect
        self._policy = policy
        self._coded = coded
        self._needed: dict[int, set[int]] = {}
        self._names: dict[int, str] = {}
        self._clauses: list[str] = []

    def relation(self, relation: Relation) -> str:
        """Return the name of a relation, whose clause is written by now."""
        name = self._names.get(id(relation))
        if name is None:
            body = self._base(relation) if relation.table else self._select(relation)
            name = self._names[id(relation)] = f"r{len(self._names)}"
            self._clauses.append(f"{name} AS ({body})")
        return name

    def need(self, relation: Relation, columns: Iterable[int]) -> None:
        """Remember which columns are used."""
        first = id(relation) not in self._needed
        known = self._needed.setdefault(id(relation), set())
        new = set(columns) - known
        known |= new
        exprs = [relation.outputs[place].value for place in sorted(new)]
        if first:
            exprs += [*relation.where, *relation.having, *(relation.group or ())]
            exprs += [each for source in relation.sources for each in source.on]
            for source in relation.sources:
                self.need(source.relation, ())
        for expr in exprs:
            for part in expr.parts():
                if part.op == "col":
                    self.need(relation.sources[part.args[0]].relation, [part.args[1]])
                for arg in part.args:
                    if part.op in {"in_entities", "in_public"} and not isinstance(arg, Expr):
                        self.need(arg, () if part.op == "in_entities" else [0])

    def clauses(self) -> str:
        """Return the WITH clauses, without the word."""
        return ", ".join(self._clauses)

    def has_codes(self, relation: Relation, place: int) -> bool:
        """Whether a column is one of a store's with codes: then ``d{place}`` has them."""
        value = relation.outputs[place].value
        if relation.table is not None:
            return f"{relation.table}.{value.args[0]}" in (self._coded or ())
        if relation.group is not None or value.op != "col":
            return False
        source, column = value.args
        return self.has_codes(relation.sources[source].relation, column)

    def _stored(self, relation: Relation) -> str:
        """Return what reads a table of a store, where the policy's reading was applied."""
        name = relation.table or ""
        table, wanted = self._policy.tables[name], self._needed.get(id(relation), set())
        columns = [] if table.entity is None else [f"{quoted(tables.ENTITY)} AS e"]
        for place, column in enumerate(table.columns):
            if place in wanted:
                own = tables.ENTITY if column == table.entity else column
                columns.append(f"{quoted(own)} AS c{place}")
                if self.has_codes(relation, place):
                    columns.append(f"{quoted(tables.code(column))} AS d{place}")
        return f"SELECT {', '.join(columns) or '1 AS c'} FROM {quoted(name)}"

    def _base(self, relation: Relation) -> str:
        if self._coded is not None:
            return self._stored(relation)
        table = self._policy.tables[relation.table or ""]
        wanted = self._needed.get(id(relation), set())
        columns = [
            f"{tables.read(name, what, self.dialect)} AS c{place}"
            for place, (name, what) in enumerate(table.columns.items())
            if place in wanted
        ]
        source = quoted(relation.table or "", self.dialect)
        if table.entity is None:
            return f"SELECT {', '.join(columns) or '1 AS c'} FROM {source}"
        entity = tables.read(table.entity, table.columns[table.entity], self.dialect)
        columns.insert(0, f"{entity} AS e")
        return f"SELECT {', '.join(columns)} FROM {source} WHERE {entity} IS NOT NULL"

    def _select(self, relation: Relation) -> str:
        writes = _dialect(self.dialect)(self.dialect, self.relation)
        first = next((i for i, s in enumerate(relation.sources) if s.relation.entity), None)
        writes.entity = f"s{first}.e"
        writes.grouped = relation.group is not None
        wanted = self._needed.get(id(relation), set())
        columns = [f"{writes.entity} AS e"] if relation.entity else []
        columns += [
            f"{writes.sql(each.value)} AS c{place}"
            for place, each in enumerate(relation.outputs)
            if place in wanted
        ]
        for place, each in enumerate(relation.outputs):
            if place in wanted and self.has_codes(relation, place):
                columns.append(f"s{each.value.args[0]}.d{each.value.args[1]} AS d{place}")
        text = f"SELECT {', '.join(columns) or '1 AS c'} FROM {self._from(relation, writes, first)}"
        if relation.where:
            text += f" WHERE {' AND '.join(writes.sql(each) for each in relation.where)}"
        if relation.group is not None:
            keys = [writes.entity, *(writes.sql(each) for each in relation.group)]
            text += f" GROUP BY {', '.join(keys)}"
        if relation.having:
            text += f" HAVING {' AND '.join(writes.sql(each) for each in relation.having)}"
        if len(text) > MAX_TEXT:
            raise refusal("Q-02")
        return text

    def _from(self, relation: Relation, writes: Dialect, first: int | None) -> str:
        parts = []
        for place, source in enumerate(relation.sources):
            name = f"{self.relation(source.relation)} AS s{place}"
            if source.kind == "from":
                parts.append(name)
                continue
            parts.append(f"{self._join(source)} {name} ON {self._on(source, place, writes, first)}")
        return " ".join(parts)

    def _join(self, source: Source) -> str:
        return "LEFT JOIN" if source.kind == "left" else "INNER JOIN"

    def _on(self, source: Source, place: int, writes: Dialect, first: int | None) -> str:
        on = [writes.sql(each) for each in source.on]
        if source.entity:
            on.insert(0, f"s{place}.e = s{first}.e")
        return " AND ".join(on)


def core_sql(
    core: Core, policy: Policy, dialect: Name, *, salt: str = "", coded: Coded = None
) -> CoreQuery:
    """Return the SQL of a core for an engine.

    Args:
        core: The core.
        policy: Its policy.
        dialect: Of the engine.
        salt: Keys the hashes of entities, where noise is wanted; empty for none.
        coded: As :class:`Writer` takes it.
    """
    writer = Writer(policy, dialect, coded)
    writer.need(core.rows, range(len(core.rows.outputs)))
    rows = writer.relation(core.rows)
    keys = [f"c{place}" for place in range(core.keys)]
    columns = columns_of(core, noisy=bool(salt))
    outer = [f"c{place} AS k{place}" for place in range(core.keys)]
    outer += ["count(*) AS n"] + (["bit_xor(x) AS nx"] if salt else [])
    for place, measure in enumerate(core.measures):
        texts = _outer(place, measure, dialect, keyed=bool(salt))
        outer += [f"{text} AS {name}" for name, text in texts]
    group = f" GROUP BY {', '.join(keys)}" if keys else ""
    clauses, counted = [writer.clauses()], rows
    if edges.edged(core):
        clauses += edges.clauses(core, rows, dialect, partial(_at, dialect))
        counted = "near"
    entities = _entities(core, counted, dialect, salt, coded)
    clauses += [f"ent AS ({entities})"]
    clauses.append(f"cells AS (SELECT {', '.join(outer)} FROM ent{group})")
    names = [name for name, _ in columns if not name.startswith("q")]
    select, source = [f"cells.{name}" for name in names], "cells"
    for place, statistic in enumerate(core.statistics):
        if statistic.kind == "quantile":
            name = f"q{place}"
            value = core.measures[statistic.measures[0]].value
            clauses.append(_quantile(name, statistic, rows, keys, dialect, value or 0))
            source += f" LEFT JOIN {name} ON {_same(keys, name)}"
            select += [
                f"{name}.{short} AS {each}"
                for each, short in zip(_quantile_names(place, statistic), "vw", strict=False)
            ]
    # The largest cells first, should there be too many: small ones only take part in suppression.
    last = ["cells.n DESC", *(f"cells.k{place} ASC NULLS LAST" for place in range(core.keys))]
    text = (
        f"WITH {', '.join(clauses)} SELECT {', '.join(select)} FROM {source} "
        f"ORDER BY {', '.join(last)} LIMIT {MAX_CELLS}"
    )
    if len(text) > MAX_TEXT:
        raise refusal("Q-02")
    return CoreQuery(text, columns, tuple(sorted(core.rows.tables())))


def _entities(core: Core, rows: str, dialect: Name, salt: str, coded: Coded) -> str:
    """Return the inner level: what each entity adds to each cell, cut off at its bound."""
    keys = [f"c{place}" for place in range(core.keys)]
    head = ", ".join([*keys, "e"])
    inner = [
        *keys,
        "e",
        *(_inner(place, each, dialect) for place, each in enumerate(core.measures)),
    ]
    for place, each in enumerate(core.measures):
        if each.spread:
            inner += [f"min(c{each.value}) AS l{place}", f"max(c{each.value}) AS h{place}"]
    if salt and coded is None:
        inner.append(f"{_hashed(salt, dialect)} AS x")
    entities = f"SELECT {', '.join(inner)} FROM {rows} GROUP BY {head}"
    if salt and coded is not None:
        # By name, as in the tables themselves, so that the noise of a set stays what it was.
        entities = (
            f"SELECT i.*, {hashed(salt, 'p.e')} AS x FROM ({entities}) AS i "
            f"JOIN {quoted(tables.PEOPLE)} AS p ON p.n = i.e"
        )
    return entities


def columns_of(core: Core, *, noisy: bool) -> tuple[tuple[str, str], ...]:
    """Return name and kind of every column that a core's cells have.

    Args:
        core: The core.
        noisy: Whether sets of entities have keys.
    """
    columns = [(f"k{place}", KINDS[kind.kind]) for place, kind in enumerate(core.key_types)]
    columns += [("n", "whole")] + ([("nx", "whole")] if noisy else [])
    for place, measure in enumerate(core.measures):
        texts = _outer(place, measure, "duckdb", keyed=noisy)
        columns += [(name, "whole") for name, _ in texts]
    columns += [
        (name, "real")
        for place, each in enumerate(core.statistics)
        if each.kind == "quantile"
        for name in _quantile_names(place, each)
    ]
    return tuple(columns)


def _inner(place: int, measure: Measure, dialect: Name) -> str:
    if measure.how == "rows":
        return f"LEAST(count(*), {measure.bound}) AS m{place}"
    if measure.how == "count":
        return f"LEAST(count(c{measure.value}), {measure.bound}) AS m{place}"
    added, bound = total(f"c{measure.value}", dialect), measure.bound
    huge = type_name(dialect, "huge") if bound > MAX_BOUND else "BIGINT"
    return (
        f"CAST(CASE WHEN {added} > {bound} THEN {bound} WHEN {added} < -{bound} THEN -{bound} "
        f"ELSE {added} END AS {huge}) AS m{place}"
    )


def _outer(place: int, measure: Measure, dialect: Name, *, keyed: bool) -> list[tuple[str, str]]:
    """Return name and text of what a cell says of a measure.

    ``n`` contributors, ``t`` total, ``a`` total of magnitudes, ``m``, ``b``, ``c`` the three
    largest magnitudes, ``p``, ``q`` and ``u``, ``v`` the two largest above and below 0, ``s`` the
    squares, ``l`` and ``h`` least and greatest value, ``x`` the key of the set of contributors.
    What follows from the others is left out.
    """
    name, some = f"m{place}", f"m{place} <> 0"
    found = [(f"{name}t", f"COALESCE({total(name, dialect)}, 0)")]
    if measure.spread:
        found += [(f"{name}l", f"min(l{place})"), (f"{name}h", f"max(h{place})")]
    if measure.only_total:
        return found
    found.append((f"{name}n", f"count(*) FILTER (WHERE {some})"))
    if measure.how == "sum":
        size = f"abs({name})" if measure.signed else name
        found += _largest(name, size, "mbc", dialect)
        if measure.signed:
            found.append((f"{name}a", f"COALESCE({total(size, dialect)}, 0)"))
            found += _largest(name, name, "pq", dialect)
            found += _largest(name, f"-{name}", "uv", dialect)
    else:
        found.append((f"{name}m", f"COALESCE(max({name}), 0)"))
        one = f"CAST({name} AS DECIMAL(19, 0))" if dialect == "spark" else name
        found.append((f"{name}s", f"COALESCE({total(f'{one} * {one}', dialect)}, 0)"))
    if keyed:
        found.append((f"{name}x", f"bit_xor(CASE WHEN {some} THEN x ELSE 0 END)"))
    return found


def _largest(name: str, value: str, shorts: str, dialect: Name) -> list[tuple[str, str]]:
    """Return the largest values, in their order."""
    return [
        (f"{name}{short}", f"COALESCE({_at(dialect, name, value, place, len(shorts))}, 0)")
        for place, short in enumerate(shorts, 1)
    ]


def _at(dialect: Name, name: str, value: str, place: int, of: int | None = None) -> str:
    """Return what is the largest value of a group but for so many less one; NULL if none is."""
    if dialect == "duckdb":
        return f"list_extract(max({value}, {of or place}), {place})"
    if dialect == "spark":
        return f"get(sort_array(collect_list({value}), false), {place - 1})"
    order = f"ORDER BY {value} DESC NULLS LAST"
    return f"(array_agg({value} {order}) FILTER (WHERE {name} IS NOT NULL))[{place}]"


def hashed(salt: str, name: str) -> str:
    """Return DuckDB's keyed hash of an entity's name."""
    return f"hash(concat('{salt}', {name}))"


def _hashed(salt: str, dialect: Name) -> str:
    """Return the keyed hash of an entity, a whole number of 64 bits."""
    if dialect == "duckdb":
        return hashed(salt, "CAST(e AS VARCHAR)")
    if dialect == "spark":
        return f"xxhash64('{salt}', CAST(e AS STRING))"
    return f"hashtextextended(concat('{salt}', CAST(e AS VARCHAR)), 0)"


def _quantile(name: str, of: Statistic, rows: str, keys: list[str], dialect: Name,
              value: int) -> str:  # fmt: skip
    group = f" GROUP BY {', '.join(keys)}" if keys else ""
    found = [
        f"{each} AS {short}"
        for each, short in zip(_quantile_of(of, dialect, value), "vw", strict=False)
    ]
    return f"{name} AS (SELECT {', '.join([*keys, *found])} FROM {rows}{group})"


def _quantile_names(place: int, of: Statistic) -> list[str]:
    return [f"q{place}"] if of.exact else [f"q{place}", f"q{place}w"]


def _quantile_of(of: Statistic, dialect: Name, value: int) -> list[str]:
    """Return the texts of a quantile; where it may lie between two values, of one beside it too."""
    real, fraction, read = type_name(dialect, "real"), of.fraction / 10_000, f"c{value}"
    if of.floor:
        read = lower_end(read, of.floor, signed=True)
    if of.exact:
        call = (
            f"quantile_disc({read}, {fraction})"
            if dialect == "duckdb"
            else f"percentile_disc({fraction}) WITHIN GROUP (ORDER BY {read})"
        )
        return [f"CAST({call} AS {real})"]
    both = [f"{fraction}", f"{fraction + BESIDE:.9f}"]
    if dialect == "duckdb":
        call = f"quantile_cont({read}, [{', '.join(both)}])"
        return [f"CAST(list_extract({call}, {place}) AS {real})" for place in (1, 2)]
    if dialect == "postgres":
        call = f"percentile_cont(ARRAY[{', '.join(both)}]) WITHIN GROUP (ORDER BY {read})"
        return [f"CAST(({call})[{place}] AS {real})" for place in (1, 2)]
    return [
        f"CAST(percentile_cont({each}) WITHIN GROUP (ORDER BY {read}) AS {real})" for each in both
    ]


def quantiles_sql(core: Core, policy: Policy, coded: Coded) -> str:
    """Return the SQL of the keys and quantiles of a core over a store; empty if it has none."""
    found = [(place, each) for place, each in enumerate(core.statistics) if each.kind == "quantile"]
    if not found:
        return ""
    writer = Writer(policy, "duckdb", coded)
    writer.need(core.rows, range(len(core.rows.outputs)))
    rows = writer.relation(core.rows)
    keys = [f"c{place}" for place in range(core.keys)]
    columns = list(keys)
    for place, each in found:
        value = core.measures[each.measures[0]].value or 0
        columns += [
            f"{text} AS {name}"
            for text, name in zip(
                _quantile_of(each, "duckdb", value), _quantile_names(place, each), strict=True
            )
        ]
    group = f" GROUP BY {', '.join(keys)}" if keys else ""
    return f"WITH {writer.clauses()} SELECT {', '.join(columns)} FROM {rows}{group}"


def _same(keys: list[str], name: str) -> str:
    if not keys:
        return "TRUE"
    return " AND ".join(
        f"cells.k{place} IS NOT DISTINCT FROM {name}.{key}" for place, key in enumerate(keys)
    )


def codes_sql(core: Core, policy: Policy, dialect: Name) -> str:
    """Return SQL whose rows are (entity, number of the cell), each pair once.

    Cells are numbered from 0 in the order of their keys, NULL last: what a ledger of earlier
    releases keeps of a table, for intersections of entity sets.
    """
    writer = Writer(policy, dialect)
    writer.need(core.rows, range(core.keys))
    rows = writer.relation(core.rows)
    keys = [f"c{place}" for place in range(core.keys)]
    # As Python sorts: by code points, whatever the database's locale.
    plain = ' COLLATE "C"' if dialect == "postgres" else ""
    texts = [plain if each.kind is Kind.TEXT else "" for each in core.key_types]
    order = ", ".join(f"{k}{c} ASC NULLS LAST" for k, c in zip(keys, texts, strict=True)) or "1"
    number = f"CAST(dense_rank() OVER (ORDER BY {order}) - 1 AS BIGINT)" if keys else "0"
    pairs = f"SELECT DISTINCT {', '.join(['e', *keys])} FROM {rows}"
    return f"WITH {writer.clauses()} SELECT e, {number} AS cell FROM ({pairs}) AS pairs"


def public_sql(relation: Relation, policy: Policy, dialect: Name, coded: Coded = None) -> CoreQuery:
    """Return the SQL of public rows: no rule applies to them but that on size."""
    writer = Writer(policy, dialect, coded)
    writer.need(relation, range(len(relation.outputs)))
    name = writer.relation(relation)
    writes = _dialect(dialect)(dialect, writer.relation)
    columns = []
    kinds = []
    for place, each in enumerate(relation.outputs):
        of = Expr("col", (0, place), each.value.type, each.name)
        if of.type.kind is Kind.INT and of.type.scale:
            of = Expr("real", (of, of.type.scale), Type(Kind.REAL), each.name)
        columns.append(f"{writes.sql(of)} AS k{place}")
        kinds.append((f"k{place}", KINDS.get(of.type.kind, "text")))
    limit = min(policy.release.rows + 1, MAX_CELLS)
    text = f"WITH {writer.clauses()} SELECT {', '.join(columns)} FROM {name} AS s0 LIMIT {limit}"
    return CoreQuery(text, tuple(kinds), tuple(sorted(relation.tables())))
