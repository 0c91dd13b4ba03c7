"""One run over a store: the cells of a query, and who is in which cell, in one pass if it can be.

Runs in the worker; what it returns is :func:`sandbox.members.read`. People come back as numbers on
the frozen list of their epoch, never by name.
"""

from __future__ import annotations

import contextlib
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from fusion.errors import FusionError, QueryFailed
from sandbox import members, store
from sandbox.coding import Coding, TooManyCells
from sandbox.compile import hashed
from sandbox.dialects import quoted
from sandbox.partials import MAX_CELLS, reply_bytes
from sandbox.reduction import Reduction
from sandbox.scans import Plain, request_of
from sandbox.tables import PEOPLE

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping
    from concurrent.futures import Future
    from pathlib import Path

    from duckdb import DuckDBPyConnection
    from numpy.typing import NDArray

    from sandbox.partials import Rows
    from sandbox.scans import Request, Scan

_BATCH: Final = 65_536
_MOST_RUNS: Final = 20_000


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
        connection = store.locked(inputs[store.STORE], asked.limits)
        try:
            results, sets = [], []
            for step in asked.steps:
                if isinstance(step, Plain):
                    results.append((step.columns, connection.execute(step.sql).fetchall()))
                    continue
                rows, who = _scanned(connection, step, asked)
                results.append((step.columns, rows))
                sets += [who] if step.members else []
            parts = [reply_bytes(results), *sets]
        finally:
            connection.close()
    except (FusionError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - a database's message quotes cells
        failed = QueryFailed()
        failed.add_note(type(error).__name__)
        raise failed from None
    return members.joined(parts)


def _scanned(connection: DuckDBPyConnection, scan: Scan, asked: Request) -> tuple[Rows, bytes]:
    """Return the cells of a core, and who is in them."""
    hashes = _hashes(connection, scan.salt) if scan.salt else None
    ways = (_streamed, _gathered, _sorted) if scan.ordered else (_sorted,)
    found = None
    try:
        for way in ways:
            with contextlib.suppress(Unordered):
                found = _reduced(way(connection, scan.rows), scan, hashes, asked.limits.threads)
                break
    except TooManyCells:
        return connection.execute(scan.otherwise).fetchall(), members.NOBODY
    if found is None:
        raise QueryFailed
    # Without keys there is one cell, whoever is in it.
    cells = [cell for cell in range(found.coding.count) if found.sizes[cell] or not scan.keys]
    cells.sort(key=lambda cell: -int(found.sizes[cell]))
    quantiles = _quantiles(connection, scan)
    rows = [_row(found, cell, scan, quantiles) for cell in cells[:MAX_CELLS]]
    return rows, _members(found, cells, asked) if scan.members else b""


def _hashes(connection: DuckDBPyConnection, salt: str) -> NDArray[np.uint64]:
    sql = f"SELECT {hashed(salt, 'e')} AS x FROM {quoted(PEOPLE)} ORDER BY n"  # noqa: S608 - our own
    found: NDArray[np.uint64] = connection.execute(sql).fetchnumpy()["x"]
    return found


def _reduced(
    batches: Generator[pa.RecordBatch], scan: Scan, hashes: NDArray[np.uint64] | None, threads: int
) -> Reduction:
    """Reduce rows by several threads: numpy works outside the interpreter's lock."""
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
    free: SimpleQueue[Reduction] = SimpleQueue()
    for each in each_own:
        free.put(each)

    def add(columns: list[pa.Array]) -> None:
        own = free.get()
        try:
            own.add(columns)
        finally:
            free.put(own)

    with contextlib.closing(batches), ThreadPoolExecutor(threads) as pool:
        under_way: deque[Future[None]] = deque()
        for columns in _whole(batches):
            if len(under_way) >= 2 * threads:
                under_way.popleft().result()
            under_way.append(pool.submit(add, columns))
        for future in under_way:
            future.result()
    for each in each_own[1:]:
        each_own[0].absorb(each)
    return each_own[0]


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


def _quantiles(connection: DuckDBPyConnection, scan: Scan) -> dict[tuple[Any, ...], Any]:
    """Return the quantiles of each cell by its keys."""
    rows = connection.execute(scan.quantiles).fetchall() if scan.quantiles else []
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
