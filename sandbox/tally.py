"""Runs of rows that stay in their order: each row is added to its place in a table.

The table has a row for each cell and a column for each person. A batch's people are few, so that it
stays in the processor's cache, and neighbours in the batch are neighbours in it. Sums are of whole
numbers of 64 bits, right even where a running total has wrapped around. Pure.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from sandbox.runs import in_order

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sandbox.runs import Ints, Members, People, Runs

_LARGEST: Final = 4
"""Places to a row of the batch: where a table has more, to put rows in order takes less."""

_START: Final[dict[np.ufunc, int]] = {
    np.add: 0,
    np.minimum: np.iinfo(np.int64).max,
    np.maximum: np.iinfo(np.int64).min,
}


def runs_of(people: People, ids: NDArray[Any] | None, cells: int) -> Runs:
    """Return the runs of a batch, in the way that takes less time.

    Args:
        people: Whom its rows are about; there is one at least.
        ids: Number of the cell of each row; None if there is only one.
        cells: How many numbers there are.
    """
    if ids is None or people.single or cells * (len(people.bounds) - 1) > _LARGEST * people.rows:
        return in_order(people, ids, cells)
    return Tallied(people, ids, cells)


class Tallied:
    """A batch whose rows are not moved: :class:`sandbox.runs.Runs`.

    Attributes:
        people: Whom its rows are about.
        firsts: First run of each cell, and the number of runs.
        cells: Number of the cell of each of ``firsts``.
        lengths: Rows of each run.
    """

    def __init__(self, people: People, ids: NDArray[Any], cells: int) -> None:
        """Take as :func:`runs_of` does."""
        self.people = people
        self._ids = ids
        counts = np.diff(people.bounds)
        self._shape = cells, len(counts)
        self._places = np.repeat(np.arange(len(counts)), counts)
        self._places += np.arange(0, cells * len(counts), len(counts)).take(ids)
        tally = np.bincount(self._places, minlength=cells * len(counts))
        self._runs = np.flatnonzero(tally != 0)
        self.lengths: Ints = tally.take(self._runs)
        edges = np.searchsorted(self._runs, np.arange(0, len(tally) + 1, len(counts)))
        self.cells: Ints = np.flatnonzero(edges[1:] > edges[:-1])
        self.firsts: Ints = np.append(edges[self.cells], len(self._runs))

    @cached_property
    def longest(self) -> int:
        """Rows of the longest run."""
        return int(self.lengths.max())

    @cached_property
    def who(self) -> Members:
        """Number of the person of each run."""
        return self.people.numbers(None).take(self._runs % self._shape[1])

    def ordered(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return values of rows as they are: their order is the batch's."""
        return values

    def sums(self, values: NDArray[Any]) -> Ints:
        """Return the sum of each run; right as long as each is one of 64 bits."""
        table = np.zeros(self._shape[0] * self._shape[1], np.int64)
        np.add.at(table, self._places, values.astype(np.int64, copy=False))
        return table.take(self._runs)

    def by_cell(self, function: np.ufunc, values: NDArray[Any]) -> Ints:
        """Return the values of all rows of each cell, reduced by a function, in 64 bits."""
        found = np.full(self._shape[0], _START[function], np.int64)
        function.at(found, self._ids, values.astype(np.int64, copy=False))
        return found[self.cells]
