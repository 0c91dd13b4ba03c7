"""The frozen tables in the form that queries want: typed, in the order of people, numbered.

Beside the plain copies of a revision lies one DuckDB file, made of them when the policy is
attached. Every table of the policy is in it with the policy's reading already applied
(:func:`sandbox.tables.read`), so that no query casts or clamps; the entity is its number on the
list of people, the same in all tables; rows stand in the order of that number, which makes what one
entity contributes a run of neighbours (:mod:`sandbox.reduction`). A text to group by that has few
values is stored as a code as well. The same rows lie beside it as plain arrays
(:mod:`sandbox.arrays`). Columns whose names begin with ``#`` are ours: no column of a
policy can be called so.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Final

import duckdb

from fusion.errors import InputInvalid
from sandbox import arrays, disk, engine, tables
from sandbox.dialects import literal, quoted
from sandbox.policy import Dimension
from sandbox.tables import ENTITY, PEOPLE, code

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sandbox.partials import Limits
    from sandbox.policy import Policy, Table

STORE: Final = "_store"
"""The name under which a worker gets the file; no table of a policy has a name that begins so."""

FILE: Final = "tables.duckdb"
MAX_CODES: Final = 10_000
"""A text of more values than this has no codes."""

_MEMORY_MB: Final = 2048


def make(policy: Policy, files: Mapping[str, Path], people: Path, out: Path) -> tuple[str, ...]:
    """Write the file, and that of :mod:`sandbox.arrays` beside it.

    Return ``table.column`` of every column that has codes.

    Args:
        policy: Which tables and columns, and how they are read.
        files: The plain copy of each table.
        people: The list of people, Parquet with ``e`` and ``n``.
        out: Where to; not there yet. Sorting may spill into files beside it.

    Raises:
        InputInvalid: A table can't be read as the policy says.
        OSError: The disk is full, or the like (:mod:`sandbox.disk`).
    """
    spill = out.parent / "spill"
    now = "the list of people"
    connection = duckdb.connect(":memory:")
    try:
        connection.execute(f"SET memory_limit = '{_MEMORY_MB}MB'")
        connection.execute("SET autoinstall_known_extensions = false")
        connection.execute("SET autoload_known_extensions = false")
        connection.execute(f"SET temp_directory = {literal(str(spill.resolve()))}")
        connection.execute(f"SET allowed_directories = [{literal(str(out.parent.resolve()))}]")
        connection.execute("SET enable_external_access = false")
        connection.execute(f"ATTACH {literal(str(out.resolve()))} AS store")
        source = f"read_parquet({literal(str(people.resolve()))})"
        connection.execute(
            f"CREATE TABLE store.main.{quoted(PEOPLE)} AS SELECT e, n FROM {source} ORDER BY n"  # noqa: S608 - our own file
        )
        coded = []
        for name, table in policy.tables.items():
            now = f"the table {name}"
            own = _table(connection, name, table, files[name])
            coded += [f"{name}.{column}" for column in own]
        now = "what was made of the tables"
        connection.execute("CHECKPOINT store")
        arrays.write(connection, policy, coded, out.with_name(arrays.FILE))
        connection.execute("DETACH store")
    except Exception as error:  # noqa: BLE001 - a database's message quotes cells
        full = disk.refused(error)
        if full is not None:
            raise full from None
        raise InputInvalid(
            f"The tables can't be stored: {now} can't be read as the policy says.",
            hint="Compare its columns with the policy's, which fusion policy show lists.",
        ) from None
    finally:
        connection.close()
        shutil.rmtree(spill, ignore_errors=True)
    for path in (out, out.with_name(arrays.FILE)):
        path.chmod(0o644)  # as the plain copies
    return tuple(sorted(coded))


def _table(connection: duckdb.DuckDBPyConnection, name: str, table: Table, path: Path) -> list[str]:
    """Write one table; return its columns with codes."""
    source = f"{engine.reader(path)} AS t"
    columns = [
        f"{tables.read(column, what, 'duckdb')} AS {quoted(column)}"
        for column, what in table.columns.items()
        if column != table.entity
    ]
    if table.entity is not None:
        entity = tables.read(table.entity, table.columns[table.entity], "duckdb")
        columns.insert(0, f"p.n AS {quoted(ENTITY)}")
        people = f"store.main.{quoted(PEOPLE)}"
        source += f" JOIN {people} AS p ON p.e = CAST({entity} AS VARCHAR) ORDER BY p.n"
    ordered = quoted("#ordered")
    connection.execute(
        f"CREATE TEMP TABLE {ordered} AS SELECT {', '.join(columns)} FROM {source}"  # noqa: S608 - names of the policy
    )
    coded = [
        column
        for column, what in table.columns.items()
        if isinstance(what, Dimension) and what.type == "text"
        and _few(connection, ordered, column)
    ]  # fmt: skip
    extra = ""
    for column in coded:
        kind, own = f"store.main.{quoted(f'{name}.{column}')}", quoted(column)
        values = f"SELECT DISTINCT {own} FROM {ordered} WHERE {own} IS NOT NULL ORDER BY 1"  # noqa: S608 - names of the policy
        connection.execute(f"CREATE TYPE {kind} AS ENUM ({values})")
        extra += f", CAST({own} AS {kind}) AS {quoted(code(column))}"
    connection.execute(
        f"CREATE TABLE store.main.{quoted(name)} AS SELECT *{extra} FROM {ordered}"  # noqa: S608 - names of the policy
    )
    connection.execute(f"DROP TABLE {ordered}")
    return coded


def _few(connection: duckdb.DuckDBPyConnection, table: str, column: str) -> bool:
    found = connection.execute(f"SELECT count(DISTINCT {quoted(column)}) FROM {table}").fetchone()  # noqa: S608 - names of the policy
    return found is not None and 0 < int(found[0]) <= MAX_CODES


def locked(path: Path, limits: Limits) -> duckdb.DuckDBPyConnection:
    """Return a connection that sees the tables of a store and nothing else.

    The file is attached, read-only, before access to files ends; after that none can be opened.
    Rows come in the order in which they are stored.
    """
    connection = duckdb.connect(":memory:")
    connection.execute(f"SET memory_limit = '{limits.memory_mb}MB'")
    connection.execute(f"SET threads = {limits.threads}")
    connection.execute("SET python_enable_replacements = false")
    connection.execute("SET autoinstall_known_extensions = false")
    connection.execute("SET autoload_known_extensions = false")
    connection.execute("SET temp_directory = ''")
    connection.execute(f"ATTACH {literal(str(path))} AS store (READ_ONLY)")
    connection.execute("SET enable_external_access = false")
    connection.execute("USE store")
    connection.execute("SET lock_configuration = true")
    return connection
