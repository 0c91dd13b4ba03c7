"""The farthest values of each cell while rows are reduced: what :mod:`sandbox.edges` does in SQL.

Totals are of all rows first. Beside them the rows of the few people are kept who may lie beyond an
edge, so that what reading them as the edge changes can be added in the end: one pass is enough.
Pure, as :mod:`sandbox.reduction` is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Ints = NDArray[np.int64]
    There = NDArray[np.bool_] | None
    Column = tuple[Ints, There]

    Rows = tuple[Ints, NDArray[np.bool_]]
    """Values and whether there is one; a row of each for each column that is read so."""

    Factors = tuple[int, ...]
    """Which columns are multiplied, by their place among those that are read so."""

NONE: Final = -np.iinfo(np.int64).max
_HALF: Final = 32
_SIDES: Final = (1, -1)
_SPARE: Final = 64


@dataclass(slots=True)
class Farthest:
    """Of each cell the people with the highest and lowest values of some columns.

    Attributes:
        columns: How many columns are read so.
        n: How many people lie beyond an edge.
        cells: How many cells there are.
    """

    columns: int
    n: int
    cells: int = 0
    _tops: Ints = field(init=False)
    _who: Ints = field(init=False)
    _count: Ints = field(init=False)
    _rows: dict[tuple[int, int], Rows] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Begin without cells."""
        shape = (2 * self.columns, 0, self.n + 1)
        self._tops, self._who = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        self._count = np.zeros((self.columns, 0), np.int64)

    def grow(self, cells: int) -> None:
        """Make room for more cells."""
        shape = (2 * self.columns, cells - self.cells, self.n + 1)
        self._tops = np.concatenate([self._tops, np.full(shape, NONE, np.int64)], axis=1)
        self._who = np.concatenate([self._who, np.full(shape, -1, np.int64)], axis=1)
        more = np.zeros((self.columns, cells - self.cells), np.int64)
        self._count = np.concatenate([self._count, more], axis=1)
        self.cells = cells

    def add(
        self,
        columns: Sequence[Column],
        starts: Ints,
        firsts: Ints,
        cells: Ints,
        who: Any,  # noqa: ANN401 - numbers
    ) -> None:
        """Take in rows in the order of cells and people.

        Args:
            columns: Values of each, and which of them are there (None: all).
            starts: First row of each run of one person in one cell, and the number of rows.
            firsts: First run of each cell, and the number of runs.
            cells: Number of the cell of each.
            who: Whom each run is of.
        """
        begins = starts[firsts[:-1]]
        for column, (values, there) in enumerate(columns):
            self._counted(column, there, starts, firsts, cells)
            for side, extreme in ((2 * column, np.maximum), (2 * column + 1, np.minimum)):
                sign = _SIDES[side % 2]
                own = values if there is None else np.where(there, values, sign * NONE)
                best = sign * extreme.reduceat(own, begins)
                for place in np.flatnonzero(best > self._tops[side, cells, -1]).tolist():
                    begin, end = firsts[place], firsts[place + 1]
                    rows = own[starts[begin] : starts[end]]
                    most = sign * extreme.reduceat(rows, starts[begin:end] - starts[begin])
                    found = self._better(side, int(cells[place]), most, who[begin:end])
                    for run in (begin + found).tolist():
                        part = slice(starts[run], starts[run + 1])
                        self._keep((int(cells[place]), int(who[run])), columns, part)
        self._forget()

    def _counted(self, column: int, there: There, starts: Ints, firsts: Ints, cells: Ints) -> None:
        """Count people with a value, as far as it matters how many they are."""
        for place in np.flatnonzero(self._count[column, cells] <= 2 * self.n).tolist():
            begin, end = firsts[place], firsts[place + 1]
            some = end - begin
            if there is not None:
                rows = there[starts[begin] : starts[end]]
                own = np.logical_or.reduceat(rows, starts[begin:end] - starts[begin])
                some = np.count_nonzero(own)
            self._count[column, cells[place]] += some

    def _keep(self, key: tuple[int, int], columns: Sequence[Column], part: slice) -> None:
        if key not in self._rows:
            values = np.stack([own[part] for own, _ in columns])
            there = [np.ones(values.shape[1], bool) if e is None else e[part] for _, e in columns]
            self._rows[key] = values, np.stack(there)

    def _better(self, side: int, cell: int, most: Ints, who: Any) -> Ints:  # noqa: ANN401 - numbers
        """Keep the largest of a cell; return the places of those that were not known."""
        top, kept = self._tops[side, cell], self._who[side, cell]
        found = np.flatnonzero(most > top[-1])
        if len(found) > len(top):
            found = found[np.argpartition(most[found], -len(top))[-len(top) :]]
        both = np.concatenate([top, most[found]])
        order = np.argsort(-both, kind="stable")[: len(top)]
        people = np.concatenate([kept, who[found]])[order]
        self._tops[side, cell], self._who[side, cell] = both[order], people
        return np.asarray(found[np.isin(who[found], people)])

    def _forget(self) -> None:
        """Let rows of people go who are no longer among the farthest."""
        if len(self._rows) > 2 * self._who.size + _SPARE:
            self._rows = {
                (cell, person): rows
                for (cell, person), rows in self._rows.items()
                if (self._who[:, cell] == person).any()
            }

    def absorb(self, other: Farthest, cells: Ints) -> None:
        """Take in what another has, which was of other people; its cells are these."""
        if not len(cells):
            return
        self._count[:, cells] += other._count
        both = np.concatenate([self._tops[:, cells], other._tops], axis=2)
        who = np.concatenate([self._who[:, cells], other._who], axis=2)
        order = np.argsort(-both, axis=2, kind="stable")[:, :, : self.n + 1]
        self._tops[:, cells] = np.take_along_axis(both, order, axis=2)
        self._who[:, cells] = np.take_along_axis(who, order, axis=2)
        self._rows |= {(int(cells[cell]), who): rows for (cell, who), rows in other._rows.items()}

    def edges(self, column: int, cell: int) -> tuple[int, int] | None:
        """Return the lowest and highest value that a column of a cell is read as."""
        if self._count[column, cell] < 2 * self.n + 1:
            return None
        return -int(self._tops[2 * column + 1, cell, -1]), int(self._tops[2 * column, cell, -1])

    def change(self, cell: int, factors: Factors, bound: int) -> int:
        """Return how much the total of a product changes where values are read as the edge.

        Args:
            cell: Number of the cell.
            factors: Columns whose product it is the total of.
            bound: Of what one person adds.
        """
        beyond = self._tops[:, cell] > self._tops[:, cell, -1:]
        edges = {each: self.edges(each, cell) for each in factors}
        changed = 0
        for person in np.unique(self._who[:, cell][beyond]).tolist():
            values, there = self._rows[cell, person]
            present = np.logical_and.reduce([there[each] for each in factors])
            whole = [values[each][present] for each in factors]
            read = [
                own if (edge := edges[each]) is None else np.clip(own, *edge)
                for each, own in zip(factors, whole, strict=True)
            ]
            changed += _added(read, bound) - _added(whole, bound)
        return changed


def _added(factors: Sequence[Ints], bound: int) -> int:
    """Return the sum of products of at most 64 bits each, cut off at its bound."""
    product = factors[0] if len(factors) == 1 else factors[0] * factors[1]
    high, low = int((product >> _HALF).sum()), int((product & (2**_HALF - 1)).sum())
    return max(-bound, min(bound, (high << _HALF) + low))
