"""Which cell a row is in, as a small number: the keys of a core, numbered as they come.

A key that is a code or lies in a short range is its own number; the numbers of all keys together
are looked up in a table. What is too wide for one is sorted instead.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

MAX_CELLS: Final = 200_000
"""Beyond these an engine's own grouping is better."""

_MAX_TABLE: Final = 1 << 21
_UNKNOWN: Final = 255


class TooManyCells(Exception):
    """There are more cells than are kept here."""


class Coding:
    """The numbers of the cells of one core."""

    def __init__(self, keys: int) -> None:
        """Begin without a cell; with one, if there is no key."""
        self.keys = keys
        self.found: list[tuple[Any, ...]] = [] if keys else [()]
        self._known: dict[tuple[Any, ...], int] = dict.fromkeys(self.found, 0)
        self._ranges = [_Range() for _ in range(keys)]
        self._table: NDArray[Any] = np.zeros(0, np.uint8)
        self._shape: tuple[tuple[int, int], ...] = ()

    @property
    def count(self) -> int:
        """How many cells there are."""
        return len(self.found)

    def cells(self, keys: Sequence[pa.Array], rows: int) -> NDArray[Any] | None:
        """Return the number of each row's cell, of the least unsigned type; None without keys.

        Raises:
            TooManyCells: There are more than :data:`MAX_CELLS`.
        """
        if not keys:
            return None
        parts = [each.codes(column) for each, column in zip(self._ranges, keys, strict=True)]
        near = [part for part in parts if part is not None]
        width = prod(each.size for each in self._ranges)
        if len(near) < len(parts) or width > _MAX_TABLE:
            return self._sorted(keys, rows)
        shape = tuple((each.low, each.size) for each in self._ranges)
        if shape != self._shape:
            # Ranges have grown: what is known is found again as it comes.
            self._shape, self._table = shape, np.full(width, _UNKNOWN, np.uint8)
        codes = near[0]
        for each, part in zip(self._ranges[1:], near[1:], strict=True):
            codes = codes.astype(np.int32) * np.int32(each.size) + part
        ids = self._table.take(codes)
        unknown = np.iinfo(self._table.dtype).max
        if int(ids.max()) == unknown:
            fresh = np.flatnonzero(ids == unknown)
            values, firsts = np.unique(codes[fresh], return_index=True)
            numbers = [self._number(keys, int(row)) for row in fresh[firsts]]
            self._hold(max(numbers))
            self._table[values] = numbers
            ids = self._table.take(codes)
        return ids

    def _hold(self, number: int) -> None:
        """Make the table's numbers wide enough; a stable sort of up to 16 bits is by digits."""
        unknown = np.iinfo(self._table.dtype).max
        if number >= unknown:
            wider = np.uint16 if number < np.iinfo(np.uint16).max else np.uint32
            free = self._table == unknown
            self._table = self._table.astype(wider)
            self._table[free] = np.iinfo(wider).max

    def _sorted(self, keys: Sequence[pa.Array], rows: int) -> NDArray[Any]:
        together = np.zeros(rows, np.int64)
        for column in keys:
            encoded = column
            if not isinstance(column, pa.DictionaryArray):
                encoded = _plain(column).dictionary_encode()
            size = len(encoded.dictionary)
            together = together * (size + 1) + _filled(encoded.indices, size)
            _, together = np.unique(together, return_inverse=True)
        _, firsts, places = np.unique(together, return_index=True, return_inverse=True)
        numbers = np.array([self._number(keys, int(row)) for row in firsts], np.int32)
        return numbers[places]

    def number(self, values: tuple[Any, ...]) -> int:
        """Return the number of the cell with these keys.

        Raises:
            TooManyCells: There are more than :data:`MAX_CELLS`.
        """
        number = self._known.setdefault(values, len(self.found))
        if number == len(self.found):
            if number >= MAX_CELLS:
                raise TooManyCells
            self.found.append(values)
        return number

    def _number(self, keys: Sequence[pa.Array], row: int) -> int:
        return self.number(tuple(each[row].as_py() for each in keys))


class _Range:
    """The range of one key; the last number of it is that of a missing value."""

    def __init__(self) -> None:
        self.low = self.size = 0
        self._texts: dict[str, int] = {}

    def codes(self, column: pa.Array) -> NDArray[Any] | None:
        """Return the number of each value, in the range from 0; None if it is too wide."""
        if isinstance(column, pa.DictionaryArray):
            self.size = len(column.dictionary) + 1
            return _filled(column.indices, self.size - 1)
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            return self._of_texts(column.dictionary_encode())
        column = _plain(column)
        if column.null_count == len(column):
            self.size = max(self.size, 1)
            return np.full(len(column), self.size - 1, np.int32)
        edges = pc.min_max(column)
        low, high = edges["min"].as_py(), edges["max"].as_py()
        if self.size > 1:
            low, high = min(low, self.low), max(high, self.low + self.size - 2)
        if high - low >= _MAX_TABLE:
            return None
        self.low, self.size = low, high - low + 2
        found: NDArray[Any] = _filled(column, low + self.size - 1) - low
        return found

    def _of_texts(self, column: pa.DictionaryArray) -> NDArray[Any]:
        known = self._texts
        numbers = np.array(
            [known.setdefault(each, len(known)) for each in column.dictionary.to_pylist()] or [0]
        )
        while self.size <= len(known):
            self.size = max(8, 2 * self.size)
        places = _filled(column.indices, 0)
        found: NDArray[Any] = numbers[places]
        if column.null_count:
            found[column.is_null().to_numpy(zero_copy_only=False)] = self.size - 1
        return found


def _filled(column: pa.Array, value: int) -> NDArray[Any]:
    """Return whole numbers, with this one where there is none."""
    if column.null_count:
        return np.asarray(column.cast(pa.int64()).fill_null(value).to_numpy())
    return np.asarray(column.to_numpy())


def _plain(column: pa.Array) -> pa.Array:
    """Return days as whole numbers, all else as it is."""
    return column.cast(pa.int32()) if pa.types.is_date(column.type) else column
