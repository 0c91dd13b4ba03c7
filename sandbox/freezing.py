"""Copies of an owner's tables for a revision: from Parquet, CSV and DuckDB files.

A DuckDB file is opened to be read, without a way to other files or the network, and the policy's
columns are copied out as Parquet: who asks later never meets the file itself.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import duckdb
from pyarrow import parquet

from fusion.connectors.schemas import read_schema
from fusion.errors import DataInvalid, InputInvalid, QueryFailed, VerificationFailed
from fusion.wire.limits import MEBI
from sandbox import disk, engine, public_rows, tables
from sandbox.dialects import quoted
from sandbox.inspecting import Looked, inspect
from sandbox.partials import Limits

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from sandbox.fanout import PublicRows
    from sandbox.policy import Policy

MAX_PEOPLE: Final = 20_000_000
DATABASE: Final = ".duckdb"
_BLOCK: Final = MEBI
_ROWS: Final = 100_000
_KINDS: Final = {"text": "text", "boolean": "text", "date": "time"}
_PLAIN: Final = ("HUGEINT", "UHUGEINT", "UBIGINT")
"""Whole numbers that Parquet has no type for: copied as decimals."""


@dataclass(frozen=True, slots=True)
class Frozen:
    """Tables that do not change any more.

    Attributes:
        digests: Of each table.
        schemas: Of each table, column to kind as :func:`fusion.connectors.schemas.read_schema`.
        listed: Everybody in them, by number.
        place: The schema of a database, or Spark's folder, where they are; empty for files.
        source: Who computes on them: ``files``, ``postgres`` or ``spark``.
        looked: What is to be told their owner of each table, of files.
        public: How many rows of public tables have one value (:mod:`sandbox.fanout`).
    """

    digests: Mapping[str, str]
    schemas: Mapping[str, Mapping[str, str]]
    listed: list[str]
    place: str = ""
    source: str = "files"
    looked: Mapping[str, Looked] = field(default_factory=dict)
    public: PublicRows = field(default_factory=dict)


def declared(policy: Policy) -> dict[str, dict[str, str]]:
    """Return the kind of each column of each table as a policy has it, for :class:`Frozen`."""
    return {
        name: {
            column: _KINDS.get(tables.kind_of(what), "number")
            for column, what in table.columns.items()
        }
        for name, table in policy.tables.items()
    }


def tables_in(data: Path, policy: Policy) -> dict[str, Path]:
    """Return the file of each table of a policy: ``NAME.parquet`` or ``NAME.csv`` in a folder.

    Raises:
        InputInvalid: A table has no file, or two.
    """
    found = {}
    for name in policy.tables:
        files = [data / f"{name}{suffix}" for suffix in engine.READERS]
        there = [path for path in files if path.is_file()]
        if len(there) != 1:
            raise InputInvalid(
                f"The table {name} has {len(there)} files in {data}; one is needed.",
                hint=f"Put {name}.parquet or {name}.csv there.",
            )
        found[name] = there[0]
    return found


def freeze(
    policy: Policy, sources: Mapping[str, Path], folder: Path, known: Sequence[str]
) -> Frozen:
    """Copy tables into a folder.

    Args:
        policy: Which tables and columns.
        sources: A file for each table, or one DuckDB file for all.
        folder: Where the copies go.
        known: The list of people of the revision before.

    Raises:
        InputInvalid: A file is of no known kind or can't be copied, or there are too many people.
        DataInvalid: A file can't be read, or lacks a column; names it, the table and why.
        QueryFailed: The people of the tables could not be listed.
        OSError: The disk is full, or the like (:mod:`sandbox.disk`).
    """
    databases = {path for path in sources.values() if path.suffix.lower() == DATABASE}
    if databases:
        copy_out(policy, databases.pop(), folder)
        digests = {name: _digest(path) for name, path in files_in(policy, folder).items()}
    else:
        digests = {
            table: _copied(path, folder / f"{table}{path.suffix.lower()}")
            for table, path in sources.items()
        }
    files = files_in(policy, folder)
    # Of the copies, so that what is told is what holds; named as the owner knows them.
    looked = inspect(policy, files, sources)
    schemas = {table: read_schema(path) for table, path in files.items()}
    public = public_rows.count(policy, partial(engine.execute, inputs=files), "duckdb")
    listed = _listed(policy, folder, known)
    return Frozen(digests, schemas, listed, looked=looked, public=public)


def files_in(policy: Policy, folder: Path) -> dict[str, Path]:
    """Return the copies in a folder.

    Raises:
        VerificationFailed: One is missing.
    """
    found = {}
    for table in policy.tables:
        there = [
            path for suffix in engine.READERS if (path := folder / f"{table}{suffix}").exists()
        ]
        if len(there) != 1:
            raise VerificationFailed("A frozen table is missing; attach the policy again.")
        found[table] = there[0]
    return found


def copy_out(policy: Policy, database: Path, folder: Path) -> dict[str, Path]:
    """Copy a policy's columns out of a DuckDB file, one Parquet file a table; return them.

    Raises:
        DataInvalid: The file can't be opened, or lacks a table or a column.
    """
    try:
        if not database.is_file():
            raise DataInvalid(f"{database} is not a file.")
        connection = duckdb.connect(str(database), read_only=True)
        try:
            # A view in the file may not read anything beside it.
            connection.execute("SET autoinstall_known_extensions = false")
            connection.execute("SET autoload_known_extensions = false")
            connection.execute("SET python_enable_replacements = false")
            connection.execute("SET enable_external_access = false")
            connection.execute("SET lock_configuration = true")
            return {
                name: _exported(connection, name, list(table.columns), folder)
                for name, table in policy.tables.items()
            }
        finally:
            connection.close()
    except duckdb.Error as error:
        # Its message may quote cells.
        refused = DataInvalid(
            f"{database} can't be read as a DuckDB file with the policy's tables.",
            hint="Close what writes to it; it has a table of each name, with the policy's columns.",
        )
        refused.add_note(type(error).__name__)
        raise refused from None


def _exported(connection: duckdb.DuckDBPyConnection, name: str, columns: list[str],
              folder: Path) -> Path:  # fmt: skip
    kinds = {
        column: str(kind)
        for column, kind, *_ in connection.execute(f"DESCRIBE {quoted(name)}").fetchall()
    }
    missing = [column for column in columns if column not in kinds]
    if missing:
        raise DataInvalid(f"The DuckDB file has no column {name}.{missing[0]}.")
    selected = ", ".join(_selected(column, kinds[column]) for column in columns)
    rows: Any = connection.sql(f"SELECT {selected} FROM {quoted(name)}").to_arrow_reader(_ROWS)
    path = folder / f"{name}.parquet"
    # Closed whatever happens: as long as it is open, the file can't be opened otherwise.
    with rows, parquet.ParquetWriter(path, rows.schema) as writer:
        for batch in rows:
            writer.write_batch(batch)
    path.chmod(0o644)  # as the copies of files
    return path


def _selected(column: str, kind: str) -> str:
    name = quoted(column)
    if kind in _PLAIN:
        return f"TRY_CAST({name} AS DECIMAL(38, 0)) AS {name}"
    if kind.startswith(("ENUM", "UUID", "TIME")):
        return f"CAST({name} AS VARCHAR) AS {name}"
    return name


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _copied(source: Path, target: Path) -> str:
    """Copy a table; return the digest of the copy."""
    if target.suffix not in engine.READERS:
        raise InputInvalid("A table is a Parquet or a CSV file.")
    state = hashlib.sha256()
    with target.open("xb") as new:
        for block in _blocks(source):
            state.update(block)
            new.write(block)
    target.chmod(0o644)  # workers may run under another account; nobody else passes the folder
    return state.hexdigest()


def _blocks(source: Path) -> Iterator[bytes]:
    try:
        with source.open("rb") as old:
            while block := old.read(_BLOCK):
                yield block
    except OSError as error:
        raise InputInvalid(f"{source} can't be copied: {error.strerror}.") from error


def _listed(policy: Policy, folder: Path, known: Sequence[str]) -> list[str]:
    """Return everybody in the tables, with the numbers of an earlier list."""
    parts = [
        f"SELECT CAST({tables.read(table.entity, table.columns[table.entity], 'duckdb')} "
        f"AS VARCHAR) AS e FROM {quoted(name)}"
        for name, table in policy.tables.items()
        if table.entity is not None
    ]
    if not parts:
        return list(known)
    connection = engine.locked(files_in(policy, folder), Limits())
    try:
        union = " UNION ".join(parts)
        rows = connection.execute(
            f"SELECT e FROM ({union}) WHERE e IS NOT NULL ORDER BY e LIMIT {MAX_PEOPLE + 1}"
        ).fetchall()
    except Exception as error:  # noqa: BLE001 - a database's message quotes cells
        full = disk.refused(error)
        if full is not None:
            raise full from None
        raise QueryFailed from None
    finally:
        connection.close()
    before = set(known)
    found = [*known, *(e for (e,) in rows if e not in before)]
    if len(found) > MAX_PEOPLE:
        raise InputInvalid(f"A dataset is about at most {MAX_PEOPLE} people.")
    return found
