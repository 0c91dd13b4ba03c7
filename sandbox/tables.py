"""How a column is read from an engine: cast without failing, cut off at its bounds, NaN left out.

On DuckDB and Spark every cast is a TRY_CAST, whatever a file holds. PostgreSQL has none, so there a
column's own type has to fit (:data:`POSTGRES_TYPES`), which is looked at before a source is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sandbox.dialects import cut, literal, quoted, spark_literal, type_name
from sandbox.policy import Date, Dimension, Key, Number, Public

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sandbox.dialects import Name
    from sandbox.policy import Column

_WHOLE: Final = frozenset({"smallint", "integer", "bigint"})
_NUMBERS: Final = _WHOLE | {"numeric", "real", "double precision"}
_WORDS: Final = frozenset({"text", "character varying", "character"})
POSTGRES_TYPES: Final[Mapping[str, frozenset[str]]] = {
    "integer": _WHOLE,
    "number": _NUMBERS,
    "text": _WORDS,
    "boolean": frozenset({"boolean"}),
    "date": frozenset({"date"}),
}
"""Type of a policy's column to the types, as information_schema names them, that it reads."""

PEOPLE: Final = "#people"
"""Of a store (:mod:`sandbox.store`), the table with the list of people: ``e``, ``n`` its number.

No name of a policy begins so."""

ENTITY: Final = "#e"
"""Of a table of a store, the column with the number of whom a row is about."""


def code(column: str) -> str:
    """Return the name of the column of a store that has the codes of a text."""
    return f"#{column}"


def kind_of(what: Column) -> str:
    """Return the type of a policy's column."""
    if isinstance(what, Number):
        return "number"
    if isinstance(what, Date):
        return "date"
    return what.type


def read(name: str, what: Column, dialect: Name) -> str:
    """Return the expression that reads a column."""
    column = quoted(name, dialect)
    kind = kind_of(what)
    if kind == "text":
        text = f"CAST({column} AS {type_name(dialect, 'text')})"
        if isinstance(what, Dimension) and what.values:
            written = spark_literal if dialect == "spark" else literal
            known = ", ".join(written(each) for each in what.values)
            return f"CASE WHEN {text} IN ({known}) THEN {text} END"
        # Who a row is about is never cut: two people would be one.
        return text if isinstance(what, Key) else cut(text)
    cast = "CAST" if dialect == "postgres" else "TRY_CAST"
    if kind == "boolean":
        return f"{cast}({column} AS BOOLEAN)"
    if kind == "date":
        day = f"{cast}({column} AS DATE)"
        if isinstance(what, Date):
            low, high = (f"CAST({literal(each)} AS DATE)" for each in (what.low, what.high))
            return _within(day, low, high)
        return _within(day, "CAST('1000-01-01' AS DATE)", "CAST('9000-12-31' AS DATE)")
    if kind == "integer" and isinstance(what, Key):
        return f"{cast}({column} AS BIGINT)"
    return _number(column, what, dialect)


def _within(value: str, low: str, high: str) -> str:
    return (
        f"CASE WHEN {value} > {high} THEN {high} WHEN {value} < {low} THEN {low} ELSE {value} END"
    )


def _number(column: str, what: Column, dialect: Name) -> str:
    decimals = what.decimals if isinstance(what, Number | Public) else 0
    low, high = (what.low or 0, what.high or 0) if not isinstance(what, Key | Date) else (0, 0)
    if dialect != "postgres":
        real = f"TRY_CAST({column} AS DOUBLE)"
        inside = (
            f"CASE WHEN isnan({real}) THEN NULL ELSE {_within(real, f'{low}e0', f'{high}e0')} END"
        )
        return f"CAST(round(({inside}) * 1e{decimals}) AS BIGINT)"
    real = f"CAST({column} AS NUMERIC)"
    inside = f"CASE WHEN {real} = 'NaN' THEN NULL ELSE {_within(real, str(low), str(high))} END"
    return f"CAST(round(({inside}) * {10**decimals}) AS BIGINT)"
