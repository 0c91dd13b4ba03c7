"""Which released cell each person is in, for every released table, packed for counting.

A table is one code for each entity: its cell, or -1. Several tables share a column as digits of one
number, as long as a column has few enough values for tables over them to stay in a processor's
cache. Intersections of a new table with all old cells are then one count a column, and sums over
the cells that a person is in are one look-up a column.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Codes = NDArray[np.int32]
    Floats = NDArray[np.float64]
    Places = NDArray[np.intp]

_VALUES: Final = 4096
"""Values of a column that holds more than one table."""

_STEP: Final = 8192
"""Entities at a time, for up to 16 cells: what is computed for them stays in the cache."""


def sizes_of(codes: NDArray[np.int32], cells: int) -> NDArray[np.int64]:
    """Return how many entities each cell of a table has."""
    if cells == 1:
        return np.array([np.count_nonzero(codes >= 0)], dtype=np.int64)
    return np.bincount(codes[codes >= 0], minlength=cells)


@dataclass(slots=True)
class _Column:
    """Tables by their first row and number of cells, first digit first."""

    values: NDArray[np.uint16]
    tables: list[tuple[int, int]] = field(default_factory=list)

    def shape(self) -> tuple[int, ...]:
        return tuple(cells + 1 for _, cells in self.tables)


class Columns:
    """All released tables over one cohort."""

    def __init__(self, entities: int) -> None:
        """Start with no table."""
        self.entities = entities
        self.rows = 0
        self._columns: list[_Column] = []

    def fork(self) -> Columns:
        """Return the same, to which tables can be appended that this has not."""
        forked = Columns(self.entities)
        forked.rows = self.rows
        # Arrays of codes are replaced, not written to.
        forked._columns = [_Column(each.values, list(each.tables)) for each in self._columns]
        return forked

    def add(self, codes: Codes, cells: int) -> None:
        """Append a table with cells 0 to ``cells`` - 1; an entity outside has -1."""
        digits = (codes + 1).astype(np.uint16)
        last = self._columns[-1] if self._columns else None
        if last is not None and int(np.prod(last.shape())) * (cells + 1) <= _VALUES:
            last.values = last.values * np.uint16(cells + 1) + digits
            last.tables.append((self.rows, cells))
        else:
            self._columns.append(_Column(digits, [(self.rows, cells)]))
        self.rows += cells

    def intersections(self, codes: Codes, cells: int) -> Floats:
        """Return how many entities each old cell shares with each new one: rows × cells."""
        counts = np.zeros((self.rows, cells))
        inside = np.flatnonzero(codes >= 0)
        everybody = len(inside) == self.entities
        mine = codes.astype(np.intp) if everybody else codes[inside].astype(np.intp)
        for column in self._columns:
            shape = column.shape()
            values = int(np.prod(shape))
            theirs = column.values if everybody else column.values[inside]
            found = np.bincount(mine * values + theirs, minlength=cells * values)
            found = found.reshape(cells, *shape)
            for place, (first, count) in enumerate(column.tables):
                others = tuple(axis for axis in range(1, found.ndim) if axis != place + 1)
                counts[first : first + count] = found.sum(axis=others)[:, 1:].T
        return counts

    def extremes(self, weights: Floats) -> tuple[Floats, Floats]:
        """Return bounds on what :meth:`images` adds up for old cells, for anybody: low, high (g).

        Nobody is in two cells of a table: one table adds no more than its largest weight.

        Args:
            weights: rows × g.
        """
        if not self._columns:
            return np.zeros(weights.shape[1]), np.zeros(weights.shape[1])
        firsts = [first for column in self._columns for first, _ in column.tables]
        low = np.minimum(np.minimum.reduceat(weights, firsts, axis=0), 0).sum(axis=0)
        high = np.maximum(np.maximum.reduceat(weights, firsts, axis=0), 0).sum(axis=0)
        return low, high

    def images(
        self,
        codes: Codes | None,
        own: Floats | None,
        weights: Floats,
        among: Places | None = None,
    ) -> Iterator[tuple[slice | Places, Floats]]:
        """Yield, for a few entities at a time, sums of weights over the cells that they are in.

        Args:
            codes: A new table, or None.
            own: cells + 1 × g, what an entity gets for its new cell (code -1: the last row).
            weights: rows × g, what it gets for each old cell that it is in.
            among: These entities only; everybody by default.

        Yields:
            Which entities, and entities × g; the array is used again for the next ones.
        """
        looked_up = [_sums(column, weights) for column in self._columns]
        width = weights.shape[1]
        step = max(_STEP // 64, _STEP * 16 // max(16, width) // 64 * 64)
        total, part = np.empty((step, width)), np.empty((step, width))
        entities = self.entities if among is None else len(among)
        for begin in range(0, entities, step):
            some = slice(begin, min(begin + step, entities))
            count = some.stop - begin
            which = some if among is None else among[some]
            image, term = total[:count], part[:count]
            if codes is None or own is None:
                image[:] = 0
            else:
                # "wrap" takes -1 for the last row, and needs no second pass to check bounds.
                np.take(own, codes[which], axis=0, out=image, mode="wrap")
            for column, sums in zip(self._columns, looked_up, strict=True):
                np.take(sums, column.values[which], axis=0, out=term, mode="clip")
                image += term
            yield which, image

    def tables(self) -> Iterator[tuple[int, Codes, int]]:
        """Yield each table's first row, its codes and its number of cells."""
        for column in self._columns:
            digits = np.unravel_index(column.values, column.shape())
            for place, (first, count) in enumerate(column.tables):
                yield first, digits[place].astype(np.int32) - np.int32(1), count

    def members(self, row: int) -> NDArray[np.bool_]:
        """Return who is in an old cell."""
        for column in self._columns:
            for place, (first, count) in enumerate(column.tables):
                if first <= row < first + count:
                    digits = np.unravel_index(column.values, column.shape())[place]
                    return np.asarray(digits == row - first + 1)
        raise IndexError(row)


def _sums(column: _Column, weights: Floats) -> Floats:
    """Return what each value of a column adds: values × g."""
    shape, width = column.shape(), weights.shape[1]
    sums = np.zeros((*shape, width))
    for place, (first, count) in enumerate(column.tables):
        axes = [1] * len(shape)
        axes[place] = count + 1
        mine = np.vstack([np.zeros((1, width)), weights[first : first + count]])
        sums += mine.reshape(*axes, width)
    return sums.reshape(-1, width)
