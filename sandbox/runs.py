"""Runs: the rows of one person in one cell, of a batch that has all rows of some people.

In the order of cells (:class:`InOrder`) a run's rows are neighbours: what a batch is put into that
order by keeps the order within a cell, so that runs begin where the person changes. Where rows are
many to a person and cells few, their order is left as it is and each is added to its run's place in
a table of people and cells (:class:`sandbox.tally.Tallied`). Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]
    Members = NDArray[np.int32]

_FEW: Final = 32
"""Cells among which rows are sought cell by cell; among more they are sorted."""

_DENSE: Final = 10
"""A cell with more than one row in so many is sought: numpy finds such places without a branch."""


class People(Protocol):
    """Whom the rows of a batch are about."""

    @property
    def rows(self) -> int:
        """How many rows there are."""
        ...

    @property
    def single(self) -> bool:
        """Whether each is known to have one row."""
        ...

    @property
    def bounds(self) -> Ints:
        """Where the rows of each person begin, and where those of the last one end."""
        ...

    @property
    def labels(self) -> NDArray[Any]:
        """Of each row a number that differs between neighbours who are two people."""
        ...

    def numbers(self, labels: NDArray[Any] | None) -> Members:
        """Return the numbers of the people with these labels; of all, in order, without them."""
        ...


@dataclass(frozen=True, slots=True)
class ByRow:
    """Rows that each have the number of their person."""

    labels: Members

    @property
    def rows(self) -> int:
        """As :class:`People` says."""
        return len(self.labels)

    @property
    def single(self) -> bool:
        """As :class:`People` says."""
        return False

    @property
    def bounds(self) -> Ints:
        """As :class:`People` says."""
        return _bounds(np.flatnonzero(self.labels[1:] != self.labels[:-1]), len(self.labels))

    def numbers(self, labels: NDArray[Any] | None) -> Members:
        """As :class:`People` says."""
        return self.labels.take(self.bounds[:-1]) if labels is None else labels


@dataclass(frozen=True)
class ByPerson:
    """People, each once, and how many rows each has: none has none."""

    people: Members
    counts: NDArray[np.int32]
    rows: int

    @property
    def single(self) -> bool:
        """As :class:`People` says."""
        return self.rows == len(self.people)

    @cached_property
    def bounds(self) -> Ints:
        """As :class:`People` says."""
        found = np.zeros(len(self.counts) + 1, np.int64)
        np.cumsum(self.counts, out=found[1:])
        return found

    @property
    def labels(self) -> NDArray[Any]:
        """As :class:`People` says."""
        narrow = np.uint16 if len(self.counts) <= 1 << 16 else np.int32
        places = np.arange(len(self.counts), dtype=narrow)
        return np.repeat(places, self.counts)

    def numbers(self, labels: NDArray[Any] | None) -> Members:
        """As :class:`People` says."""
        return self.people if labels is None else self.people.take(labels)


class Runs(Protocol):
    """The runs of a batch, cell by cell, and within a cell in the order of people."""

    @property
    def people(self) -> People:
        """Whom the rows are about."""
        ...

    @property
    def firsts(self) -> Ints:
        """First run of each cell, and the number of runs."""
        ...

    @property
    def cells(self) -> Ints:
        """Number of the cell of each of ``firsts``."""
        ...

    @property
    def lengths(self) -> Ints:
        """Rows of each run."""
        ...

    @property
    def longest(self) -> int:
        """Rows of the longest run."""
        ...

    @property
    def who(self) -> Members:
        """Number of the person of each run."""
        ...

    def ordered(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return values of rows in the order in which the other methods take them."""
        ...

    def sums(self, values: NDArray[Any]) -> Ints:
        """Return the sum of each run; right as long as each is one of 64 bits."""
        ...

    def by_cell(self, function: np.ufunc, values: NDArray[Any]) -> Ints:
        """Return the values of all rows of each cell, reduced by a function, in 64 bits."""
        ...


@dataclass(frozen=True)
class InOrder:
    """A batch in the order of cells: :class:`Runs`.

    Attributes:
        people: Whom its rows are about.
        order: Of its rows; None if they are in it.
        starts: First row of each run of one person in one cell, and the number of rows.
        firsts: First run of each cell, and the number of runs.
        cells: Number of the cell of each of ``firsts``.
        labels: Of the person of each row, in the order of cells; None where runs are people.
    """

    people: People
    order: Ints | None
    starts: Ints
    firsts: Ints
    cells: Ints
    labels: NDArray[Any] | None = None

    @cached_property
    def lengths(self) -> Ints:
        """Rows of each run."""
        found: Ints = self.starts[1:] - self.starts[:-1]
        return found

    @cached_property
    def longest(self) -> int:
        """Rows of the longest run."""
        return 1 if self.people.single else int(self.lengths.max())

    @cached_property
    def who(self) -> Members:
        """Number of the person of each run."""
        labels = self.labels
        return self.people.numbers(None if labels is None else labels.take(self.starts[:-1]))

    def ordered(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return values of rows in the order of cells."""
        return values if self.order is None else values.take(self.order)

    def sums(self, values: NDArray[Any]) -> Ints:
        """Return the sum of each run; right as long as each is one of 64 bits."""
        if self.longest == 1:
            return values.astype(np.int64)
        # Differences of running totals are right even where those have wrapped around.
        totals = np.zeros(len(values) + 1, np.int64)
        np.cumsum(values, out=totals[1:], dtype=np.int64)
        at = totals.take(self.starts)
        found: Ints = at[1:] - at[:-1]
        return found

    def by_cell(self, function: np.ufunc, values: NDArray[Any]) -> Ints:
        """Return the values of all rows of each cell, reduced by a function, in 64 bits."""
        rows = self.starts[self.firsts[:-1]]
        found: Ints = function.reduceat(values, rows, dtype=np.int64)
        return found


def in_order(people: People, ids: NDArray[Any] | None, cells: int) -> InOrder:
    """Return the runs of a batch, its rows put in the order of cells.

    Args:
        people: Whom its rows are about; there is one at least.
        ids: Number of the cell of each row; None if there is only one.
        cells: How many numbers there are.
    """
    if ids is None:
        bounds = people.bounds
        return InOrder(people, None, bounds, np.array([0, len(bounds) - 1]), np.zeros(1, np.int64))
    order, found, sizes = _by_cell(ids, cells)
    ends = np.cumsum(sizes)
    if people.single:
        starts = np.arange(len(order) + 1)
        return InOrder(people, order, starts, np.concatenate([[0], ends]), found, order)
    labels = people.labels.take(order)
    changes = labels[1:] != labels[:-1]
    # Where a cell begins there begins a run, even of whoever the last run was of.
    changes[ends[:-1] - 1] = True
    starts = _bounds(np.flatnonzero(changes), len(labels))
    firsts = np.concatenate([[0], np.searchsorted(starts, ends)])
    return InOrder(people, order, starts, firsts, found, labels)


def _by_cell(ids: NDArray[Any], count: int) -> tuple[Ints, Ints, Ints]:
    """Return the rows cell by cell, each cell's in their order; the cells; the rows of each."""
    if count > _FEW:
        return _sorted(ids)
    sizes = np.array([np.count_nonzero(ids == cell) for cell in range(count)])
    left, rows = ids, None
    parts: list[Ints] = []
    found: list[int] = []
    todo = [cell for cell in range(count) if sizes[cell]]
    while todo:
        dense = [cell for cell in todo if sizes[cell] * _DENSE > len(left)]
        if not dense:
            order, cells, _ = _sorted(left)
            return (
                np.concatenate([*parts, order if rows is None else rows.take(order)]),
                np.array([*found, *cells]),
                sizes[[*found, *cells]],
            )
        others = np.ones(len(left), bool)
        for cell in dense:
            there = left == cell
            others ^= there
            own = np.flatnonzero(there)
            parts.append(own if rows is None else rows.take(own))
        found += dense
        todo = [cell for cell in todo if cell not in dense]
        if todo:
            own = np.flatnonzero(others)
            rows = own if rows is None else rows.take(own)
            left = left.take(own)
    return np.concatenate(parts), np.array(found), sizes[found]


def _sorted(ids: NDArray[Any]) -> tuple[Ints, Ints, Ints]:
    sizes = np.bincount(ids)
    cells = np.flatnonzero(sizes)
    return np.argsort(ids, kind="stable"), cells, sizes[cells]


def _bounds(changes: Ints, rows: int) -> Ints:
    """Return where runs begin, and where the last one ends."""
    found = np.empty(len(changes) + 2, np.int64)
    found[0], found[-1] = 0, rows
    np.add(changes, 1, out=found[1:-1])
    return found
