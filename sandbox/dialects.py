"""What each operation of a plan is in the SQL of an engine: one table a dialect, nothing else.

A function that is not in the table can't be emitted, so an engine only ever sees what was tried on
it. Where DuckDB and PostgreSQL differ in the last bit (rounding of halves, NULLs in ORDER BY,
names of types), the table says it so that both give the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

from sandbox.names import ENTITY
from sandbox.refusals import refusal
from sandbox.values import Expr, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sandbox.relations import Relation

Name = Literal["duckdb", "postgres", "spark"]
_TYPES: Final = {
    "duckdb": {"real": "DOUBLE", "huge": "HUGEINT", "text": "VARCHAR"},
    "postgres": {"real": "DOUBLE PRECISION", "huge": "NUMERIC", "text": "VARCHAR"},
    "spark": {"real": "DOUBLE", "huge": "DECIMAL(38, 0)", "text": "STRING"},
}
MAX_CHARACTERS: Final = 200
"""Of a text, what is read: as many as a value of a policy may have. Longer ones are cut off, since
a reply has room for so many: nobody's long value makes a query fail."""

MAX_EXPRESSION: Final = 100_000
"""Characters of one expression in SQL. Some operations name an argument twice, and so does each of
those that stand in it: NULLIF is written out, since engines write it out too."""

_FORMATS: Final = {"%Y": "YYYY", "%Y-%m": "YYYY-MM"}

_PLAIN: Final[Mapping[str, str]] = {
    "eq": "({0} = {1})", "ne": "({0} <> {1})", "lt": "({0} < {1})", "le": "({0} <= {1})",
    "same": "({0} IS NOT DISTINCT FROM {1})", "other": "({0} IS DISTINCT FROM {1})",
    "not": "(NOT {0})", "isnull": "({0} IS NULL)", "between": "({0} BETWEEN {1} AND {2})",
    "add": "({0} + {1})", "sub": "({0} - {1})", "mul": "({0} * {1})", "neg": "(- {0})",
    "div": "({0} / CASE WHEN {1} <> 0 THEN {1} END)", "abs": "abs({0})",
    "mod": "({0} % {1})", "nullif": "(CASE WHEN {0} = {1} THEN NULL ELSE {0} END)",
    "sqrt": "(CASE WHEN {0} >= 0 THEN sqrt(abs({0})) END)",
    "ln": "(CASE WHEN {0} > 0 THEN ln(CASE WHEN {0} > 0 THEN {0} ELSE 1 END) END)",
    "log10": "(CASE WHEN {0} > 0 THEN log10(CASE WHEN {0} > 0 THEN {0} ELSE 1 END) END)",
    "log2": "(CASE WHEN {0} > 0 THEN log2(CASE WHEN {0} > 0 THEN {0} ELSE 1 END) END)",
    "exp": "exp({0})", "dayname": "dayname({0})", "monthname": "monthname({0})",
    "upper": "upper({0})", "lower": "lower({0})", "trim": "trim({0})",
    "length": "CAST(length(left({0}, 10000)) AS BIGINT)",
    "left": "left({0}, {1})", "right": "right({0}, {1})", "substring": "substring({0}, {1}, {2})",
    "like": "({0} LIKE {1})", "ilike": "({0} ILIKE {1})", "starts": "starts_with({0}, {1})",
    "contains": "(strpos({0}, {1}) > 0)",
}  # fmt: skip
_MANY: Final = {"and": " AND ", "or": " OR "}
_LISTS: Final = {"coalesce": "COALESCE", "greatest": "GREATEST", "least": "LEAST"}  # fmt: skip
_OF_ONE: Final = {"rows": "count", "count": "count", "sum": "sum", "avg": "avg", "min": "min",
                  "max": "max"}  # fmt: skip


def type_name(dialect: Name, kind: str) -> str:
    """Return what an engine calls a type: ``real``, ``huge`` or ``text``."""
    return _TYPES[dialect][kind]


def quoted(name: str, dialect: Name = "duckdb") -> str:
    """Return a name as SQL writes it."""
    if dialect == "spark":
        return "`" + name.replace("`", "``") + "`"
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return a text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"


def spark_literal(text: str) -> str:
    """Return a text as Spark writes it, where a backslash begins an escape."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\u0027").replace("$", "\\u0024")
    return f"'{escaped}'"


def cut(text: str) -> str:
    """Return the expression of a text that is not longer than what is read of one."""
    return f"left({text}, {MAX_CHARACTERS})"


def total(value: str, dialect: Name) -> str:
    """Return the sum of whole numbers, which can be larger than 64 bits hold."""
    return f"sum(CAST({value} AS DECIMAL(38, 0)))" if dialect == "spark" else f"sum({value})"


def lower_end(value: str, step: int, *, signed: bool) -> str:
    """Return the greatest multiple of a step that is not above a whole number."""
    over = f"{value} % {step}"
    if signed:
        # A remainder has the sign of what is divided.
        over = f"({over} + {step}) % {step}"
    return f"({value} - {over})"


class Dialect:
    """Writes expressions for one engine."""

    def __init__(self, name: Name, relation: Callable[[Relation], str], *,
                 released: bool = False) -> None:  # fmt: skip
        """Write for an engine.

        Args:
            name: Of the dialect.
            relation: Returns the name under which a relation stands.
            released: Whether expressions are over released cells: there numbers are real, in
                units, whatever decimals their types have.
        """
        self.name = name
        self._relation = relation
        self._released = released

    def kind(self, name: str) -> str:
        """Return the name of a type."""
        return _TYPES[self.name][name]

    def sql(self, of: Expr) -> str:
        """Return the text of an expression.

        Raises:
            QueryRefused: It is too long.
        """
        made = self._sql(of)
        if len(made) > MAX_EXPRESSION:
            raise refusal("Q-02")
        return made

    def _sql(self, of: Expr) -> str:
        special = getattr(self, f"_{of.op}", None)
        if special is not None:
            return str(special(of))
        args = [self.sql(each) if isinstance(each, Expr) else str(each) for each in of.args]
        if of.op in _MANY:
            return f"({_MANY[of.op].join(args)})"
        if of.op in _LISTS:
            return f"{_LISTS[of.op]}({', '.join(args)})"
        return _PLAIN[of.op].format(*args)

    # ---------------------------------------------------------------------------- leaves

    def _col(self, of: Expr) -> str:
        if self.grouped and of.type.kind is Kind.KEY and of.text == ENTITY:
            return self.entity
        return f"s{of.args[0]}.c{of.args[1]}"

    def _int(self, of: Expr) -> str:
        if self._released:
            return f"(CAST({of.args[0]} AS DOUBLE) / 1e{of.type.scale})"
        return f"CAST({of.args[0]} AS BIGINT)"

    def _text(self, of: Expr) -> str:
        return literal(of.args[0])

    def _date(self, of: Expr) -> str:
        return f"CAST({literal(of.args[0])} AS DATE)"

    def _bool(self, of: Expr) -> str:
        return "TRUE" if of.args[0] else "FALSE"

    def _null(self, _of: Expr) -> str:
        return "NULL"

    # --------------------------------------------------------------------------- numbers

    def _real(self, of: Expr) -> str:
        made = f"CAST({self.sql(of.args[0])} AS {self.kind('real')})"
        return f"({made} / 1e{of.args[1]})" if of.args[1] and not self._released else made

    def _scale(self, of: Expr) -> str:
        value = self.sql(of.args[0])
        return value if self._released else f"({value} * {of.args[1]})"

    def _whole(self, of: str, how: str) -> str:
        """Return a real number made whole, halves away from 0 on every engine."""
        if how == "round" and self.name == "postgres":
            of = f"CAST({of} AS NUMERIC)"
        return f"CAST({how}({of}) AS BIGINT)"

    def _by_int(self, of: Expr) -> str:
        how = of.op.removesuffix("_int")
        shrunk = f"CAST({self.sql(of.args[0])} AS {self.kind('real')}) / {of.args[1]}"
        return self._whole(shrunk, how)

    _round_int = _floor_int = _ceil_int = _by_int

    def _by_real(self, of: Expr) -> str:
        how = of.op.removesuffix("_real")
        return self._whole(f"{self.sql(of.args[0])} * {of.args[1]}", how)

    _round_real = _floor_real = _ceil_real = _by_real

    def _wide(self, of: Expr) -> str:
        left, right = (self.sql(each) for each in of.args)
        return f"(CAST({left} AS {self.kind('huge')}) * {right})"

    def _within(self, of: Expr) -> str:
        # Where its bounds are depends on the cell: :mod:`sandbox.edges`.
        return self.sql(of.args[0])

    def _round(self, of: Expr) -> str:
        return f"round({self.sql(of.args[0])}, {of.args[1]})"

    def _fitting(self, of: Expr) -> str:
        """Return a number of a cell as a whole one of a type; NULL where it has no room."""
        return f"CAST(TRY_CAST(round({self.sql(of.args[0])}) AS {of.args[1]}) AS BIGINT)"

    def _floor(self, of: Expr) -> str:
        return f"{of.op}({self.sql(of.args[0])})"

    _ceil = _floor

    def _bin(self, of: Expr) -> str:
        value, step, half = of.args
        read = self.sql(value)
        low = lower_end(read, step, signed=value.type.low < 0)
        return f"(CASE WHEN {read} % {step} = 0 THEN {read} ELSE {low} + {half} END)"

    def _sign(self, of: Expr) -> str:
        return f"CAST(sign(CAST({self.sql(of.args[0])} AS {self.kind('real')})) AS BIGINT)"

    def _idiv(self, of: Expr) -> str:
        value, by = self.sql(of.args[0]), of.args[1]
        if of.type.kind is Kind.REAL:
            return f"trunc({value} / {by})"
        return f"({value} // {by})" if self.name == "duckdb" else f"({value} / {by})"

    # ----------------------------------------------------------------------------- texts

    # A text that is put together is as long as one that was read (`sandbox.tables`), of results
    # too: put together with itself again and again, it would fill the memory.

    def _spelt(self, of: Expr) -> str:
        value = self.sql(of.args[0])
        if self._released and of.args[0].type.kind is Kind.INT:
            # There whole numbers that are written out are real ones, and would have a point.
            value = f"CAST({value} AS BIGINT)"
        return f"CAST({value} AS VARCHAR)"

    def _join(self, of: Expr) -> str:
        return cut(f"({self.sql(of.args[0])} || {self.sql(of.args[1])})")

    def _concat(self, of: Expr) -> str:
        return cut(f"concat({', '.join(self.sql(each) for each in of.args)})")

    # ---------------------------------------------------------------------------- choice

    def _case(self, of: Expr) -> str:
        args = [self.sql(each) for each in of.args]
        branches = " ".join(
            f"WHEN {args[place]} THEN {args[place + 1]}" for place in range(0, len(args) - 1, 2)
        )
        return f"(CASE {branches} ELSE {args[-1]} END)"

    def _in(self, of: Expr) -> str:
        value, *items = (self.sql(each) for each in of.args)
        return f"({value} IN ({', '.join(items)}))"

    def _in_entities(self, of: Expr) -> str:
        return f"({self.sql(of.args[0])} IN (SELECT e FROM {self._relation(of.args[1])}))"

    def _in_public(self, of: Expr) -> str:
        return f"({self.sql(of.args[0])} IN (SELECT c0 FROM {self._relation(of.args[1])}))"

    # ------------------------------------------------------------------------------ days

    def _part(self, of: Expr) -> str:
        return f"CAST(extract({of.args[0]} FROM {self.sql(of.args[1])}) AS BIGINT)"

    def _truncated(self, of: Expr) -> str:
        return f"CAST(date_trunc('{of.args[0]}', {self.sql(of.args[1])}) AS DATE)"

    def _day_spelt(self, of: Expr) -> str:
        form, day = of.args[0], self.sql(of.args[1])
        if self.name == "duckdb":
            return f"strftime({day}, '{form}')"
        return f"to_char({day}, '{_FORMATS[form]}')"

    def _days_between(self, of: Expr) -> str:
        unit, first, last = of.args[0], self.sql(of.args[1]), self.sql(of.args[2])
        if unit == "day":
            return f"CAST({last} - {first} AS BIGINT)"
        if unit == "week":
            whole = [f"CAST(date_trunc('week', {each}) AS DATE)" for each in (last, first)]
            divided = "//" if self.name == "duckdb" else "/"
            return f"(CAST({whole[0]} - {whole[1]} AS BIGINT) {divided} 7)"
        return f"({self._units(unit, last)} - {self._units(unit, first)})"

    def _units(self, unit: str, day: str) -> str:
        year = f"CAST(extract(year FROM {day}) AS BIGINT)"
        if unit == "year":
            return year
        per, part = (12, "month") if unit == "month" else (4, "quarter")
        return f"({year} * {per} + CAST(extract({part} FROM {day}) AS BIGINT))"

    def _shifted(self, of: Expr) -> str:
        unit, by, day = of.args[0], of.args[1], self.sql(of.args[2])
        if unit == "day":
            return f"({day} + CAST({by} AS INTEGER))"
        return f"CAST({day} + INTERVAL '{by} month' AS DATE)"

    # -------------------------------------------------------------- aggregates and windows

    def _agg(self, of: Expr) -> str:
        return self._of_one(of.args[0], of.args[1], of, "")

    def _of_one(self, name: str, value: Expr | None, of: Expr, over: str) -> str:
        """Return an aggregate over the rows of one entity, cut off at its bounds."""
        arg = "*" if value is None else self.sql(value)
        call = f"{_OF_ONE.get(name, name)}({arg}){over}"
        whole = value is not None and value.type.kind is Kind.INT
        if name == "sum" and whole:
            call = f"{total(arg, self.name)}{over}"
        if name == "avg" and value is not None:
            added = total(arg, self.name) if whole else f"sum({arg})"
            real = f"CAST({added}{over} AS {self.kind('real')}) / 1e{value.type.scale}"
            return f"({real} / NULLIF(count({arg}){over}, 0))"
        if name in {"rows", "count"}:
            return f"LEAST({call}, {int(of.type.high)})"
        if name == "sum":
            low, high = (round(each * 10**of.type.scale) for each in (of.type.low, of.type.high))
            # NULL has to stay NULL: GREATEST and LEAST pass over it.
            return (
                f"CAST(CASE WHEN {call} > {high} THEN {high} WHEN {call} < {low} THEN {low} "
                f"ELSE {call} END AS BIGINT)"
            )
        return call

    def _window(self, of: Expr) -> str:
        name, value, offset, others, items, signs = of.args[:6]
        rest = [self.sql(each) for each in of.args[6:]]
        partition = ", ".join([self._entity(), *rest[:others]])
        order = [f"{each} {'DESC' if signs[place] == '-' else 'ASC'} NULLS LAST"
                 for place, each in enumerate(rest[others : others + items])]  # fmt: skip
        order += [f"{each} NULLS LAST" for each in rest[others + items :]]
        inside = f"PARTITION BY {partition}" + (f" ORDER BY {', '.join(order)}" if order else "")
        over = f" OVER ({inside})"
        if name in {"row_number", "rank", "dense_rank"}:
            return f"{name}(){over}"
        if name in {"lag", "lead"}:
            return f"{name}({self.sql(value)}, {offset}){over}"
        return self._of_one(name, value, of, over)

    def _entity(self) -> str:
        return self.entity

    entity = "s0.e"
    """Where the entity stands in the relation that is being written."""

    grouped = False
    """Whether that has one row for each entity: columns that name it are no keys of their own."""

    def _total(self, of: Expr) -> str:
        name, value = of.args
        return f"{name}({'*' if value is None else self.sql(value)})"

    def _over(self, of: Expr) -> str:
        name, value, offset, frame, count = of.args[:5]
        partition = [self.sql(each) for each in of.args[5 : 5 + count]]
        rest: list[Any] = list(of.args[5 + count :])
        order = [ordering(self.sql(rest[i]), rest[i + 1], rest[i + 2])
                 for i in range(0, len(rest), 3)]  # fmt: skip
        inside = f"PARTITION BY {', '.join(partition)} " if partition else ""
        inside += f"ORDER BY {', '.join(order)} " if order else ""
        arg = "*" if value is None and name == "count" else ""
        if name == "ntile":
            arg = str(value.args[0])
        elif value is not None:
            arg = self.sql(value) + (f", {offset}" if name in {"lag", "lead"} else "")
        return f"{name}({arg}) OVER ({inside}{frame})"


def ordering(value: str, descending: bool, nulls_first: bool) -> str:  # noqa: FBT001 - as they are
    """Return an item of ORDER BY."""
    down, first = "DESC" if descending else "ASC", "FIRST" if nulls_first else "LAST"
    return f"{value} {down} NULLS {first}"
