"""One run over a store: the cells of a query, and who is in which cell, in one pass if it can be.

Runs in the worker; what it returns is :func:`sandbox.members.read`. People come back as numbers on
the frozen list of their epoch, never by name.
"""

from __future__ import annotations

import contextlib
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from fusion.errors import FusionError, QueryFailed
from sandbox import members, store
from sandbox.arrays import ARRAYS, Arrays, Values
from sandbox.coding import Coding, TooManyCells
from sandbox.compile import hashed
from sandbox.dialects import quoted
from sandbox.partials import MAX_CELLS, reply_bytes
from sandbox.reduction import Reduction
from sandbox.runs import ByRow
from sandbox.scans import Plain, request_of
from sandbox.tables import PEOPLE

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from duckdb import DuckDBPyConnection
    from numpy.typing import NDArray

    from sandbox.arrays import Block
    from sandbox.partials import Limits, Rows
    from sandbox.runs import People
    from sandbox.scans import Direct, Request, Scan

    _Rows = tuple[People, Sequence[pa.Array], Sequence[tuple[NDArray[Any], NDArray[Any] | None]]]
    _Part = Callable[[], _Rows]
    """All rows of some people: whom they are about, keys, values; made by the thread that adds."""

_BATCH: Final = 65_536
_MOST_RUNS: Final = 20_000
_ALONE: Final = 24
"""Parts of which one thread makes an end before a busy machine gives another one its turn."""

_TOGETHER: Final = 8
"""Blocks of which only people are read."""


class Unordered(Exception):
    """Rows of a person are not neighbours."""


def execute(request: bytes, inputs: Mapping[str, Path]) -> bytes:
    """Run the steps of a request (:mod:`sandbox.scans`) over a store.

    Raises:
        QueryFailed: Whatever went wrong with the data or the engine, in one text.
        MessageInvalid: The request is none.
    """
    asked = request_of(request)
    try:
        with contextlib.ExitStack() as stack:
            opened = _Opened(inputs, asked.limits, stack)
            results, sets = [], []
            for step in asked.steps:
                if isinstance(step, Plain):
                    results.append((step.columns, opened.engine.execute(step.sql).fetchall()))
                    continue
                rows, who = _scanned(opened, step, asked)
                results.append((step.columns, rows))
                sets += [who] if step.members else []
            parts = [reply_bytes(results), *sets]
    except (FusionError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - a database's message quotes cells
        failed = QueryFailed()
        failed.add_note(type(error).__name__)
        raise failed from None
    return members.joined(parts)


class _Opened:
    """The engine and the arrays over a store, opened when they are first wanted."""

    def __init__(
        self, inputs: Mapping[str, Path], limits: Limits, stack: contextlib.ExitStack
    ) -> None:
        self._inputs = inputs
        self._limits = limits
        self._stack = stack

    @cached_property
    def engine(self) -> DuckDBPyConnection:
        """A connection to the store."""
        connection = store.locked(self._inputs[store.STORE], self._limits)
        self._stack.callback(connection.close)
        return connection

    @cached_property
    def arrays(self) -> Arrays | None:
        """The arrays; None of a store that was made without."""
        path = self._inputs.get(ARRAYS)
        return None if path is None else self._stack.enter_context(Arrays(path))


def _scanned(opened: _Opened, scan: Scan, asked: Request) -> tuple[Rows, bytes]:
    """Return the cells of a core, and who is in them."""
    try:
        found = _found(opened, scan, asked)
    except TooManyCells:
        return opened.engine.execute(scan.otherwise).fetchall(), members.NOBODY
    # Without keys there is one cell, whoever is in it.
    cells = [cell for cell in range(found.coding.count) if found.sizes[cell] or not scan.keys]
    cells.sort(key=lambda cell: -int(found.sizes[cell]))
    quantiles = _quantiles(opened, scan)
    rows = [_row(found, cell, scan, quantiles) for cell in cells[:MAX_CELLS]]
    return rows, _members(found, cells, asked) if scan.members else b""


def _found(opened: _Opened, scan: Scan, asked: Request) -> Reduction:
    """Return a core's rows, reduced.

    Raises:
        TooManyCells: There are more than are kept.
        QueryFailed: The engine does not sort.
    """
    hashes = _hashes(opened.engine, scan.salt) if scan.salt else None
    threads = asked.limits.threads
    if scan.direct is not None and opened.arrays is not None:
        parts = list(_blocks(opened.arrays, scan.direct))
        return _reduced(parts, scan, hashes, threads if len(parts) > _ALONE else 1)
    for way in (_streamed, _gathered, _sorted) if scan.ordered else (_sorted,):
        with contextlib.suppress(Unordered), contextlib.closing(way(opened.engine, scan.rows)) as b:
            return _reduced(_batches(b, scan.keys), scan, hashes, threads)
    raise QueryFailed


def _hashes(connection: DuckDBPyConnection, salt: str) -> NDArray[np.uint64]:
    sql = f"SELECT {hashed(salt, 'e')} AS x FROM {quoted(PEOPLE)} ORDER BY n"  # noqa: S608 - our own
    found: NDArray[np.uint64] = connection.execute(sql).fetchnumpy()["x"]
    return found


def _reduced(
    parts: Iterable[_Part], scan: Scan, hashes: NDArray[np.uint64] | None, threads: int
) -> Reduction:
    """Reduce rows, in several threads if there are: numpy works outside the interpreter's lock."""
    measures = [each.measure() for each in scan.measures]
    each_own = [
        Reduction(
            Coding(scan.keys),
            measures,
            scan.products,
            hashes,
            edges=scan.edges,
            beyond=scan.beyond,
            members=scan.members,
        )
        for _ in range(threads)
    ]
    if threads == 1:
        for part in parts:
            each_own[0].add(*part())
        return each_own[0]
    free: SimpleQueue[Reduction] = SimpleQueue()
    for each in each_own:
        free.put(each)

    def add(part: _Part) -> None:
        own = free.get()
        try:
            own.add(*part())
        finally:
            free.put(own)

    with ThreadPoolExecutor(threads) as pool:
        under_way: deque[Future[None]] = deque()
        for part in parts:
            if len(under_way) >= 2 * threads:
                under_way.popleft().result()
            under_way.append(pool.submit(add, part))
        for future in under_way:
            future.result()
    for each in each_own[1:]:
        each_own[0].absorb(each)
    return each_own[0]


def _blocks(arrays: Arrays, of: Direct) -> Iterator[_Part]:
    """Yield what reads each block of a table."""
    blocks = arrays.blocks(of.table)
    if of.keys or of.values:
        for block in blocks:
            yield partial(_block, arrays, of, block)
        return
    # Who there is and how many rows each has is little of each block.
    for first in range(0, len(blocks), _TOGETHER):
        yield partial(_counted, arrays, blocks[first : first + _TOGETHER])


def _counted(arrays: Arrays, blocks: Sequence[Block]) -> _Rows:
    return arrays.people(blocks), (), ()


def _block(arrays: Arrays, of: Direct, block: Block) -> _Rows:
    names = {name for own, other, _ in of.values for name in (own, other)}
    found = {name: arrays.values(of.table, name, block) for name in names}
    binned = {(own, step) for own, _, step in of.values}
    read = {(own, step): _binned(found[own], step) for own, step in binned}
    # What is asked for twice is the same object, which is added up once.
    given = {each: _given(read[each[0], each[2]], found[each[1]]) for each in of.values}
    keys = [arrays.key(of.table, name, block) for name in of.keys]
    return arrays.people([block]), keys, [given[each] for each in of.values]


def _binned(of: Values, step: int) -> Values:
    """Return values as :func:`sandbox.values.binned` has them; as they are without a bin."""
    if not step:
        return of
    whole = of.values.astype(np.int64, copy=False)
    read = whole // step
    read *= step
    # In place, and without a choice for each value: an eighth of the time of np.where.
    read += (read != whole) * np.int64(step // 2)
    return Values(read, of.there)


def _given(own: Values, other: Values) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Return values, 0 where there is none of one or of the other, and where there are both."""
    if other.there is None or other.there is own.there:
        return own.values, own.there
    there = other.there if own.there is None else own.there & other.there
    return own.values * there, there


def _batches(batches: Iterable[pa.RecordBatch], keys: int) -> Iterator[_Part]:
    """Yield what takes apart the rows of some people that an engine gave."""
    for columns in _whole(batches):
        yield partial(_taken_apart, columns, keys)


def _taken_apart(columns: list[pa.Array], keys: int) -> _Rows:
    values = [_numbers(each) for each in columns[1 + keys :]]
    return ByRow(columns[0].to_numpy()), columns[1 : 1 + keys], values


def _numbers(column: pa.Array) -> tuple[NDArray[Any], NDArray[Any] | None]:
    if column.null_count == 0:
        return column.to_numpy(), None
    there = column.is_valid().to_numpy(zero_copy_only=False)
    return column.fill_null(0).to_numpy(), there


def _whole(batches: Iterable[pa.RecordBatch]) -> Iterator[list[pa.Array]]:
    """Yield the columns of rows that are all rows of some people.

    Raises:
        Unordered: Rows do not come in the order of people.
    """
    waiting: list[pa.RecordBatch] = []
    last = -1
    for batch in batches:
        people = batch.column(0).to_numpy()
        if not len(people):
            continue
        if people[0] < last or bool((people[1:] < people[:-1]).any()):
            raise Unordered
        # Rows of the last one may follow in the next batch.
        before, last = last, int(people[-1])
        cut = int(np.searchsorted(people, last))
        if cut or before != last:
            yield from _columns([*waiting, batch.slice(0, cut)])
            waiting = []
        waiting.append(batch.slice(cut))
    yield from _columns(waiting)


def _columns(batches: list[pa.RecordBatch]) -> Iterator[list[pa.Array]]:
    batches = [each for each in batches if each.num_rows]
    if batches:
        yield [
            pa.concat_arrays([each.column(place) for each in batches])
            for place in range(batches[0].num_columns)
        ]


def _streamed(connection: DuckDBPyConnection, sql: str) -> Generator[pa.RecordBatch]:
    """Yield rows as they come: mostly in the order in which they are stored."""
    reader = connection.sql(sql).to_arrow_reader(_BATCH)
    try:
        yield from reader
    finally:
        reader.close()


def _gathered(connection: DuckDBPyConnection, sql: str) -> Generator[pa.RecordBatch]:
    """Yield runs of rows that are in order, in order: threads overtake each other in a join."""
    table = pa.Table.from_batches(list(_streamed(connection, sql)))
    people = np.concatenate([each.to_numpy() for each in table.column(0).chunks])
    starts = np.concatenate([[0], np.flatnonzero(people[1:] < people[:-1]) + 1])
    if len(starts) > _MOST_RUNS:
        raise Unordered
    ends = np.append(starts[1:], len(people))
    for run in np.argsort(people[starts], kind="stable"):
        begin, end = int(starts[run]), int(ends[run])
        yield from table.slice(begin, end - begin).to_batches(_BATCH)


def _sorted(connection: DuckDBPyConnection, sql: str) -> Generator[pa.RecordBatch]:
    """Yield rows as the engine sorts them."""
    return _streamed(connection, f"{sql} ORDER BY e")


def _quantiles(opened: _Opened, scan: Scan) -> dict[tuple[Any, ...], Any]:
    """Return the quantiles of each cell by its keys."""
    rows = opened.engine.execute(scan.quantiles).fetchall() if scan.quantiles else []
    return {tuple(row[: scan.keys]): row[scan.keys :] for row in rows}


def _row(
    found: Reduction, cell: int, scan: Scan, quantiles: dict[tuple[Any, ...], Any]
) -> tuple[Any, ...]:
    """Return a cell as the core's SQL would."""
    keys = found.coding.found[cell]
    values: dict[str, Any] = {f"k{place}": key for place, key in enumerate(keys)}
    names = [name for name, _ in scan.columns if name.startswith("q")]
    values |= zip(names, quantiles.get(keys, ()), strict=False)
    values |= {"n": int(found.sizes[cell]), "nx": int(found.keys[cell])}
    for place, parts in enumerate(found.parts(cell)):
        values |= {f"m{place}{short}": value for short, value in parts.items()}
    return tuple(values.get(name) for name, _ in scan.columns)


def _members(found: Reduction, cells: list[int], asked: Request) -> bytes:
    """Return who is in which cell; cells are numbered in the order of their keys, NULL last."""
    if not cells or len(cells) > asked.cells:
        return members.NOBODY
    keys = found.coding.found
    cells = sorted(cells, key=lambda cell: [(k is None, 0 if k is None else k) for k in keys[cell]])
    place_of = np.full(found.coding.count, -1, np.int32)
    place_of[cells] = np.arange(len(cells), dtype=np.int32)
    none = np.zeros(0, np.int32)
    people = np.concatenate([none, *(people for people, _ in found.pairs)])
    places = place_of[np.concatenate([none, *(numbers for _, numbers in found.pairs)])]
    if found.alone:
        return members.of_all(people, places, asked.people)
    return members.of_each(people, places, asked.people, asked.members)
