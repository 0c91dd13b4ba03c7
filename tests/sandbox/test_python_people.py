"""Rows about people: what of an answer is believed, and that cells are what SQL would compute."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fusion.errors import WorkCrashed
from fusion.grants.python_job import Column, Measure, Returns
from sandbox.policy import Release
from sandbox.python_job import PEOPLE_MAGIC, _people
from sandbox.python_people import Base, _parts, answer_bytes, cells_of, read_people
from sandbox.python_run import released

if TYPE_CHECKING:
    from numpy.typing import NDArray

REGIONS = ("north", "south")
RETURNS = Returns(
    form="people",
    reads={"persons": ("region", "income")},
    columns=(Column(name="region", kind="category", categories=REGIONS),),
    measures=(
        Measure(name="n", statistic="people"),
        Measure(name="total", statistic="sum", low=-1000, high=1000, decimals=1),
        Measure(name="mean", statistic="mean", low=0, high=100),
    ),
    max_rows=3,
)
DECLARED = {"keys": {"region": list(REGIONS)}, "values": ["total", "mean"]}


def answer(rows: list[tuple[Any, ...]], declared: dict[str, Any] = DECLARED) -> bytes:
    names = ["person", *declared["keys"], *declared["values"]]
    columns: list[Any] = list(zip(*rows, strict=True)) if rows else [[] for _ in names]
    kinds = [pa.int32(), *(pa.string() for _ in declared["keys"]),
             *(pa.float64() for _ in declared["values"])]  # fmt: skip
    made = [pa.array(list(each), kind) for each, kind in zip(columns, kinds, strict=True)]
    return _people(pa.table(made, names=names), declared)


def test_rows_become_cells() -> None:
    rows = [(4, "south", -2000.0, None), (0, "south", 1.26, 30.0), (2, None, 7.0, 1.0)]
    found = read_people(RETURNS, answer(rows), 5, None)
    assert found.keys == [("south",), (None,)]
    assert found.pairs().tolist() == [[4, 0], [0, 0], [2, 1]]
    south, missing = cells_of(RETURNS, found, b"")
    assert (south.entities, missing.entities) == (2, 1)
    people, total, count, mean = south.parts
    # Cut off at its bound, kept to one decimal.
    assert (people.total, total.total, total.absolute) == (2, -10000 + 13, 10013)
    assert total.largest == (10000, 13, 0)
    assert (total.above, total.below) == ((13, 0), (10000, 0))
    # Who has no value is not counted in a mean.
    assert (count.total, mean.total, mean.entities) == (1, 30, 1)
    assert read_people(RETURNS, answer([]), 5, None).keys == []


GOOD = answer([(0, "south", 1.0, 2.0), (3, "north", 1.0, 2.0)])
HEAD = len(PEOPLE_MAGIC) + 8


@pytest.mark.parametrize(
    "data",
    [
        b"",
        GOOD[:-1],
        GOOD + b"x",
        b"X" + GOOD[1:],
        PEOPLE_MAGIC + b"\xff" * 8,
        PEOPLE_MAGIC + (3).to_bytes(8, "big") + GOOD[HEAD:],
        PEOPLE_MAGIC + (1 << 62).to_bytes(8, "big"),
        # Somebody not listed, below 0, twice; a key that is not declared.
        GOOD[:HEAD] + np.array([0, 4], "<i4").tobytes() + GOOD[HEAD + 8 :],
        GOOD[:HEAD] + np.array([0, -1], "<i4").tobytes() + GOOD[HEAD + 8 :],
        GOOD[:HEAD] + np.array([3, 3], "<i4").tobytes() + GOOD[HEAD + 8 :],
        GOOD[: HEAD + 8] + np.array([0, 2], "<i4").tobytes() + GOOD[HEAD + 16 :],
        GOOD[: HEAD + 8] + np.array([0, -2], "<i4").tobytes() + GOOD[HEAD + 16 :],
        b'{"columns":{},"schema":"banyan.python-answer/1"}',
    ],
)
def test_what_is_not_declared_is_no_answer(data: bytes) -> None:
    with pytest.raises(WorkCrashed):
        read_people(RETURNS, data, 4, None)


def test_more_cells_than_declared_are_no_answer() -> None:
    few = RETURNS.model_copy(update={"max_rows": 1})
    with pytest.raises(WorkCrashed):
        read_people(few, GOOD, 4, None)


@given(st.binary(max_size=200))
def test_no_bytes_do_more_than_be_refused(tail: bytes) -> None:
    data = PEOPLE_MAGIC + (2).to_bytes(8, "big") + tail
    try:
        found = read_people(RETURNS, data, 9, None)
    except WorkCrashed:
        return
    assert len(data) == answer_bytes(RETURNS, 2)
    for cell in cells_of(RETURNS, found, b""):
        assert abs(cell.parts[1].total) <= 2 * 10_000


def test_keys_of_more_cells_than_a_number_holds_are_told_apart() -> None:
    columns = tuple(Column(name=f"k{place}", kind="boolean") for place in range(50))
    returns = Returns(form="people", reads={"persons": ()}, columns=columns,
                      measures=(Measure(name="n", statistic="people"),), max_rows=10)  # fmt: skip
    codes = np.zeros((3, 50), "<i4")
    codes[1, 49] = codes[2, 0] = 1
    codes[2, 7] = -1
    packed = np.arange(3, dtype="<i4").tobytes() + codes.T.tobytes()
    found = read_people(returns, PEOPLE_MAGIC + (3).to_bytes(8, "big") + packed, 3, None)
    assert found.places.tolist() == [0, 1, 2]
    assert found.keys[1] == (*[False] * 49, True)
    assert found.keys[2][:8] == (True, *[False] * 6, None)


def test_where_the_node_says_who_is_in_a_cell_the_script_does_not() -> None:
    returns = RETURNS.model_copy(
        update={"columns": (Column(name="region", kind="category", of="persons.region"),)}
    )
    codes = np.array([[0], [0], [1], [-1]], np.int32)
    base = Base("persons", np.array([0, 2, 3, 7], np.int32), codes, [REGIONS])
    declared = {"keys": {}, "values": ["total", "mean"]}
    # One of the four, and somebody who is not in the table.
    found = read_people(returns, answer([(2, 5.0, 6.0), (5, 9.0, 9.0)], declared), 9, base)
    assert found.pairs().tolist() == [[0, 0], [2, 0], [3, 1], [7, 2]]
    assert found.keys == [("north",), ("south",), (None,)]
    north, south, _ = cells_of(returns, found, b"")
    assert (north.entities, north.parts[1].total, north.parts[1].entities) == (2, 50, 1)
    assert (south.entities, south.parts[1].total, south.parts[3].total) == (1, 0, 0)


def test_a_script_that_marks_one_person_sees_no_more_than_without_her() -> None:
    """One row with a weight of its own: cut off, rounded, or the cell is not there."""

    def table(mark: float, people: int) -> list[tuple[Any, ...]]:
        rows = [(n, "south", 10.0, 50.0) for n in range(1, people)]
        made = read_people(RETURNS, answer([(0, "south", mark, 50.0), *rows]), people, None)
        return released(RETURNS, made, Release(), b"", set())

    assert table(1000.0, 40) == table(10.0, 40)
    assert table(1000.0, 9) == []


@given(
    arrays.arrays(np.int64, 40, elements=st.integers(0, 3)),
    arrays.arrays(np.int64, 40, elements=st.integers(-50, 50)),
)
def test_parts_are_what_plain_python_finds(
    places: NDArray[np.int64], values: NDArray[np.int64]
) -> None:
    found = _parts(places, values, np.arange(40).astype(np.uint64), 4)
    for cell, part in enumerate(found):
        own = [int(v) for p, v in zip(places, values, strict=True) if p == cell and v]
        ranked = [*sorted(map(abs, own), reverse=True), 0, 0, 0]
        above = [*sorted((v for v in own if v > 0), reverse=True), 0, 0]
        below = [*sorted((-v for v in own if v < 0), reverse=True), 0, 0]
        assert (part.entities, part.total) == (len(own), sum(own))
        assert (part.absolute, part.largest) == (sum(map(abs, own)), tuple(ranked[:3]))
        assert (part.above, part.below) == (tuple(above[:2]), tuple(below[:2]))
