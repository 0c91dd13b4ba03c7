"""The columns of a store as plain arrays, cut at people: a whole table is added up from these.

Beside the DuckDB file of a store (:mod:`sandbox.store`) lies one file with the same rows in their
order, for statements that need no engine: columns of one table, without a condition. A block of it
has all rows of some people: who they are and how many rows each has, then a plain array for each
column, of as many bits as the *policy's* bounds of the column need, whatever its values are.

::

    arrays                 the buffers of one block after the other, in no further order
    index                  JSON: for each table its columns, and for each block people, rows,
                           and of each column where its buffer begins and that of what is there
    8 bytes                length of the index, little-endian
    16 bytes               :data:`MARK`

It is written by the node and signed with the policy (:mod:`sandbox.attached`); it is read with
``pread``, a block at a time, so that a large table takes no address space.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fusion.wire.limits import MEBI
from sandbox.dialects import quoted
from sandbox.policy import Dimension, Number
from sandbox.runs import ByPerson
from sandbox.tables import ENTITY, code

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import BinaryIO, Self

    import duckdb
    from numpy.typing import NDArray

    from sandbox.policy import Column, Policy, Table

ARRAYS: Final = "_arrays"
"""The name under which a worker gets the file; no table of a policy has a name that begins so."""

FILE: Final = "tables.arrays"
MARK: Final = b"fusion.arrays/1\n"
BLOCK_ROWS: Final = 65_536
MAX_INDEX_BYTES: Final = 256 * MEBI
_TAIL: Final = 8 + len(MARK)
_BATCH: Final = 500_000
_Type = Literal["|i1", "|u1", "<u2", "<i2", "<i4", "<i8"]
_Place = Annotated[int, Field(ge=-1, lt=2**62)]


class Damaged(Exception):
    """A file is no file of arrays, or rows are not what they have to be in one."""


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)


class Stored(_Part):
    """How a column is stored: type of its array, and the texts, if it has their numbers."""

    type: _Type
    texts: tuple[str, ...] | None = None


class Block(_Part):
    """Where the buffers of a block begin, and where what is there does; -1 if everything is."""

    people: Annotated[int, Field(ge=1, lt=2**31)]
    rows: Annotated[int, Field(ge=1, lt=2**40)]
    at: tuple[tuple[_Place, _Place], ...]


class _Table(_Part):
    columns: dict[str, Stored]
    blocks: tuple[Block, ...]


class _Index(_Part):
    tables: dict[str, _Table]


def stored_type(what: Column) -> str | None:
    """Return the type of a column's array; None if it has none, or that of its codes.

    Nobody is grouped by a day as it is, nor are days added up.
    """
    if isinstance(what, Dimension) and what.type == "boolean":
        return "|i1"
    if isinstance(what, Number) or (isinstance(what, Dimension) and what.type == "integer"):
        decimals = what.decimals if isinstance(what, Number) else 0
        # By the policy, not by the values: that somebody's is large is not to be told by time.
        most = max(abs(what.low or 0), abs(what.high or 0)) * 10**decimals
        return next((kind for kind in ("<i2", "<i4", "<i8") if most <= np.iinfo(kind).max), None)
    return None


def write(
    connection: duckdb.DuckDBPyConnection, policy: Policy, coded: Sequence[str], path: Path
) -> None:
    """Write the file from the tables of a store.

    Args:
        connection: Sees the store as ``store``; rows come as they are stored.
        policy: Of the tables.
        coded: ``table.column`` of what has codes.
        path: Where to; not there yet.
    """
    with path.open("xb") as file:
        tables = {
            name: _written(connection, name, table, coded, file)
            for name, table in policy.tables.items()
            if table.entity is not None
        }
        index = _Index(tables=tables).model_dump_json().encode()
        file.write(index + len(index).to_bytes(8, "little") + MARK)


def _written(
    connection: duckdb.DuckDBPyConnection, name: str, table: Table, coded: Sequence[str],
    file: BinaryIO,
) -> _Table:  # fmt: skip
    items, columns = [quoted(ENTITY)], dict[str, Stored]()
    for column, what in table.columns.items():
        kind = stored_type(what)
        if f"{name}.{column}" in coded:
            texts = _texts(connection, name, column)
            small = len(texts) <= np.iinfo(np.uint8).max
            columns[column] = Stored(type="|u1" if small else "<u2", texts=texts)
            items.append(f"{quoted(code(column))}::VARCHAR")
        elif kind is not None and column != table.entity:
            columns[column] = Stored(type=kind)  # type: ignore[arg-type]
            items.append(quoted(column))
    sql = f"SELECT {', '.join(items)} FROM store.main.{quoted(name)}"  # noqa: S608 - names of the policy
    blocks = []
    waiting: pa.Table | None = None
    for batch in connection.sql(sql).to_arrow_reader(_BATCH):
        rows = pa.Table.from_batches([batch])
        waiting = rows if waiting is None else pa.concat_tables([waiting, rows])
        while (cut := _cut(waiting)) is not None:
            blocks.append(_block(waiting.slice(0, cut), columns, file))
            waiting = waiting.slice(cut)
    if waiting is not None and waiting.num_rows:
        blocks.append(_block(waiting, columns, file))
    return _Table(columns=columns, blocks=tuple(blocks))


def _texts(connection: duckdb.DuckDBPyConnection, name: str, column: str) -> tuple[str, ...]:
    own = f"{quoted(column)}"
    sql = f"SELECT DISTINCT {own} FROM store.main.{quoted(name)} WHERE {own} IS NOT NULL ORDER BY 1"  # noqa: S608 - names of the policy
    return tuple(text for (text,) in connection.execute(sql).fetchall())


def _cut(waiting: pa.Table) -> int | None:
    """Return how many rows are a block: people whose rows are all there; None while it is short."""
    if waiting.num_rows <= BLOCK_ROWS:
        return None
    people = waiting.column(0).combine_chunks().to_numpy()
    cut = int(np.searchsorted(people, people[BLOCK_ROWS]))
    if not cut:
        # One person has more rows than a block.
        cut = int(np.searchsorted(people, people[0], side="right"))
    return cut if cut < len(people) else None


def _block(rows: pa.Table, columns: dict[str, Stored], file: BinaryIO) -> Block:
    people = rows.column(0).combine_chunks().to_numpy()
    starts = np.flatnonzero(np.append(True, people[1:] != people[:-1]))
    counts = np.diff(np.append(starts, len(people)))
    if (people[starts][1:] < people[starts][:-1]).any():
        raise Damaged
    at = [(_put(file, people[starts].astype("<i4")), -1), (_put(file, counts.astype("<i4")), -1)]
    for place, stored in enumerate(columns.values(), 1):
        column = rows.column(place).combine_chunks()
        there = column.is_valid().to_numpy(zero_copy_only=False)
        mask = -1 if there.all() else _put(file, there)
        at.append((_put(file, _values(column, stored)), mask))
    return Block(people=len(starts), rows=len(people), at=tuple(at))


def _values(column: pa.Array, stored: Stored) -> NDArray[np.generic]:
    if stored.texts is not None:
        column = pc.index_in(column, pa.array(stored.texts, pa.string()))
    whole: NDArray[np.int64] = column.cast(pa.int64()).fill_null(0).to_numpy()
    # Nothing is cut off: it was clamped to the policy's bounds.
    info = np.iinfo(stored.type)
    if len(whole) and not (info.min <= whole.min() and whole.max() <= info.max):
        raise Damaged
    return whole.astype(stored.type)


def _put(file: BinaryIO, values: NDArray[np.generic]) -> int:
    place = file.tell()
    file.write(values.tobytes())
    return place


@dataclass(frozen=True)
class Values:
    """A column of a block: whole numbers, 0 where there is none; where there are some, or None."""

    values: NDArray[np.generic]
    there: NDArray[np.bool_] | None


class Arrays:
    """A file that is open; close it. Any number of threads may read."""

    def __init__(self, path: Path) -> None:
        """Open it.

        Raises:
            Damaged: It is not one.
        """
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        size = os.fstat(self._file).st_size
        tail = self._read(max(0, size - _TAIL), _TAIL)
        length = int.from_bytes(tail[:8], "little")
        if tail[8:] != MARK or length > min(MAX_INDEX_BYTES, size - _TAIL):
            raise Damaged
        try:
            index = self._read(size - _TAIL - length, length)
            self._tables = _Index.model_validate_json(index).tables
        except ValidationError:
            raise Damaged from None

    def __enter__(self) -> Self:
        """Nothing more is opened."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        os.close(self._file)

    def blocks(self, table: str) -> tuple[Block, ...]:
        """Return the blocks of a table."""
        return self._tables[table].blocks

    def stored(self, table: str, column: str) -> Stored:
        """Return how a column is stored."""
        return self._tables[table].columns[column]

    def people(self, blocks: Sequence[Block]) -> ByPerson:
        """Return whom blocks are about."""
        numbers, counts = (
            np.concatenate(
                [np.frombuffer(self._read(b.at[part][0], 4 * b.people), "<i4") for b in blocks]
            )
            for part in (0, 1)
        )
        return ByPerson(numbers, counts, sum(block.rows for block in blocks))

    def values(self, table: str, column: str, block: Block) -> Values:
        """Return a column of a block."""
        columns = self._tables[table].columns
        at, there = block.at[2 + list(columns).index(column)]
        kind = np.dtype(columns[column].type)
        mask = None if there < 0 else np.frombuffer(self._read(there, block.rows), np.bool_)
        return Values(np.frombuffer(self._read(at, kind.itemsize * block.rows), kind), mask)

    def key(self, table: str, column: str, block: Block) -> pa.Array:
        """Return a column of a block as the engine would: texts with codes, or whole numbers."""
        stored, found = self.stored(table, column), self.values(table, column, block)
        mask = None if found.there is None else ~found.there
        if stored.texts is not None:
            indices = pa.array(found.values, mask=mask)
            return pa.DictionaryArray.from_arrays(indices, pa.array(stored.texts, pa.string()))
        return pa.array(found.values.astype(np.int64), mask=mask)

    def _read(self, at: int, count: int) -> bytes:
        found = os.pread(self._file, count, at)
        while len(found) < count:
            more = os.pread(self._file, count - len(found), at + len(found))
            if not more:
                raise Damaged
            found += more
        return found
