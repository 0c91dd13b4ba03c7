"""Arithmetic on numbers that are written out is the number that it is, before any rule is asked."""

from __future__ import annotations

import random
from fractions import Fraction
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.errors import QueryRefused
from sandbox import values as v
from sandbox.analyse import analyse
from sandbox.constants import combined, shortened, value_of, written
from sandbox.query import compile_statement
from sandbox.selection import select
from tests.sandbox import binned
from tests.sandbox.asking import ask, exact, example

if TYPE_CHECKING:
    from pathlib import Path

    from sandbox.dialects import Name

SAME = {
    "count(*) from persons where income > 5 * 1000": "count(*) from persons where income > 5000",
    "count(*) from persons where income > 2 * (3000 - 500.0) / 10": "count(*) from persons where "
    "income > 500",
    "count(*) from persons where income in (-(-500), 4 * 250, abs(500 - 2000))":
    "count(*) from persons where income in (500, 1000, 1500)",
    "count(*) from persons where income between pow(10, 3) and round(1499.6)":
    "count(*) from persons where income between 1000 and 1500",
    "count(*) from persons where income >= cast(5000 as double)": "count(*) from persons where "
    "income >= 5000",
    "sum(cost * (1 + 0.19)) from visits": "sum(cost * 1.19) from visits",
    "sum(cost / (1.0 / 4)) from visits": "sum(cost / 0.25) from visits",
    "sum(case when dept = 'er' then cost else 1 - 1 end) from visits":
    "sum(case when dept = 'er' then cost else 0 end) from visits",
    "sum(round(cost * 2, 3 - 2)) from visits": "sum(round(cost * 2, 1)) from visits",
    "quantile_cont(cost, 1 / 4) from visits": "quantile_cont(cost, 0.25) from visits",
    "count(*) from visits where cast(cost as int) // (8 - 1) > 17 % 10": "count(*) from visits "
    "where cast(cost as int) // 7 > 7",
    "sum(cost + floor(2.5) + ceil(2.5)) from visits": "sum(cost + 2 + 3) from visits",
}  # fmt: skip


@pytest.mark.parametrize("written_out", SAME)
@pytest.mark.parametrize("dialect", ["duckdb", "postgres", "spark"])
def test_it_is_compiled_as_the_number_itself(written_out: str, dialect: Name) -> None:
    one, other = (
        compile_statement(f"select {rest}", binned.policy(), dialect=dialect)
        for rest in (written_out, SAME[written_out])
    )
    assert one.asked.request == other.asked.request
    assert one.notes == other.notes


def test_the_history_sees_the_same_cell() -> None:
    found = []
    for year in ("1950", "1900 + 5 * 10", "1949.5 + 0.5"):
        sql = f"select sex, sum(income) from persons where birth_year < {year} group by sex"
        (core,) = compile_statement(sql, example()).cores
        found.append([each.predicate(("F",)) for each in select(core, example())])
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(("constant", "near"), [("51 * 101", "5000 or 5500"),
                                                ("cast(1234 as double)", "1000 or 1500"),
                                                ("2500 - 0.01", "2000 or 2500")])  # fmt: skip
def test_what_is_no_multiple_of_a_bin_is_refused_as_the_number_itself(
    constant: str, near: str
) -> None:
    with pytest.raises(QueryRefused) as refused:
        analyse(f"select count(*) from persons where income > {constant}", binned.policy())
    assert refused.value.code == "Q-27"
    assert near in (refused.value.hint or "")


@pytest.mark.parametrize("undefined", ["1 / 0", "5 / (2 - 2)", "0 / 0", "1 / (0.5 - 1 / 2)"])
def test_what_is_undefined_is_nothing_and_fails_nowhere(
    undefined: str, made: dict[str, Path]
) -> None:
    sql = (
        f"select count(*), count({undefined}), sum(income * ({undefined})) from persons "
        f"where income > 0 or income > {undefined}"
    )
    ((everybody, there, total),) = ask(sql, exact(), made).rows
    assert everybody > 0
    assert (there, total) == (None, None)


def test_what_is_no_decimal_stays_the_operation() -> None:
    assert combined("div", v.integer(1), v.integer(3)) is None
    assert combined("div", v.integer(1), v.integer(0)) is None
    assert written(Fraction(1, 2**12)) is None
    assert written(Fraction(10**14)) is None
    third = compile_statement("select sum(cost * (1 / 3)) from visits", binned.policy())
    assert " / " in third.asked.request.decode()


_NUMBERS = st.builds(v.integer, st.integers(-(10**9), 10**9), st.integers(0, 4))


@settings(max_examples=200, deadline=None)
@given(_NUMBERS, _NUMBERS, st.sampled_from(["add", "sub", "mul", "div"]), st.integers(0, 3))
def test_it_is_exact(left: v.Expr, right: v.Expr, op: str, places: int) -> None:
    one, other = value_of(left), value_of(right)
    assert one is not None
    assert other is not None
    made = combined(op, left, right)
    if made is not None:
        wanted = {"add": one + other, "sub": one - other, "mul": one * other,
                  "div": one / (other or 1)}  # fmt: skip
        assert value_of(made) == wanted[op]
        assert made.type.low == made.type.high == pytest.approx(float(wanted[op]))
    rounded = shortened("round", left, places)
    assert rounded is not None
    near = value_of(rounded)
    assert near is not None
    assert abs(near - one) * 10**places <= Fraction(1, 2)
    assert (near * 10**places).denominator == 1


MONTHLY = {
    "income / 12 > 2500 / 6": "income > 5000", "income * 2 <= 3000": "income <= 1500",
    "income - 500 = 500": "income = 1000", "100 * income between 50000 and 400000 / 2":
    "income between 500 and 2000", "cost / 5 in (2, 4)": "cost in (10, 20)",
}  # fmt: skip


@pytest.mark.parametrize("linear", MONTHLY)
def test_a_multiple_is_compared_with_exactly_through_arithmetic(
    linear: str, tmp_path: Path
) -> None:
    """Read at its middle, a number lies on the same side of every multiple of its bin."""
    files = binned.files(tmp_path / "tables", binned.tables(random.Random(3)))
    table = "visits" if "cost" in linear else "persons"
    one, other = (
        ask(f"select count(*) from {table} where {each}", binned.policy(), files).rows
        for each in (linear, MONTHLY[linear])
    )
    assert one == other
    assert one[0][0] > 0
