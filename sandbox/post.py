"""Runs the rest of a statement over released cells, in a DuckDB that holds nothing else.

Opening such an engine takes longer than most of what it is asked, so that a few are kept. One
serves one statement at a time, in a transaction that is undone: nothing is left for the next. An
engine in which anything failed is closed.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from queue import Empty, Full, LifoQueue
from typing import TYPE_CHECKING, Any, Final

import duckdb

from fusion.errors import FusionError, QueryFailed
from sandbox.dialects import MAX_EXPRESSION, Dialect, ordering
from sandbox.refusals import refusal
from sandbox.relations import Relation, Result
from sandbox.values import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sandbox.values import Type

_STORED: Final = {
    Kind.TEXT: "VARCHAR", Kind.INT: "BIGINT", Kind.REAL: "DOUBLE", Kind.BOOL: "BOOLEAN",
    Kind.DATE: "DATE", Kind.NULL: "BIGINT", Kind.KEY: "VARCHAR",
}  # fmt: skip
_MOST_IDLE: Final = 4
_idle: Final[LifoQueue[duckdb.DuckDBPyConnection]] = LifoQueue(_MOST_IDLE)
Table = tuple[Result, "Sequence[tuple[Any, ...]]"]
MAX_SECONDS: Final = 10.0
"""What the rest of a statement may take: a few results that are joined with each other without a
condition have more rows than could ever be counted, and this runs in the node's own process."""
_MAX_TEXT: Final = 4 * MAX_EXPRESSION


class _Post:
    """Writes a result as SQL over the tables of released cells."""

    def __init__(self) -> None:
        self.tables: list[Result] = []

    def sql(self, result: Result) -> str:
        if result.core is not None or result.public is not None:
            if result not in self.tables:
                self.tables.append(result)
            return f"SELECT * FROM t{self.tables.index(result)}"
        if result.union is not None:
            left, right, keep = result.union
            both = " UNION ALL " if keep else " UNION "
            columns = ", ".join(
                f"CAST(c{place} AS {_STORED[each.value.type.kind]}) AS c{place}"
                for place, each in enumerate(result.outputs)
            )
            sides = (f"SELECT {columns} FROM ({self.sql(side)})" for side in (left, right))
            return both.join(sides)
        return self._select(result)

    def _select(self, result: Result) -> str:
        writes = Dialect("duckdb", _no_rows, released=True)
        columns = ", ".join(
            f"{writes.sql(each.value)} AS c{place}" for place, each in enumerate(result.outputs)
        )
        text = f"SELECT {'DISTINCT ' if result.distinct else ''}{columns} FROM "
        for place, (source, kind, on) in enumerate(result.sources):
            if place:
                text += f" {'LEFT JOIN' if kind == 'left' else 'INNER JOIN'} "
            text += f"({self.sql(source)}) AS s{place}"
            if place:
                text += f" ON {' AND '.join(writes.sql(each) for each in on) or 'TRUE'}"
        if result.where:
            text += f" WHERE {' AND '.join(writes.sql(each) for each in result.where)}"
        if result.group:
            text += f" GROUP BY {', '.join(writes.sql(each) for each in result.group)}"
        if result.having:
            text += f" HAVING {' AND '.join(writes.sql(each) for each in result.having)}"
        if result.order:
            items = [ordering(writes.sql(e.value), e.descending, e.nulls_first)
                     for e in result.order]  # fmt: skip
            text += f" ORDER BY {', '.join(items)}"
        text += f" LIMIT {result.limit}" if result.limit is not None else ""
        return text + (f" OFFSET {result.offset}" if result.offset is not None else "")


def _no_rows(_relation: Relation) -> str:
    raise refusal("Q-13")


def leaves(result: Result) -> list[Result]:
    """Return the cores and public relations that a result is made of, each once.

    Raises:
        QueryRefused: The rest of the statement is too long to be run, whatever is released, or
            means nothing to the engine that would.
    """
    post = _Post()
    text = post.sql(result)
    if len(text) > _MAX_TEXT:
        raise refusal("Q-02")
    _bind(text, post.tables)
    return post.tables


def _bind(text: str, tables: Sequence[Result]) -> None:
    """Let an engine plan the rest of a statement over tables of the right types, all empty.

    What it does not take is refused before anything is run or charged.

    Raises:
        QueryRefused: It does not.
    """
    empty = []
    for place, leaf in enumerate(tables):
        columns = ", ".join(
            f"CAST(NULL AS {_STORED[each.value.type.kind]}) AS c{number}"
            for number, each in enumerate(leaf.outputs)
        )
        empty.append(f"t{place} AS (SELECT {columns} WHERE FALSE)")
    try:
        with _engine() as connection:
            connection.execute(f"PREPARE rest AS WITH {', '.join(empty)} {text}")
            connection.execute("DEALLOCATE rest")
    except duckdb.Error:
        raise refusal("Q-03", "Over grouped results no engine takes it as it is written.") from None


def most_rows(result: Result, sizes: Sequence[tuple[Result, int]]) -> int:
    """Return a bound on the rows of a result, whatever of its leaves is released.

    Args:
        result: What is asked for.
        sizes: The most rows of each of its :func:`leaves`.
    """
    if result.core is not None or result.public is not None:
        return next(size for leaf, size in sizes if leaf is result)
    if result.union is not None:
        most = sum(most_rows(side, sizes) for side in result.union[:2])
    else:
        most = 1
        for source, kind, _ in result.sources:
            own = most_rows(source, sizes)
            most *= max(1, own) if kind == "left" else own
        # Without groups, an aggregate over nothing is a row.
        most = max(1, most)
    return most if result.limit is None else min(most, result.limit)


def run(result: Result, tables: Sequence[Table], most: int) -> list[list[Any]]:
    """Return the rows of a result.

    Args:
        result: What is asked for.
        tables: Released cells, or public rows, of each of its :func:`leaves`.
        most: Most rows of a result.

    Raises:
        QueryRefused: The result is larger.
        QueryFailed: It could not be computed.
    """
    post = _Post()
    text = post.sql(result)
    try:
        with _engine() as connection, _in_time(connection):
            for place, leaf in enumerate(post.tables):
                rows = next(rows for of, rows in tables if of is leaf)
                _fill(connection, f"t{place}", [o.value.type for o in leaf.outputs], rows)
            found = connection.execute(text).fetchmany(most + 1)
    except FusionError:
        raise
    except Exception as error:  # noqa: BLE001 - one text, whatever an engine says
        failed = QueryFailed()
        failed.add_note(type(error).__name__)
        raise failed from None
    if len(found) > most:
        raise refusal("Q-16", f"It has more than {most} rows.")
    kinds = [each.value.type for each in result.outputs]
    return [[_shown(cell, kind) for cell, kind in zip(row, kinds, strict=True)] for row in found]


@contextmanager
def _engine() -> Iterator[duckdb.DuckDBPyConnection]:
    """Lend an engine without tables; it has none when it is kept."""
    try:
        connection = _idle.get_nowait()
    except Empty:
        connection = _locked()
    try:
        connection.execute("BEGIN")
        yield connection
        connection.execute("ROLLBACK")
        _idle.put_nowait(connection)
    except Full:
        connection.close()
    except BaseException:
        connection.close()
        raise


@contextmanager
def _in_time(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Interrupt what does not end in time; when this is left, nobody interrupts any longer."""
    done = threading.Event()
    waiting = threading.Thread(target=_end, args=(connection, done), daemon=True)
    waiting.start()
    try:
        yield
    finally:
        done.set()
        waiting.join()


def _end(connection: duckdb.DuckDBPyConnection, done: threading.Event) -> None:
    """Interrupt what has not ended in time, and whatever it goes on with."""
    left = MAX_SECONDS
    while not done.wait(left):
        left = 0.1
        try:
            connection.interrupt()
        except duckdb.Error:
            return  # it was closed in between


def _locked() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(":memory:")
    for setting in (
        "memory_limit = '256MB'", "threads = 1", "python_enable_replacements = false",
        "autoinstall_known_extensions = false", "autoload_known_extensions = false",
        "temp_directory = ''", "enable_external_access = false", "lock_configuration = true",
    ):  # fmt: skip
        connection.execute(f"SET {setting}")
    return connection


def _fill(connection: duckdb.DuckDBPyConnection, name: str, types: Sequence[Type],
          rows: Sequence[tuple[Any, ...]]) -> None:  # fmt: skip
    columns = ", ".join(f"c{place} {_STORED[kind.kind]}" for place, kind in enumerate(types))
    connection.execute(f"CREATE TABLE {name} ({columns})")
    if rows:
        lists = [list(column) for column in zip(*rows, strict=True)]
        wanted = ", ".join(f"unnest(CAST(? AS {_STORED[kind.kind]}[]))" for kind in types)
        connection.execute(f"INSERT INTO {name} SELECT {wanted}", lists)


def _shown(cell: Any, kind: Type) -> Any:  # noqa: ANN401 - a cell of a result
    if cell is None:
        return None
    if kind.kind is Kind.INT:
        return int(cell) if float(cell).is_integer() else float(cell)
    if kind.kind is Kind.REAL:
        value = float(cell)
        return value if value - value == 0 else None
    if kind.kind is Kind.DATE:
        return cell.isoformat()
    return cell
