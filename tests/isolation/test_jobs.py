"""A Python job: what its script works with, and what of its answer is believed."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from fusion.errors import WorkCrashed
from fusion.grants.python_job import Column
from fusion.wire import canonical
from sandbox.isolate import Isolation, Settings
from sandbox.jobs import Job, check_answer, run_job
from sandbox.python_job import ANSWER_SCHEMA

if TYPE_CHECKING:
    from sandbox.process import Kind
    from tests.isolation.conftest import Scene

COLUMNS = (
    Column(name="region", kind="category", categories=("north", "south")),
    Column(name="n", kind="integer"),
    Column(name="mean", kind="number"),
    Column(name="day", kind="date"),
    Column(name="whole", kind="boolean"),
)
JOB = Job(script="", columns=COLUMNS, max_rows=3)
GOOD: dict[str, list[Any]] = {
    "region": ["north", None],
    "n": [17, 12],
    "mean": [1234.567, -0.0],
    "day": ["2026-01-31", None],
    "whole": [True, False],
}


def answer(columns: object, schema: str = ANSWER_SCHEMA) -> bytes:
    return canonical.encode({"schema": schema, "columns": columns})


def test_a_table_comes_back_checked_and_rounded() -> None:
    table = check_answer(JOB, answer(GOOD))
    assert table.column_names == [column.name for column in COLUMNS]
    assert table.to_pydict() == {
        "region": ["north", None],
        "n": [15, 10],
        "mean": [1230.0, 0.0],
        "day": [dt.date(2026, 1, 31), None],
        "whole": [True, False],
    }
    assert str(table.column("mean")[1].as_py()) == "0.0"


@pytest.mark.parametrize(("value", "rounded"), [(7, 5), (8, 10), (-8, -10), (2**53 - 1, 2**53 - 2)])
def test_integers_are_rounded_exactly(value: int, rounded: int) -> None:
    job = Job(script="", columns=(Column(name="n", kind="integer"),))
    assert check_answer(job, answer({"n": [value]})).column("n").to_pylist() == [rounded]


@pytest.mark.parametrize(
    "changed",
    [
        {"region": ["row of a person", None]},
        {"region": [1, None]},
        {"n": [1.5, 2]},
        {"n": [True, 2]},
        {"n": ["1", 2]},
        {"n": [1]},
        {"n": [1, 2, 3, 4]},
        {"n": {"1": 2}},
        {"n": [[1], 2]},
        {"mean": ["inf", 1]},
        {"mean": [True, 1]},
        {"day": ["yesterday", None]},
        {"whole": [1, 0]},
        {"one more": [1, 2]},
    ],
)
def test_what_is_not_declared_is_no_answer(changed: dict[str, Any]) -> None:
    with pytest.raises(WorkCrashed):
        check_answer(JOB, answer(GOOD | changed))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b"\x80\x04.",
        answer({}),
        answer(GOOD, "other/1"),
        answer([]),
        b'{"columns":{}}',
        b"[" * 100_000,
        answer(GOOD) + b" ",
    ],
)
def test_nonsense_is_no_answer(content: bytes) -> None:
    with pytest.raises(WorkCrashed) as found:
        check_answer(JOB, content)
    assert "declares" not in str(found.value)
    assert found.value.details


@pytest.mark.parametrize(
    "wrong",
    [
        {"columns": ()},
        {"columns": (COLUMNS[1], COLUMNS[1])},
        {"max_rows": 0},
        {"max_rows": 10**6},
        {"script": "x" * (1 << 21)},
        {"more": 1},
    ],
)
def test_a_job_is_strict(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Job(**{"script": "", "columns": COLUMNS, **wrong})


def test_a_category_names_its_values() -> None:
    with pytest.raises(ValidationError):
        Column(name="a", kind="category")
    with pytest.raises(ValidationError):
        Column(name="a", kind="integer", categories=("x",))


def test_a_script_sees_tables_and_hands_over_one(kind: Kind, scene: Scene) -> None:
    script = """
import banyan, pyarrow.compute as pc
table = banyan.table("data")
long = pc.greater(table["duration_min"], 45)
grouped = table.append_column("long", long).group_by("long").aggregate([("person", "count")])
banyan.result({"long": grouped["long"], "n": grouped["person_count"]})
print("for the owner")
"""
    columns = (Column(name="long", kind="boolean"), Column(name="n", kind="integer", step=1))
    with Isolation.open(Settings(kind=kind, spares=0)) as isolation:
        table = run_job(isolation, Job(script=script, columns=columns), scene.inputs)
        found = dict(zip(*table.to_pydict().values(), strict=True))
        numbers = [7 * n % 90 for n in range(100)]
        assert found == {True: sum(n > 45 for n in numbers), False: sum(n <= 45 for n in numbers)}
        for bad in ("", "import banyan\nfor _ in 'ab': banyan.result({'n': [1]})", "1/0"):
            with pytest.raises(WorkCrashed):
                run_job(isolation, Job(script=bad, columns=columns), scene.inputs)
