"""The rest of a statement, over released cells: what can't be run is refused before it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fusion.errors import QueryRefused
from sandbox.query import compile_statement
from tests.sandbox.asking import ask, exact, example, write

if TYPE_CHECKING:
    from pathlib import Path

BY_SEX = "with a as (select sex, count(*) as n from persons group by sex) "


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Five people, two of them women, with incomes from 100 to 500."""
    people: dict[str, list[Any]] = {
        "person_id": [1, 2, 3, 4, 5], "birth_year": [1950] * 5, "sex": list("FFMMM"),
        "region": ["R01"] * 5, "education": ["primary"] * 5,
        "income": [100.0, 200.0, 300.0, 400.0, 500.0],
    }  # fmt: skip
    return write(tmp_path_factory.mktemp("rest"), {"persons": people})


@pytest.mark.parametrize(
    "sql",
    ["select 'all' as grp, sex, count(*) from persons group by sex order by grp, sex",
     "select true as grp, sex, count(*) from persons group by sex order by 1, 2",
     "select null as grp, sex, count(*) from persons group by sex order by grp, sex",
     "select 'x' as grp, sex, count(*) from persons group by sex order by sex, 'x', null, true",
     "select 'x' as grp, sex, count(*) from persons group by sex order by date '2020-01-01', sex"],
)  # fmt: skip
def test_what_is_the_same_in_every_row_orders_nothing(sql: str, inputs: dict[str, Path]) -> None:
    found = ask(sql, exact(), inputs).rows
    assert [row[1:] for row in found] == [["F", 2], ["M", 3]]


def test_windows_in_the_order_of_a_constant_are_over_all(inputs: dict[str, Path]) -> None:
    sql = (
        "select sex, sum(count(*)) over (order by 'x'), rank() over (order by null), "
        "sum(count(*)) over (partition by true) from persons group by sex order by sex"
    )
    assert ask(sql, exact(), inputs).rows == [["F", 5, 1, 5], ["M", 5, 1, 5]]


@pytest.mark.parametrize(
    "sql",
    ["select sex, count(*) from persons group by sex having min(count(*)) over () > 5",
     "select sex, min(count(*)) over () as w from persons group by sex having w > 5",
     BY_SEX + "select sex from a where rank() over (order by n) = 1",
     BY_SEX + "select rank() over (order by n) as r, count(*) from a group by r",
     BY_SEX + "select a.n from a join a b on rank() over (order by a.n) = b.n"],
)  # fmt: skip
def test_a_window_stands_where_windows_are_computed(sql: str) -> None:
    with pytest.raises(QueryRefused, match="A window stands in SELECT") as refused:
        compile_statement(sql, example())
    assert refused.value.code == "Q-03"


def test_texts_of_numbers_that_are_written_out_have_no_point(inputs: dict[str, Path]) -> None:
    sql = (
        "select concat(1, 2), concat(sex, '-', 7), 3 || 'a', cast(5 as varchar), "
        "'n' || case when count(*) > 1 then 1 else 0 end from persons group by sex limit 1"
    )
    assert ask(sql, exact(), inputs).rows[0][1:] in (["F-7", "3a", "5", "n1"],
                                                      ["M-7", "3a", "5", "n1"])  # fmt: skip
    assert ask(sql, exact(), inputs).rows[0][0] == "12"


def test_a_cast_that_is_out_of_range_is_missing(inputs: dict[str, Path]) -> None:
    sql = (
        "select cast(avg(income) as tinyint), cast(avg(income) as smallint), "
        "cast(sum(income) * 1000000000000 * 1000000000000 as bigint), "
        "cast(-sum(income) as integer), cast(ln(count(*) - 5) as integer), "
        "cast(avg(income) + 0.5 as bigint) from persons"
    )
    assert ask(sql, exact(), inputs).rows == [[None, 300, None, -1500, None, 301]]
    with pytest.raises(QueryRefused, match="could fail"):
        compile_statement("select count(*), cast(300 as tinyint) from persons", example())


def test_a_union_of_casts_is_run(inputs: dict[str, Path]) -> None:
    sql = (
        "select cast(sum(income) * 1000000000000 * 1000000000000 as bigint) as n from persons "
        "union all select count(*) from persons order by n"
    )
    assert ask(sql, exact(), inputs).rows == [[5], [None]]


def test_functions_of_results(inputs: dict[str, Path]) -> None:
    sql = (
        "select exp(count(*) - 5), log10(sum(income) / 15), log(100), log2(count(*) + 3), "
        "log10(count(*) - 5), round(sum(income) + 250, -3), round(-1250, -2), exp(sum(income)), "
        "monthname(date '2020-02-29'), dayname(date '2020-02-29') "
        "from persons"
    )
    assert ask(sql, exact(), inputs).rows == [
        [1, 2, 2, 3, None, 2000, -1300, None, "February", "Saturday"]
    ]
    for of_rows in ("sum(exp(income))", "sum(log10(income))", "sum(round(income, -3))"):
        with pytest.raises(QueryRefused):
            compile_statement(f"select {of_rows} from persons", example())


@pytest.mark.parametrize(
    ("sql", "code", "said"),
    [("select date_trunc('week', visit_date), count(*) from visits group by 1", "Q-09", "of month or"),
     ("select weekofyear(visit_date), count(*) from visits group by 1", "Q-09", "month or quarter"),
     ("select income, count(*) from persons group by 1", "Q-09", "CASE bands"),
     ("with a as (select person_id, count(distinct dept) as n from visits group by 1) "
      "select n, count(*) from a group by n", "Q-03", "SELECT DISTINCT"),
     ("select count(distinct diagnosis) from visits", "Q-10", "Group by the column in FROM"),
     ("select sum(income > 50000) from persons", "Q-05", "count_if"),
     ("select avg(sex = 'F') from persons", "Q-05", "AS INTEGER"),
     ("select count(*) from persons p where exists (select 1 from visits v where v.dept = p.region "
      "and v.person_id = p.person_id)", "Q-12", "inside and outside"),
     ("select sex, count(*) from persons group by rollup(sex)", "Q-03", "UNION ALL"),
     ("select age(birth_year), count(*) from persons group by 1", "Q-03", "`age`"),
     ("select sex, count(*) / (select count(*) from persons) from persons group by sex", "Q-12",
      "OVER ()"),
     ("select monthname(visit_date), count(*) from visits group by 1", "Q-03", "extract(month")],
)  # fmt: skip
def test_a_refusal_says_what_would_pass(sql: str, code: str, said: str) -> None:
    with pytest.raises(QueryRefused) as refused:
        compile_statement(sql, example())
    assert refused.value.code == code
    assert said in str(refused.value) + refused.value.hint


@pytest.mark.parametrize(
    "sql",
    ["with a as (select distinct person_id, diagnosis from visits), b as (select person_id, count(*)"
     " as n from a group by person_id) select n, count(*) from b group by n",
     "with a as (select diagnosis, count(*) as n from visits group by 1) select count(*) from a",
     "select count_if(income > 50000), avg(cast(income > 50000 as integer)) from persons",
     "select sex, count(*) * 100 / sum(count(*)) over () from persons group by sex",
     "select count(*) from persons where region in (select region from regions where rural)"],
)  # fmt: skip
def test_what_refusals_say_passes(sql: str) -> None:
    assert compile_statement(sql, example()).cores
