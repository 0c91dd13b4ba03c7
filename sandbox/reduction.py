"""From rows to cells, where the rows of one entity are neighbours: no table of groups is built.

Batches of rows come in the order of people. What one entity adds to one cell of a batch is a run
(:mod:`sandbox.runs`), and a cell is a run of those: both levels of a core (:mod:`sandbox.compile`)
are sums over runs.
Results are those of the SQL, to the last digit: all numbers are whole, and totals are kept in two
halves, so that nothing overflows. Pure: takes arrays, touches no engine and no file.

Values may come in fewer than 64 bits; whatever is computed of them is of 64. What two measures have
in common is computed once a batch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from sandbox.farthest import Farthest
from sandbox.runs import in_order
from sandbox.tally import runs_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from sandbox.coding import Coding
    from sandbox.relations import Measure
    from sandbox.runs import People, Runs

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

    def add(self, cells: Ints, halves: tuple[Ints, Ints]) -> None:
        self.high[cells] += halves[0]
        self.low[cells] += halves[1]

    def of(self, cell: int) -> int:
        return (int(self.high[cell]) << _HALF) + int(self.low[cell])


def _halves(
    values: NDArray[Any], add: Callable[[NDArray[Any]], Ints], most: int
) -> tuple[Ints, Ints]:
    """Return sums that 64 bits may not hold, in two halves.

    Args:
        values: What is added up.
        add: Returns the sum of each cell.
        most: The greatest magnitude of a value, or more.
    """
    if most * len(values) < _SAFE:
        sums = add(values)
        return sums >> _HALF, sums & _LOW
    wide = values.astype(np.int64)
    return add(wide >> _HALF), add(wide & _LOW)


def _added(runs: Runs, values: NDArray[Any], most: int) -> tuple[Ints, Ints]:
    """Return the sum of each cell of what its runs add, in halves."""
    firsts = runs.firsts[:-1]
    return _halves(values, lambda each: np.add.reduceat(each, firsts, dtype=np.int64), most)


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


class Column:
    """A value column of a batch in the order of its runs, and what is known of it."""

    def __init__(self, runs: Runs, values: NDArray[Any], there: NDArray[np.bool_] | None) -> None:
        """Take its whole numbers, 0 where there is none, and where there are some, if not all."""
        self.runs = runs
        self.values = values
        self.there = there

    @cached_property
    def most(self) -> int:
        """The greatest magnitude."""
        return max(int(self.values.max()), -int(self.values.min()))

    @cached_property
    def wide(self) -> Ints:
        """The values in 64 bits."""
        return self.values.astype(np.int64, copy=False)

    @cached_property
    def total(self) -> tuple[Ints, Ints]:
        """The sum over the rows of each cell, in halves."""
        return _halves(self.values, partial(self.runs.by_cell, np.add), self.most)

    @cached_property
    def spread(self) -> tuple[Ints, Ints]:
        """Least and greatest value of each cell."""
        low = high = self.values
        if self.there is not None:
            low = np.where(self.there, self.wide, _LARGEST)
            high = np.where(self.there, self.wide, -_LARGEST)
        return self.runs.by_cell(np.minimum, low), self.runs.by_cell(np.maximum, high)


class _Added:
    """What each entity adds to each cell in a batch."""

    def __init__(self, runs: Runs, mine: Ints, *, signed: bool = False) -> None:
        """Take what each run adds, and whether it can be below 0."""
        self.runs = runs
        self.mine = mine
        self.signed = signed

    @cached_property
    def some(self) -> NDArray[np.bool_] | None:
        """Where it is not 0; None where it is nowhere."""
        return None if np.count_nonzero(self.mine) == len(self.mine) else self.mine != 0

    @cached_property
    def entities(self) -> Ints:
        """How many add something to each cell."""
        firsts = self.runs.firsts
        if self.some is None:
            return firsts[1:] - firsts[:-1]
        found: Ints = np.add.reduceat(self.some, firsts[:-1], dtype=np.int64)
        return found

    @cached_property
    def sizes(self) -> Ints:
        """The magnitudes."""
        return np.abs(self.mine) if self.signed else self.mine

    @cached_property
    def tops(self) -> Ints:
        """The greatest magnitude in each cell."""
        found: Ints = np.maximum.reduceat(self.sizes, self.runs.firsts[:-1])
        return found

    @cached_property
    def most(self) -> int:
        """The greatest magnitude of all."""
        return int(self.tops.max())

    @cached_property
    def total(self) -> tuple[Ints, Ints]:
        """The sum of each cell, in halves."""
        return _added(self.runs, self.mine, self.most)

    @cached_property
    def squares(self) -> tuple[Ints, Ints]:
        """The sum of squares of each cell, in halves."""
        return _added(self.runs, self.mine * self.mine, self.most * self.most)


class _Once(_Added):
    """Each entity has one row, which counts."""

    def __init__(self, runs: Runs) -> None:
        super().__init__(runs, runs.lengths)
        self.some = None
        self.entities = runs.firsts[1:] - runs.firsts[:-1]
        self.tops = np.ones(len(self.entities), np.int64)
        self.total = self.squares = (self.entities >> _HALF, self.entities & _LOW)


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

    def add(
        self, people: People, keys: Sequence[pa.Array], values: Sequence[tuple[Any, Any]]
    ) -> None:
        """Take in all rows of some people.

        Args:
            people: Whom they are about.
            keys: Of each row.
            values: Of each given value column whole numbers, 0 where there is none, and where there
                are some, None if everywhere. Columns that are the same object are computed once.

        Raises:
            TooManyCells: There are more than are kept.
        """
        ids = self.coding.cells(keys, people.rows)
        self._grow()
        # Who is farthest is looked for among neighbours.
        far = in_order(people, ids, self.coding.count) if self.edges else None
        runs: Runs = far or runs_of(people, ids, self.coding.count)
        if self.members:
            self._keep(runs)
        self.sizes[runs.cells] += runs.firsts[1:] - runs.firsts[:-1]
        hashes = None if self.hashes is None else self.hashes[runs.who]
        if hashes is not None:
            self.keys[runs.cells] ^= np.bitwise_xor.reduceat(hashes, runs.firsts[:-1])
        batch = _Batch(runs, self._values(values, runs), hashes)
        for kept in self._kept:
            batch.measure(kept)
        if far is not None:
            read = [batch.values[place] for place in self.edges]
            columns = [(each.wide, each.there) for each in read]
            self._far.add(columns, far.starts, far.firsts, far.cells, far.who)

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
                if kept.measure.how == "sum":  # how many there are stays
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

    def _values(self, given: Sequence[tuple[Any, Any]], runs: Runs) -> list[Column]:
        """Return every value column in the order of its runs, products made."""
        made: dict[tuple[object, ...], Column] = {}
        columns: dict[int, Column] = {}
        places = [place for place, factors in enumerate(self.products) if factors is None]
        for place, (values, there) in zip(places, given, strict=True):
            same = (id(values), id(there))
            if same not in made:
                mask = None if there is None else runs.ordered(there)
                made[same] = Column(runs, runs.ordered(values), mask)
            columns[place] = made[same]
        for place, factors in enumerate(self.products):
            if factors is not None:
                one, other = (columns[each] for each in factors)
                pair = (id(one), id(other), "product")
                if pair not in made:
                    made[pair] = _multiplied(one, other)
                columns[place] = made[pair]
        return [columns[place] for place in range(len(self.products))]

    def _keep(self, runs: Runs) -> None:
        who = runs.who
        if self.alone and len(runs.cells) > 1:
            self.alone = len(runs.people.bounds) - 1 == len(who)
        places = np.repeat(runs.cells.astype(np.int32), runs.firsts[1:] - runs.firsts[:-1])
        self.pairs.append((who, places))

    def _grow(self) -> None:
        more = self.coding.count - len(self.sizes)
        if more > 0:
            self.sizes, self.keys = _longer(self.sizes, more), _longer(self.keys, more)
            for each in self._kept:
                each.grow(self.coding.count)
            self._far.grow(self.coding.count)


def _multiplied(one: Column, other: Column) -> Column:
    there = one.there if other.there is None else other.there
    if one.there is not None and other.there is not None:
        there = one.there & other.there
    return Column(one.runs, one.wide * other.wide, there)


class _Batch:
    """Adds what a batch has to what is kept of measures."""

    def __init__(self, runs: Runs, values: list[Column], hashes: NDArray[np.uint64] | None) -> None:
        self.runs = runs
        self.values = values
        self.hashes = hashes
        self._counts: dict[tuple[int, int], _Added] = {}

    def measure(self, kept: _Kept) -> None:
        """Add what there is of one measure."""
        measure, cells = kept.measure, self.runs.cells
        own = None if measure.value is None else self.values[measure.value]
        if measure.spread and own is not None:
            low, high = own.spread
            kept.least[cells] = np.minimum(kept.least[cells], low)
            kept.greatest[cells] = np.maximum(kept.greatest[cells], high)
        bound = min(measure.bound, _LARGEST)
        if measure.how != "sum" or own is None:
            self._counted(kept, self._count(own, measure.bound))
        elif not measure.only_total:
            self._summed(kept, _Added(self.runs, _sums(own, bound), signed=measure.signed))
        # Of which the total alone is wanted: mostly nobody is near the bound.
        elif own.most * self.runs.longest <= bound:
            kept.total.add(cells, own.total)
        else:
            kept.total.add(cells, _Added(self.runs, _sums(own, bound), signed=True).total)

    def _count(self, own: Column | None, bound: int) -> _Added:
        there = None if own is None else own.there
        same = (id(there), bound)
        if there is None and self.runs.longest == 1:
            self._counts.setdefault(same, _Once(self.runs))
        elif same not in self._counts:
            counts = self.runs.lengths if there is None else self.runs.sums(there)
            self._counts[same] = _Added(self.runs, np.minimum(counts, bound))
        return self._counts[same]

    def _counted(self, kept: _Kept, added: _Added) -> None:
        cells = self.runs.cells
        self._always(kept, added)
        top = kept.tops["mbc"][:, 0]
        top[cells] = np.maximum(top[cells], added.tops)
        kept.squares.add(cells, added.squares)

    def _summed(self, kept: _Kept, added: _Added) -> None:
        runs, mine = self.runs, added.mine
        self._always(kept, added)
        _largest(kept.tops["mbc"], added.sizes, added.tops, runs)
        if kept.measure.signed:
            firsts = runs.firsts[:-1]
            kept.size.add(runs.cells, _added(runs, added.sizes, added.most))
            _largest(kept.tops["pq"], mine, np.maximum.reduceat(mine, firsts), runs)
            _largest(kept.tops["uv"], -mine, np.maximum.reduceat(-mine, firsts), runs)

    def _always(self, kept: _Kept, added: _Added) -> None:
        cells = self.runs.cells
        kept.entities[cells] += added.entities
        kept.total.add(cells, added.total)
        if self.hashes is not None:
            hashes, some = self.hashes, added.some
            hashes = hashes if some is None else np.where(some, hashes, np.uint64(0))
            kept.key[cells] ^= np.bitwise_xor.reduceat(hashes, self.runs.firsts[:-1])


def _sums(own: Column, bound: int) -> Ints:
    """Return what each entity adds, cut off at its bound."""
    runs, most = own.runs, own.most * own.runs.longest
    if most < _SAFE:
        found = runs.sums(own.values)
        if most <= bound:
            return found
    else:
        high, low = runs.sums(own.wide >> _HALF), runs.sums(own.wide & _LOW)
        high, low = high + (low >> _HALF), low & _LOW
        # Beyond 2^62 either way it is beyond every bound.
        edge = 1 << (62 - _HALF)
        found = (np.clip(high, -edge, edge) << _HALF) + low
    return np.clip(found, -bound, bound)


def _largest(top: NDArray[np.int64], values: Ints, tops: Ints, runs: Runs) -> None:
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


def _longer(values: Any, more: int, fill: int = 0) -> Any:  # noqa: ANN401 - an array of any type
    added = np.full((more, *values.shape[1:]), fill, values.dtype)
    return np.concatenate([values, added])
