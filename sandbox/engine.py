"""Runs compiled cores in DuckDB: a fresh connection for each request, locked before the first.

What is locked and in which order is measured (DuckDB 2.0): paths are allowed before external
access is switched off, and the configuration is locked last. This keeps a mistake of the compiler
from reaching a file or the network; it is no limit on time or memory against a hostile query, for
which the process that calls :func:`execute` is made to be killed. Any failure has one text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import duckdb

from fusion.errors import FusionError, QueryFailed
from sandbox.partials import reply_bytes, request_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sandbox.partials import Limits

READERS: Final = {
    # Cells are text until the policy's types are applied; only an empty cell is missing.
    ".csv": "read_csv({0}, header = true, all_varchar = true, nullstr = '', auto_detect = false, "
    "delim = ',', quote = '\"', escape = '\"', columns = {1})",
    ".parquet": "read_parquet({0})",
}


def execute(request: bytes, inputs: Mapping[str, Path]) -> bytes:
    """Run cores over files; return their cells (:func:`sandbox.partials.reply_of` reads them).

    Args:
        request: See :class:`sandbox.partials.Request`.
        inputs: A Parquet or CSV file for each table; more than are asked for may be given.

    Raises:
        QueryFailed: Whatever went wrong with the data or the engine, in one text.
        MessageInvalid: The request is none.
    """
    asked = request_of(request)
    try:
        connection = locked({name: inputs[name] for name in asked.tables}, asked.limits)
        try:
            results = []
            for query in asked.queries:
                rows = connection.execute(query.sql).fetchall()
                results.append((query.columns, rows))
            return reply_bytes(results)
        finally:
            connection.close()
    except FusionError:
        raise
    except Exception as error:  # noqa: BLE001 - a database's message quotes cells
        failed = QueryFailed()
        failed.add_note(f"{type(error).__name__}")
        raise failed from None


def locked(inputs: Mapping[str, Path], limits: Limits) -> duckdb.DuckDBPyConnection:
    """Return a connection that sees these tables and nothing else."""
    connection = duckdb.connect(":memory:")
    connection.execute(f"SET memory_limit = '{limits.memory_mb}MB'")
    connection.execute(f"SET threads = {limits.threads}")
    connection.execute("SET python_enable_replacements = false")
    connection.execute("SET autoinstall_known_extensions = false")
    connection.execute("SET autoload_known_extensions = false")
    connection.execute("SET temp_directory = ''")
    connection.execute("SET preserve_insertion_order = false")
    paths = [str(path.resolve()) for path in inputs.values()]
    connection.execute(f"SET allowed_paths = [{', '.join(_quoted(path) for path in paths)}]")
    connection.execute("SET enable_external_access = false")
    for name, path in inputs.items():
        connection.execute(f'CREATE VIEW "{name}" AS SELECT * FROM {reader(path)}')
    connection.execute("SET lock_configuration = true")
    return connection


def reader(path: Path) -> str:
    """Return the table function that reads a Parquet or CSV file."""
    suffix = path.suffix.lower()
    columns = ""
    if suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            names = _header(file.readline(1_000_000))
        columns = "{" + ", ".join(f"{_quoted(name)}: 'VARCHAR'" for name in names) + "}"
    return READERS[suffix].format(_quoted(str(path.resolve())), columns)


def _header(line: str) -> list[str]:
    import csv  # noqa: PLC0415 - only where a table is CSV

    return next(csv.reader([line.removeprefix("\ufeff")]))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
