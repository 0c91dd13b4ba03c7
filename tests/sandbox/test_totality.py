"""Nothing that is accepted can fail on a value: random expressions over the ends of every type."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from fusion.errors import QueryRefused
from sandbox.engine import execute
from sandbox.query import compile_statement, finish
from tests.sandbox.asking import EXACT, exact, write

if TYPE_CHECKING:
    from pathlib import Path

from sandbox.disclosure import Rules


class Expressions:
    """Makes random expressions of a kind; some are refused, which is fine."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def _of(self, *items: str) -> str:
        return self._random.choice(items)

    def number(self, depth: int) -> str:
        if depth == 0:
            return self._of("cost", "duration_min", "0", "1", "2.5", "0.000001", "99999", "null")
        a, b = self.number(depth - 1), self.number(depth - 1)
        return self._of(
            f"({a} + {b})", f"({a} - {b})", f"({a} * {b})", f"({a} / {b})", f"(- {a})",
            f"abs({a})", f"sign({a})", f"floor({a})", f"ceil({a})", f"round({a}, 2)",
            f"round({a})", f"sqrt({a})", f"ln({a})", f"pow({a}, 2)", f"greatest({a}, {b})",
            f"least({a}, {b})", f"coalesce({a}, {b})", f"nullif({a}, {b})", f"({a} // 7)",
            f"({a} % 3)", f"cast({a} as int)", f"cast({a} as double)", f"cast({a} as bigint)",
            f"case when {self.truth(depth - 1)} then {a} else {b} end",
            f"case {self.text(0)} when 'er' then {a} end", f"length({self.text(depth - 1)})",
            f"date_diff('{self._unit()}', {self.day(depth - 1)}, {self.day(depth - 1)})",
            f"extract({self._of('year', 'month', 'week', 'doy', 'isodow')} from {self.day(0)})",
        )  # fmt: skip

    def text(self, depth: int) -> str:
        if depth == 0:
            return self._of("dept", "diagnosis", "''", "'x%'", "null")
        a, b = self.text(depth - 1), self.text(depth - 1)
        return self._of(
            f"upper({a})", f"lower({a})", f"trim({a})", f"left({a}, 2)", f"right({a}, 0)",
            f"substring({a}, 2, 3)", f"({a} || {b})", f"concat({a}, {b})", f"coalesce({a}, {b})",
            f"nullif({a}, {b})", f"strftime({self.day(0)}, '%Y-%m')",
        )  # fmt: skip

    def day(self, depth: int) -> str:
        if depth == 0:
            return self._of("visit_date", "date '2020-02-29'", "date '0001-01-01'", "null::date")
        a = self.day(depth - 1)
        return self._of(
            f"date_trunc('{self._unit()}', {a})", f"({a} + interval 9999 day)",
            f"({a} - interval 800 year)", f"({a} + interval 9000 month)",
            f"coalesce({a}, {self.day(0)})",
        )  # fmt: skip

    def truth(self, depth: int) -> str:
        if depth == 0:
            return self._of("dept = 'er'", "cost > 5", "visit_date is null", "true")
        a, b, t = self.number(depth - 1), self.number(depth - 1), self.text(depth - 1)
        return self._of(
            f"{a} < {b}", f"{a} = {b}", f"{a} between 0 and {b}", f"{t} like 'a%'", f"{t} = 'er'",
            f"not ({self.truth(depth - 1)})", f"{a} is null", f"starts_with({t}, 'e')",
            f"({self.truth(depth - 1)} or {self.truth(depth - 1)})", f"contains({t}, 'r')",
            f"{self.day(depth - 1)} >= date '2021-01-01'", f"{a} in (1, 2, 3)",
        )  # fmt: skip

    def _unit(self) -> str:
        return self._of("day", "week", "month", "quarter", "year")

    def statement(self) -> str:
        depth = self._random.randint(1, 4)
        number, truth = self.number(depth), self.truth(depth)
        return self._of(
            f"select sum({number}), avg({number}), count({number}) from visits",
            f"select count(*) from visits where {truth}",
            f"select {truth} as b, count(*) from visits group by 1",
            f"select stddev_samp({number}), corr(cost, {number}) from visits",
            f"select median({number}) from visits",
            f"with t as (select person_id, sum({number}) as s, max({number}) as m, avg({number})"
            f" as a from visits group by person_id) select sum(s), avg(m), sum(a / m) from t",
            f"with t as (select *, lag({number}) over (partition by person_id order by cost) as l"
            f" from visits) select sum(l), count(*) from t",
        )  # fmt: skip


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Visits at the ends of every type."""
    costs = [None, 0.0, -1e308, 1e308, float("nan"), float("inf"), 1e-300, 0.005, 1_000_000.0, 5.0]
    durations = [None, 0, -(2**62), 2**62, 1, 100_000, 7]
    days = [None, "0001-01-01", "9999-12-31", "2020-02-29", "x", "infinity"]
    words = [None, "", "er", "'", "%", "a\\", "x" * 5000, "é", "东"]
    rows = 120
    visits: dict[str, list[Any]] = {
        "visit_id": list(range(rows)),
        "person_id": [n % 17 for n in range(rows)],
        "visit_date": [days[n % len(days)] for n in range(rows)],
        "dept": [words[n % len(words)] for n in range(rows)],
        "diagnosis": [words[(3 * n) % len(words)] for n in range(rows)],
        "cost": [costs[n % len(costs)] for n in range(rows)],
        "duration_min": [durations[n % len(durations)] for n in range(rows)],
    }
    return write(tmp_path_factory.mktemp("ends"), {"visits": visits})


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.soak)])
def test_what_is_accepted_does_not_fail(ends: dict[str, Path], count: int) -> None:
    made, ran, failed = Expressions(20), 0, []
    for _ in range(count):
        sql = made.statement()
        try:
            compiled = compile_statement(sql, exact())
        except QueryRefused:
            continue
        ran += 1
        try:
            finish(compiled, execute(compiled.asked.request, ends), Rules(EXACT))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a hole
            failed.append((sql, getattr(error, "__notes__", None)))
    assert failed == []
    assert ran > count // 4
