"""From rows to cells, where the rows of one entity are neighbours: no table of groups is built.

Batches of rows come in the order of people. Within a batch rows are put in the order of their cells
(a stable sort of small numbers), after which what one entity adds to one cell is a run of
neighbours and so is a cell: both levels of a core (:mod:`sandbox.compile`) are sums over runs.
Results are those of the SQL, to the last digit: all numbers are whole, and totals are kept in two
halves, so that nothing overflows. Pure: takes arrays, touches no engine and no file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from sandbox.farthest import Farthest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from sandbox.coding import Coding
    from sandbox.relations import Measure

    Ints = NDArray[np.int64]
    Members = NDArray[np.int32]

TOP: Final = 3
_SAFE: Final = 2**62
_HALF: Final = 32
_LOW: Final = 2**_HALF - 1
_LARGEST: Final = np.iinfo(np.int64).max


@dataclass(slots=True)
class _Total:
    """Sums that 64 bits may not hold: high and low half of each."""

    high: Ints
    low: Ints

    def add(self, cells: Any, values: Ints, starts: Any, most: int) -> None:  # noqa: ANN401 - numbers
        if most * len(values) < _SAFE:
            sums: Ints = np.add.reduceat(values, starts)
            self.high[cells] += sums >> _HALF
            self.low[cells] += sums & _LOW
        else:
            self.high[cells] += np.add.reduceat(values >> _HALF, starts)
            self.low[cells] += np.add.reduceat(values & _LOW, starts)

    def of(self, cell: int) -> int:
        return (int(self.high[cell]) << _HALF) + int(self.low[cell])


class _Kept:
    """What is kept of one measure, by cell; grows with the cells."""

    def __init__(self, measure: Measure) -> None:
        self.measure = measure
        self.entities = np.zeros(0, np.int64)
        self.total, self.size, self.squares = (_Total(*np.zeros((2, 0), np.int64)) for _ in "123")
        self.tops = {name: np.zeros((0, TOP), np.int64) for name in ("mbc", "pq", "uv")}
        self.least, self.greatest = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self.key = np.zeros(0, np.uint64)

    def grow(self, cells: int) -> None:
        more = cells - len(self.entities)
        self.entities = _longer(self.entities, more)
        self.key = _longer(self.key, more)
        for total in (self.total, self.size, self.squares):
            total.high, total.low = _longer(total.high, more), _longer(total.low, more)
        self.tops = {name: _longer(top, more) for name, top in self.tops.items()}
        self.least = _longer(self.least, more, _LARGEST)
        self.greatest = _longer(self.greatest, more, -_LARGEST)

    def absorb(self, other: _Kept, cells: Ints) -> None:
        """Add what another has; its cells are these."""
        self.entities[cells] += other.entities
        self.key[cells] ^= other.key
        for own, more in (
            (self.total, other.total), (self.size, other.size), (self.squares, other.squares),
        ):  # fmt: skip
            own.high[cells] += more.high
            own.low[cells] += more.low
        for name, top in self.tops.items():
            both = np.sort(np.concatenate([top[cells], other.tops[name]], axis=1), axis=1)
            top[cells] = both[:, : -TOP - 1 : -1]
        self.least[cells] = np.minimum(self.least[cells], other.least)
        self.greatest[cells] = np.maximum(self.greatest[cells], other.greatest)

    def columns(self, cell: int) -> dict[str, int | None]:
        """Return what the SQL of a core has in the columns of a measure, by short name."""
        found: dict[str, int | None] = {
            "n": int(self.entities[cell]),
            "t": self.total.of(cell),
            "a": self.size.of(cell),
            "s": self.squares.of(cell),
            "x": int(self.key[cell]),
            "l": None,
            "h": None,
        }
        for names, top in self.tops.items():
            found |= {name: int(top[cell, place]) for place, name in enumerate(names)}
        if self.greatest[cell] >= self.least[cell]:
            found |= {"l": int(self.least[cell]), "h": int(self.greatest[cell])}
        return found


@dataclass(slots=True)
class _Runs:
    """A batch in the order of cells.

    Attributes:
        order: Of its rows; None if they are in it.
        starts: First row of each run of one entity in one cell, and the number of rows.
        firsts: First run of each cell, and the number of runs.
        cells: Number of the cell of each of ``firsts``.
        longest: Rows of the longest run.
    """

    order: Any
    starts: Any
    firsts: Any
    cells: Any
    longest: int = field(init=False)

    def __post_init__(self) -> None:
        """Find the longest run."""
        self.longest = int((self.starts[1:] - self.starts[:-1]).max())

    def ordered(self, values: Any) -> Any:  # noqa: ANN401 - an array of any type
        return values if self.order is None else values.take(self.order)

    def sums(self, values: Any) -> Ints:  # noqa: ANN401 - numbers
        """Return the sum of each run; right as long as each is one of 64 bits."""
        # Differences of running totals are right even where those have wrapped around.
        totals = np.zeros(len(values) + 1, np.int64)
        np.cumsum(values, out=totals[1:], dtype=np.int64)
        at = totals.take(self.starts)
        found: Ints = at[1:] - at[:-1]
        return found


@dataclass(slots=True)
class Reduction:
    """The cells of one core.

    Attributes:
        coding: Of its keys.
        measures: With the position of each value among the value columns.
        products: Of each value column, the two of which it is the product; None if it is given.
        hashes: By number of a person, where noise is wanted.
        edges: Value columns whose farthest values are read as the one that follows.
        beyond: How many people such values are of.
        members: Whether who is in which cell is kept.
        sizes: Entities of each cell.
        keys: Of the set of entities of each cell.
        alone: Whether nobody was in two cells so far.
        pairs: People and cells of each batch, each pair once, where ``members`` says so.
    """

    coding: Coding
    measures: Sequence[Measure]
    products: Sequence[tuple[int, int] | None]
    hashes: NDArray[np.uint64] | None = None
    edges: Sequence[int] = ()
    beyond: int = 1
    members: bool = False
    sizes: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    keys: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, np.uint64))
    alone: bool = True
    pairs: list[tuple[Members, Members]] = field(default_factory=list)
    _kept: list[_Kept] = field(default_factory=list)
    _far: Farthest = field(init=False)

    def __post_init__(self) -> None:
        """Begin without cells."""
        self._kept = [_Kept(each) for each in self.measures]
        self._far = Farthest(len(self.edges), self.beyond)
        self._grow()

    def add(self, columns: Sequence[pa.Array]) -> None:
        """Take in all rows of some people: the number of a person, then keys, then given values.

        Raises:
            TooManyCells: There are more than are kept.
        """
        count = self.coding.keys
        people = columns[0].to_numpy()
        ids = self.coding.cells(columns[1 : 1 + count], len(people))
        self._grow()
        runs = _runs(people, ids)
        who = None
        if self.members or self.hashes is not None or self.edges:
            who = runs.ordered(people).take(runs.starts[:-1])
        if self.members and who is not None:
            self._keep(runs, who, people)
        self.sizes[runs.cells] += runs.firsts[1:] - runs.firsts[:-1]
        hashes = None if self.hashes is None else self.hashes[who]
        if hashes is not None:
            self.keys[runs.cells] ^= np.bitwise_xor.reduceat(hashes, runs.firsts[:-1])
        values = self._values(columns[1 + count :], runs)
        for kept in self._kept:
            _measure(kept, runs, values, hashes)
        if self.edges and who is not None:
            columns_read = [(values[place].values, values[place].there) for place in self.edges]
            self._far.add(columns_read, runs.starts, runs.firsts, runs.cells, who)

    def absorb(self, other: Reduction) -> None:
        """Take in the cells of another, which was of other people.

        Raises:
            TooManyCells: There are more than are kept.
        """
        cells = np.array([self.coding.number(keys) for keys in other.coding.found], np.int64)
        self._grow()
        self.sizes[cells] += other.sizes
        self.keys[cells] ^= other.keys
        self.alone = self.alone and other.alone
        self.pairs += [(who, cells[places].astype(np.int32)) for who, places in other.pairs]
        for own, more in zip(self._kept, other._kept, strict=True):
            own.absorb(more, cells)
        self._far.absorb(other._far, cells)

    def parts(self, cell: int) -> Iterator[dict[str, int | None]]:
        """Yield what is kept of each measure."""
        for kept in self._kept:
            found = kept.columns(cell)
            factors = self._factors(kept.measure.value)
            if factors:
                bound = min(kept.measure.bound, _LARGEST)
                found["t"] = (found["t"] or 0) + self._far.change(cell, factors, bound)
                edges = self._far.edges(factors[0], cell) if len(factors) == 1 else None
                if edges is not None:
                    found["l"], found["h"] = edges
            yield found

    def _factors(self, value: int | None) -> tuple[int, ...]:
        """Return which of the columns that are read so a value is, or is the product of."""
        if value is None:
            return ()
        places = [*(self.products[value] or (value,))]
        return tuple(self.edges.index(each) for each in places if each in self.edges)

    def _values(self, columns: Sequence[pa.Array], runs: _Runs) -> list[_Numbers]:
        """Return every value column in the order of cells, products made."""
        places = [place for place, factors in enumerate(self.products) if factors is None]
        values = {p: _numbers(each, runs) for p, each in zip(places, columns, strict=True)}
        for place, factors in enumerate(self.products):
            if factors is not None:
                values[place] = _multiplied(*(values[each] for each in factors))
        return [values[place] for place in range(len(self.products))]

    def _keep(self, runs: _Runs, who: Members, people: Members) -> None:
        if self.alone and runs.order is not None:
            persons = 1 + int(np.count_nonzero(people[1:] != people[:-1]))
            self.alone = persons == len(who)
        places = np.repeat(runs.cells.astype(np.int32), runs.firsts[1:] - runs.firsts[:-1])
        self.pairs.append((who, places))

    def _grow(self) -> None:
        more = self.coding.count - len(self.sizes)
        if more > 0:
            self.sizes, self.keys = _longer(self.sizes, more), _longer(self.keys, more)
            for each in self._kept:
                each.grow(self.coding.count)
            self._far.grow(self.coding.count)


def _runs(people: Members, ids: Any) -> _Runs:  # noqa: ANN401 - small numbers, or None
    rows = len(people)
    if ids is None:
        changes = np.flatnonzero(people[1:] != people[:-1])
        starts = _bounds(changes, rows)
        return _Runs(None, starts, np.array([0, len(starts) - 1]), np.zeros(1, np.int64))
    order = np.argsort(ids, kind="stable")
    people = people.take(order)
    changes = people[1:] != people[:-1]
    sizes = np.bincount(ids)
    cells = np.flatnonzero(sizes)
    rows_before = np.cumsum(sizes[cells])
    # Where a cell begins there begins a run, even of whoever the last run was of.
    changes[rows_before[:-1] - 1] = True
    starts = _bounds(np.flatnonzero(changes), rows)
    firsts = np.concatenate([[0], np.searchsorted(starts, rows_before)])
    return _Runs(order, starts, firsts, cells)


def _bounds(changes: Any, rows: int) -> Any:  # noqa: ANN401 - numbers of rows
    """Return where runs begin, and where the last one ends."""
    found = np.empty(len(changes) + 2, np.int64)
    found[0], found[-1] = 0, rows
    np.add(changes, 1, out=found[1:-1])
    return found


@dataclass(frozen=True, slots=True)
class _Numbers:
    """A value column in the order of cells: its numbers, 0 where there is none."""

    values: Ints
    there: NDArray[np.bool_] | None


def _numbers(column: pa.Array, runs: _Runs) -> _Numbers:
    if column.null_count == 0:
        return _Numbers(runs.ordered(column.to_numpy()), None)
    there = column.is_valid().to_numpy(zero_copy_only=False)
    return _Numbers(runs.ordered(column.fill_null(0).to_numpy()), runs.ordered(there))


def _multiplied(one: _Numbers, other: _Numbers) -> _Numbers:
    there = one.there if other.there is None else other.there
    if one.there is not None and other.there is not None:
        there = one.there & other.there
    return _Numbers(one.values * other.values, there)


def _measure(
    kept: _Kept, runs: _Runs, values: list[_Numbers], hashes: NDArray[np.uint64] | None
) -> None:
    """Add what a batch has of one measure."""
    measure, cells, firsts = kept.measure, runs.cells, runs.firsts[:-1]
    own = None if measure.value is None else values[measure.value]
    if measure.spread and own is not None:
        _spread(kept, own, runs)
    if measure.only_total and own is not None:
        _total(kept, own, runs)
        return
    if measure.how == "sum" and own is not None:
        mine = _sums(own, runs, min(measure.bound, _LARGEST))
    elif measure.how == "rows" or own is None or own.there is None:
        mine = np.minimum(runs.starts[1:] - runs.starts[:-1], measure.bound)
    else:
        mine = np.minimum(runs.sums(own.there), measure.bound)
    some = mine != 0
    kept.entities[cells] += np.add.reduceat(some, firsts, dtype=np.int64)
    sizes = np.abs(mine) if measure.signed else mine
    tops = np.maximum.reduceat(sizes, firsts)
    most = int(tops.max())
    kept.total.add(cells, mine, firsts, most)
    if measure.signed:
        kept.size.add(cells, sizes, firsts, most)
        _largest(kept.tops["pq"], mine, np.maximum.reduceat(mine, firsts), runs)
        _largest(kept.tops["uv"], -mine, np.maximum.reduceat(-mine, firsts), runs)
    if measure.how == "sum":
        _largest(kept.tops["mbc"], sizes, tops, runs)
    else:
        top = kept.tops["mbc"][:, 0]
        top[cells] = np.maximum(top[cells], tops)
        kept.squares.add(cells, mine * mine, firsts, most * most)
    if hashes is not None:
        kept.key[cells] ^= np.bitwise_xor.reduceat(np.where(some, hashes, np.uint64(0)), firsts)


def _total(kept: _Kept, own: _Numbers, runs: _Runs) -> None:
    """Add a sum of which the total alone is wanted: mostly nobody is near the bound."""
    bound = min(kept.measure.bound, _LARGEST)
    most = max(int(own.values.max()), -int(own.values.min()))
    if most * runs.longest <= bound:
        kept.total.add(runs.cells, own.values, runs.starts[runs.firsts[:-1]], most)
        return
    mine = _sums(own, runs, bound)
    most = int(np.abs(mine).max())
    kept.total.add(runs.cells, mine, runs.firsts[:-1], most)


def _sums(own: _Numbers, runs: _Runs, bound: int) -> Ints:
    """Return what each entity adds, cut off at its bound."""
    values = own.values
    most = max(int(values.max()), -int(values.min()))
    most *= runs.longest
    if most < _SAFE:
        found = runs.sums(values)
        if most <= bound:
            return found
    else:
        high, low = runs.sums(values >> _HALF), runs.sums(values & _LOW)
        high, low = high + (low >> _HALF), low & _LOW
        # Beyond 2^62 either way it is beyond every bound.
        edge = 1 << (62 - _HALF)
        found = (np.clip(high, -edge, edge) << _HALF) + low
    return np.clip(found, -bound, bound)


def _largest(top: NDArray[np.int64], values: Ints, tops: Ints, runs: _Runs) -> None:
    """Keep the largest values above 0 of each cell; few cells have one larger than are known.

    Args:
        top: Of each cell, the largest first.
        values: Of each run.
        tops: Greatest of the runs of each cell.
        runs: Which cells they are of.
    """
    for place in np.flatnonzero(tops > top[runs.cells, -1]):
        cell = runs.cells[place]
        own = values[runs.firsts[place] : runs.firsts[place + 1]]
        own = own[own > top[cell, -1]]
        if len(own) > TOP:
            own = np.partition(own, len(own) - TOP)[-TOP:]
        top[cell] = np.sort(np.concatenate([top[cell], own]))[: -TOP - 1 : -1]


def _spread(kept: _Kept, own: _Numbers, runs: _Runs) -> None:
    rows = runs.starts[runs.firsts[:-1]]
    low = high = own.values
    if own.there is not None:
        low = np.where(own.there, low, _LARGEST)
        high = np.where(own.there, high, -_LARGEST)
    cells = runs.cells
    kept.least[cells] = np.minimum(kept.least[cells], np.minimum.reduceat(low, rows))
    kept.greatest[cells] = np.maximum(kept.greatest[cells], np.maximum.reduceat(high, rows))


def _longer(values: Any, more: int, fill: int = 0) -> Any:  # noqa: ANN401 - an array of any type
    added = np.full((more, *values.shape[1:]), fill, values.dtype)
    return np.concatenate([values, added])
