"""Arrays of a whole table: how they are cut, typed and read, and which statements they answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from sandbox import arrays, runs, store, storing
from sandbox.policy import Date, Dimension, Number
from sandbox.query import compile_statement
from sandbox.scans import Scan, Steps, request_of
from tests.sandbox.asking import example, write
from tests.sandbox.test_store import LIMITS, Stored

if TYPE_CHECKING:
    from pathlib import Path

CODED = frozenset({"visits.dept", "visits.diagnosis", "persons.sex", "persons.region"})


def _direct(sql: str) -> list[bool]:
    steps = Steps(example(), CODED, 9)
    steps.statement(compile_statement(sql, example(), coded=CODED))
    asked = request_of(steps.asked(LIMITS, cells=9, members=9).request)
    return [isinstance(step, Scan) and step.direct is not None for step in asked.steps]


@pytest.mark.parametrize(
    "sql",
    [
        "select count(*) from visits",
        "select dept, sum(cost), count(distinct person_id) from visits group by 1",
        "select dept, stddev(duration_min), corr(duration_min, cost) from visits group by dept",
        "select sex, region, birth_year, count(*) from persons group by 1, 2, 3",
        "select dept, median(cost) from visits group by dept",
        "with t as (select dept as d, cost as c from visits) select d, sum(c) from t group by d",
    ],
)
def test_columns_of_a_whole_table_need_no_engine(sql: str) -> None:
    assert _direct(sql) == [True]


@pytest.mark.parametrize(
    "sql",
    [
        "select count(*) from visits where dept = 'er'",
        "select sum(cost + 1) from visits",
        "select sum(cost) filter (where dept = 'er') from visits",
        "select date_trunc('month', visit_date) as m, count(*) from visits group by 1",
        "select upper(dept) as d, count(*) from visits group by 1",
        "select education, count(*) from persons group by 1",
        "select p.region, count(*) from visits v join persons p using (person_id) group by 1",
        "select n, count(*) from (select person_id, count(*) as n from visits group by 1) as t "
        "group by n",
        "select count(*) from (select dept from visits where cost > 10) as t",
        "with t as (select person_id from visits group by person_id having count(*) > 2) "
        "select count(*) from t",
    ],
)
def test_whatever_else_is_asked_goes_to_the_engine(sql: str) -> None:
    assert _direct(sql) == [False]


def test_arrays_are_as_wide_as_the_policy_says_whatever_is_in_them() -> None:
    def number(high: float, decimals: int = 0) -> Number:
        return Number.model_validate(
            {"class": "number", "low": -5, "high": high, "decimals": decimals}
        )

    assert arrays.stored_type(number(32_767)) == "<i2"
    assert arrays.stored_type(number(32_768)) == "<i4"
    assert arrays.stored_type(number(2**31 - 1)) == "<i4"
    assert arrays.stored_type(number(327, 2)) == "<i2"
    assert arrays.stored_type(number(10**9, 1)) == "<i8"
    assert arrays.stored_type(Date.model_validate({"class": "date"})) is None
    truth = Dimension.model_validate({"class": "dimension", "type": "boolean"})
    assert arrays.stored_type(truth) == "|i1"
    assert arrays.stored_type(Dimension.model_validate({"class": "dimension"})) is None


@pytest.fixture
def cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stored:
    """Return tables in small blocks, one person with more rows than any of them."""
    monkeypatch.setattr(arrays, "BLOCK_ROWS", 10)
    monkeypatch.setattr(arrays, "_BATCH", 23)
    monkeypatch.setattr("sandbox.storing._TOGETHER", 3)
    rng = np.random.default_rng(5)
    count = 400
    who = np.where(np.arange(count) < 70, 17, rng.integers(0, 60, count))
    seen: dict[str, Any] = {
        "visit_id": np.arange(count),
        "person_id": pa.array(who, mask=rng.random(count) < 0.05),
        "visit_date": pa.array(np.datetime64("2019-06-01") + rng.integers(0, 900, count)),
        "dept": pa.array(rng.choice(["er", "gp", "onco"], count), mask=rng.random(count) < 0.1),
        "diagnosis": ["D"] * count,
        "cost": pa.array(rng.choice([-5.0, 0.0, 12.25, 1e300], count), mask=who % 3 == 0),
        "duration_min": pa.array(rng.integers(-10, 200, count), mask=rng.random(count) < 0.1),
    }
    people: dict[str, Any] = {
        "person_id": np.arange(60), "birth_year": rng.integers(1900, 2000, 60),
        "sex": ["F", "M"] * 30, "region": ["a", "b", "c"] * 20, "education": ["x"] * 60,
        "income": rng.random(60),
    }  # fmt: skip
    policy = example()
    tables = {name: policy.tables[name] for name in ("persons", "visits")}
    policy = policy.model_copy(update={"tables": tables})
    return Stored(tmp_path, policy, write(tmp_path, {"persons": people, "visits": seen}))


def test_blocks_have_all_rows_of_some_people(cut: Stored) -> None:
    with arrays.Arrays(cut.inputs[arrays.ARRAYS]) as found:
        blocks = found.blocks("visits")
        whom = [found.people([block]) for block in blocks]
        assert sum(block.rows for block in blocks) == sum(int(each.counts.sum()) for each in whom)
        people = np.concatenate([each.people for each in whom])
        assert (np.diff(people) > 0).all()
        assert {block.people for block in blocks if block.rows > 10} == {1}
        assert len(blocks) > storing._ALONE  # reduced by several threads


@pytest.mark.parametrize(
    "sql",
    [
        "select count(*) from visits",
        "select count(distinct person_id) as n from visits",
        "select sum(cost), avg(duration_min) from visits",
        "select dept, count(*), sum(cost), avg(duration_min) from visits group by dept",
        "select dept, stddev(cost), corr(cost, duration_min), regr_slope(duration_min, cost) "
        "from visits group by dept",
        "select sex, region, count(*), sum(income) from persons group by 1, 2",
        "select birth_year, count(*) from persons group by 1",
        "select dept, median(cost) from visits group by dept",
    ],
)
def test_cells_by_arrays_are_those_over_the_tables(cut: Stored, sql: str) -> None:
    expected, found = cut.both(sql)
    assert found == expected
    pairs, _ = cut.members(sql)
    assert pairs == cut.pairs(sql)


def test_truth_values_and_numbers_come_back_as_keys(tmp_path: Path) -> None:
    policy = example()
    table = policy.tables["persons"]
    columns = {
        "person_id": table.columns["person_id"],
        "vip": Dimension.model_validate({"class": "dimension", "type": "boolean"}),
        "level": Dimension.model_validate(
            {"class": "dimension", "type": "integer", "low": -9, "high": 9}
        ),
    }
    tables = {"persons": table.model_copy(update={"columns": columns})}
    policy = policy.model_copy(update={"tables": tables})
    people: dict[str, Any] = {
        "person_id": list(range(60)),
        "vip": [True, False, None] * 20,
        "level": [-20, 3, None, 8] * 15,
    }
    made = Stored(tmp_path, policy, write(tmp_path, {"persons": people}))
    sql = "select vip, level, count(*) from persons group by 1, 2"
    expected, found = made.both(sql)
    assert found == expected
    assert made.members(sql)[0] == made.pairs(sql)


def test_rows_that_do_not_stand_in_the_order_of_people_are_not_written(tmp_path: Path) -> None:
    column = pa.array([3, 3, 1], pa.int32())
    with (tmp_path / "out").open("xb") as file, pytest.raises(arrays.Damaged):
        arrays._block(pa.table({"e": column}), {}, file)


def test_a_value_beyond_the_bounds_is_not_cut_off() -> None:
    with pytest.raises(arrays.Damaged):
        arrays._values(pa.array([2**40]), arrays.Stored(type="<i4"))


@pytest.mark.parametrize("shares", [[1.0], [0.5, 0.5], [0.9, 0.05, 0.03, 0.02], [1 / 20] * 20,
                                    [0.3, 0.2, *[0.5 / 27] * 27], [1 / 50] * 50])  # fmt: skip
def test_rows_cell_by_cell_are_those_of_a_stable_sort(shares: list[float]) -> None:
    rng = np.random.default_rng(len(shares))
    ids = rng.choice(len(shares), 3000, p=np.array(shares) / sum(shares)).astype(np.uint8)
    order, cells, sizes = runs._by_cell(ids, len(shares) + 2)
    assert sorted(cells) == list(np.unique(ids))
    ends = np.cumsum(sizes)
    for cell, end, size in zip(cells, ends, sizes, strict=True):
        assert (order[end - size : end] == np.flatnonzero(ids == cell)).all()
    assert ends[-1] == len(order) == len(ids)


def test_a_store_without_arrays_is_still_read(tmp_path: Path) -> None:
    people: dict[str, Any] = {"person_id": [1, 2, 3], "birth_year": [1950] * 3, "sex": ["F"] * 3,
              "region": ["a"] * 3, "education": ["b"] * 3, "income": [1.0, 2.0, 3.0]}  # fmt: skip
    policy = example()
    policy = policy.model_copy(update={"tables": {"persons": policy.tables["persons"]}})
    made = Stored(tmp_path, policy, write(tmp_path, {"persons": people}))
    made.inputs[arrays.ARRAYS].unlink()
    steps = made.steps()
    steps.statement(compile_statement("select sum(income) from persons", policy, coded=made.coded))
    asked = steps.asked(LIMITS, cells=9, members=9)
    assert b'"600"' in storing.execute(asked.request, {store.STORE: made.path})
    assert parquet.read_table(tmp_path / "persons.parquet").num_rows == 3
