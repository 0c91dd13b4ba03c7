"""Runs of persons in cells, found in both ways: the same ones, with the same sums."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from sandbox.runs import ByPerson, ByRow, InOrder, in_order
from sandbox.tally import Tallied, runs_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from sandbox.runs import People, Runs


def _by_person(numbers: NDArray[np.int32], counts: NDArray[np.int32]) -> People:
    return ByPerson(numbers, counts, int(counts.sum()))


def _by_row(numbers: NDArray[np.int32], counts: NDArray[np.int32]) -> People:
    return ByRow(np.repeat(numbers, counts))


def _runs(runs: Runs, values: NDArray[Any]) -> dict[tuple[int, int], tuple[int, int]]:
    """Return of each cell and person the rows and the sum."""
    cells = np.repeat(runs.cells, np.diff(runs.firsts))
    sums = runs.sums(runs.ordered(values))
    found = zip(cells, runs.who, runs.lengths, sums, strict=True)
    return {(int(c), int(who)): (int(rows), int(total)) for c, who, rows, total in found}


def _cells(runs: Runs, function: np.ufunc, values: NDArray[Any]) -> dict[int, int]:
    found = runs.by_cell(function, runs.ordered(values))
    return {int(cell): int(each) for cell, each in zip(runs.cells, found, strict=True)}


@pytest.mark.parametrize("people", [_by_person, _by_row])
@pytest.mark.parametrize("cells", [1, 2, 7, 300])
@pytest.mark.parametrize("kind", [np.int16, np.int64])
def test_rows_that_are_moved_and_rows_that_stay_give_the_same_runs(
    people: Callable[[NDArray[np.int32], NDArray[np.int32]], People], cells: int, kind: type
) -> None:
    rng = np.random.default_rng(cells)
    numbers = np.sort(rng.choice(10_000, 200, replace=False)).astype(np.int32)
    of = people(numbers, rng.integers(1, 40, 200, dtype=np.int32))
    # One of the numbers is of a cell that has no row here.
    ids = rng.integers(0, cells, of.rows).astype(np.uint16) + np.uint16(1)
    large = np.iinfo(kind)
    values = rng.integers(large.min, large.max, of.rows, dtype=kind)
    one, other = in_order(of, ids, cells + 1), Tallied(of, ids, cells + 1)
    assert _runs(one, values) == _runs(other, values)
    assert one.longest == other.longest
    for function in (np.add, np.minimum, np.maximum):
        assert _cells(one, function, values) == _cells(other, function, values)
    there = values > 0
    assert _runs(one, there) == _runs(other, there)


def test_rows_are_moved_where_a_table_would_be_larger_than_they_are() -> None:
    of = _by_person(np.arange(100, dtype=np.int32), np.full(100, 5, np.int32))
    ids = np.zeros(500, np.uint8)
    assert isinstance(runs_of(of, ids, 20), Tallied)
    assert isinstance(runs_of(of, ids, 21), InOrder)
    assert isinstance(runs_of(of, None, 1), InOrder)
    single = _by_person(np.arange(100, dtype=np.int32), np.ones(100, np.int32))
    assert isinstance(runs_of(single, np.zeros(100, np.uint8), 2), InOrder)
