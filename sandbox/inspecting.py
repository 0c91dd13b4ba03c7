"""A look at an owner's files before they are used: can they be read, and what of them is not.

The types of a policy are applied without failing (:func:`sandbox.tables.read`): a cell that is no
number, no day or none of the listed values is missing, and a row whose key is missing is about
nobody and left out. The owner is told how many those are. It is for the owner's screen alone:
nothing of it is signed, sent, logged or shown to anybody who asks.
"""

from __future__ import annotations

import codecs
import csv
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import duckdb
import pyarrow as pa
from pyarrow import parquet

from fusion.errors import DataInvalid
from fusion.wire.limits import MEBI
from sandbox import engine, tables
from sandbox.dialects import quoted
from sandbox.partials import Limits

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sandbox.policy import Policy, Table

_OTHER_MARKS: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_NAMED: Final = 3
"""Most names of columns in a message."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What is to be told of one table.

    Attributes:
        rows: How many there are.
        left_out: Rows of which nobody can say whom they are about: the key is empty or unreadable.
        unread: Of each column, how many cells are there and taken as missing.
    """

    rows: int
    left_out: int
    unread: Mapping[str, int]

    def document(self) -> dict[str, Any]:
        """Return it as JSON has it; columns that are read whole are not named."""
        unread = {column: count for column, count in self.unread.items() if count}
        return {"rows": self.rows, "left_out": self.left_out, "unread": unread}


@dataclass(frozen=True, slots=True)
class Told:
    """What is said to the owner who attaches a policy, and to nobody else.

    Attributes:
        tables: Of each table of files, its rows and what of them is not read; none of a database.
        unchanged: Whether policy and tables are those of the revision before, which stays.
    """

    tables: Mapping[str, Looked] = field(default_factory=dict)
    unchanged: bool = False


def inspect(
    policy: Policy, files: Mapping[str, Path], shown: Mapping[str, Path] | None = None
) -> dict[str, Looked]:
    """Read the file of each table from end to end.

    Args:
        policy: Which tables and columns, and how they are read.
        files: A CSV or Parquet file for each.
        shown: What to call each in a message, where that is the copy of another.

    Raises:
        DataInvalid: One can't be read, or lacks a column; names the file, the table and why. No
            cell is quoted.
    """
    return {
        name: _looked(name, table, files[name], (shown or files)[name])
        for name, table in policy.tables.items()
    }


def warnings_of(policy: Policy, looked: Mapping[str, Looked]) -> list[str]:
    """Return what an owner has to know of tables: a line each."""
    said = []
    for name, found in looked.items():
        said += [
            f"{name}.{column}: {count} of {found.rows} cells can't be read as the policy says and "
            f"are taken as missing"
            for column, count in found.unread.items()
            if count
        ]
        if found.left_out:
            said.append(
                f"{name}: {found.left_out} of {found.rows} rows are left out: their "
                f"{policy.tables[name].entity} is empty or can't be read"
            )
    about = [name for name in looked if policy.tables[name].entity is not None]
    if about and all(looked[name].rows == looked[name].left_out for name in about):
        said.append("the tables are about nobody: every answer will be empty")
    return said


def _looked(name: str, table: Table, path: Path, shown: Path) -> Looked:
    text = path.suffix.lower() == ".csv"
    try:
        columns = _csv_columns(name, path, shown) if text else _parquet_columns(name, path, shown)
        _check_columns(name, table, columns, shown)
        return _counted(name, table, path)
    except OSError as error:
        raise _unreadable(name, shown, f"it can't be read: {error.strerror}") from None
    except duckdb.Error as error:
        # Its message may quote cells.
        why = _uneven(path) if text else "its columns have types that can't be read"
        refused = _unreadable(name, shown, why)
        refused.add_note(type(error).__name__)
        raise refused from None


def _unreadable(name: str, shown: Path, why: str, hint: str = "") -> DataInvalid:
    return DataInvalid(f"{shown}, table {name}: {why}.", hint=hint)


def _csv_columns(name: str, path: Path, shown: Path) -> list[str]:
    """Return the columns of a CSV file all of which is UTF-8."""
    save = "Save it as CSV UTF-8."
    decoder = codecs.getincrementaldecoder("utf-8")()
    lines, empty = 1, True
    with path.open("rb") as file:
        while block := file.read(MEBI):
            if empty and block.startswith(_OTHER_MARKS):
                raise _unreadable(name, shown, "it is UTF-16, not UTF-8", save)
            empty = False
            try:
                decoder.decode(block)
            except UnicodeDecodeError as error:
                lines += block.count(b"\n", 0, error.start)
                raise _unreadable(name, shown, f"line {lines} is not UTF-8", save) from None
            lines += block.count(b"\n")
    if empty:
        raise _unreadable(
            name, shown, "it is empty", "Its first line has the names of the columns."
        )
    with path.open(encoding="utf-8-sig", newline="") as text:
        return next(csv.reader([text.readline(MEBI)]))


def _parquet_columns(name: str, path: Path, shown: Path) -> list[str]:
    try:
        with parquet.ParquetFile(str(path)) as file:
            return [str(each) for each in file.schema_arrow.names]
    except (pa.ArrowException, OSError):
        raise _unreadable(name, shown, "it is no Parquet file, or damaged") from None


def _check_columns(name: str, table: Table, columns: list[str], shown: Path) -> None:
    """Check names; DuckDB tells none from another by upper and lower case."""
    there = [column.lower() for column in columns]
    missing = [column for column in table.columns if column.lower() not in there]
    if missing:
        cut = next((mark for mark in (";", "\t", "|") if mark in columns[0]), "")
        if cut and len(columns) == 1:
            spelt = "tabs" if cut == "\t" else f"{cut!r}"
            why = f"its cells are separated by {spelt}, not by commas"
            raise _unreadable(name, shown, why, "Save it with commas between cells.")
        more = " and more" if len(missing) > _NAMED else ""
        raise _unreadable(
            name,
            shown,
            f"it has no column {', '.join(missing[:_NAMED])}{more}",
            "Compare the names of its columns with the policy's: fusion policy show",
        )
    for place, column in enumerate(columns):
        if not column.strip():
            raise _unreadable(name, shown, f"column {place + 1} has no name")
        if column.lower() in there[:place]:
            raise _unreadable(name, shown, f"it has two columns called {column}")


def _counted(name: str, table: Table, path: Path) -> Looked:
    columns = list(table.columns)
    wanted = ["count(*)"]
    for column in columns:
        read = tables.read(column, table.columns[column], "duckdb")
        wanted.append(f"count(*) FILTER (WHERE {quoted(column)} IS NOT NULL AND ({read}) IS NULL)")
    if table.entity is not None:
        read = tables.read(table.entity, table.columns[table.entity], "duckdb")
        wanted.append(f"count(*) FILTER (WHERE ({read}) IS NULL)")
    connection = engine.locked({name: path}, Limits())
    try:
        found = connection.execute(
            f"SELECT {', '.join(wanted)} FROM {quoted(name)}"  # noqa: S608 - names of the policy
        ).fetchone()
    finally:
        connection.close()
    rows, *rest = map(int, found or ())
    left_out = rest.pop() if table.entity is not None else 0
    return Looked(rows, left_out, dict(zip(columns, rest, strict=True)))


def _uneven(path: Path) -> str:
    """Return what is wrong with a CSV file that is not read: the first line of another length."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, strict=True)
            width = len(next(rows))
            for row in rows:
                if row and len(row) != width:
                    return f"line {rows.line_num} has {len(row)} cells, its first line {width}"
    except (csv.Error, StopIteration):
        return "a quotation mark in it has no end, or a cell is too long"
    return "it can't be read"
