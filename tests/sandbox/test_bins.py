"""What a statement tells of a number that has a bin: its bin, and sums of it as it is."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from fusion.errors import QueryRefused
from sandbox import values as v
from sandbox.analyse import analyse
from sandbox.describe import describe
from sandbox.dialects import Dialect, lower_end
from sandbox.explain import explain
from sandbox.names import base
from sandbox.policy import Budget
from sandbox.query import compile_statement
from sandbox.weak import weaker_than_usual
from tests.sandbox import binned
from tests.sandbox.asking import ask, example, in_bins, public_of, with_release

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sandbox.dialects import Name
    from sandbox.policy import Policy


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Path]]:
    rng = random.Random(5)
    folder, first = tmp_path_factory.mktemp("binned"), binned.tables(rng)
    both = (first, binned.moved(rng, first))
    return [binned.files(folder / str(n), each) for n, each in enumerate(both)]


@pytest.fixture(scope="module")
def plain(tables: list[dict[str, Path]]) -> Iterator[duckdb.DuckDBPyConnection]:
    """The first tables in an engine that knows no policy."""
    with duckdb.connect() as connection:
        for name, path in tables[0].items():
            connection.execute(f"create view {name} as select * from '{path}'")
        yield connection


def answers(sql: str, policy: Policy, tables: list[dict[str, Path]]) -> set[str]:
    """Return what is answered over tables that agree in bins: one thing, if no more is told."""
    return {repr(ask(sql, policy, each).rows) for each in tables}


def sharp() -> Policy:
    return with_release(binned.policy(), conditions="exact")


EXACT_FORMS = (
    "count(*) from persons where income > 1000", "count(*) from persons where income <= 500.0",
    "count(*) from persons where 1500 <= income", "count(*) from persons where balance < -14",
    "count(*) from persons where balance between -7 and 21", "sum(income) from persons",
    "count(*) from persons where income in (500, 1000, 1500)", "avg(income) from persons",
    "count(*) from persons where income = 1000 or income is null", "avg(minutes) from visits",
    "count(*) from persons where income > -3 and income < 100000.5", "count(income) from persons",
    "count(*) from persons where income is distinct from 1500", "stddev_pop(height) from persons",
    "count(*) filter (where height > 171) from persons", "regr_count(cost, minutes) from visits",
    "sum(case when sex = 'F' then income else 0 end) from persons",
    "sum(coalesce(nullif(income, 0), balance)) from persons",
    "sum(round(cost, 2)) from visits", "sum(cast(cost as double)) from visits",
    "sum(greatest(cost, minutes)) from visits where greatest(cost, minutes) > 20",
    "avg(c) from (select person_id, sum(cost) as c from visits group by person_id) as t",
    "count(*) from (select person_id, max(cost) c from visits group by person_id) t where c > 50",
    "sum(c) from (select person_id, income, sum(cost) as c from persons join visits "
    "using (person_id) group by person_id, income having income > 1000) t",
    "sum(w) from (select person_id, max(cost) over (partition by person_id) as w from visits) t "
    "where w >= 10",
    "avg(w) from (select person_id, sum(cost) over (partition by person_id) as w from visits) t",
    "avg(coalesce(a, 0)) from (select person_id, avg(cost) as a from visits group by person_id) t",
    "sum(greatest(0.0, a)) from (select person_id, avg(cost) a from visits group by person_id) t",
)  # fmt: skip


@pytest.mark.parametrize("rest", EXACT_FORMS)
def test_what_has_nothing_to_move_is_as_a_database_has_it(
    rest: str, tables: list[dict[str, Path]], plain: duckdb.DuckDBPyConnection
) -> None:
    sql = f"select {rest}"
    assert compile_statement(sql, binned.policy()).notes == []
    ((own,),) = ask(sql, binned.policy(), tables[0]).rows
    ((theirs,),) = plain.execute(sql).fetchall()
    assert own == pytest.approx(float(theirs), rel=1e-9)


REFUSED = {
    "income > 1234": "Write 1000 or 1500,", "1234 > income": "Write 1000 or 1500,",
    "income > 1000.01": "Write 1000 or 1500,", "income in (1000, 51234)": "Write 51000 or 51500,",
    "income between 1000 and 99999": "Write 99500 or 100000,", "income = 250": "Write 0 or 500,",
    "balance < -1": "Write -7 or 0,", "balance < 999": "Write 994,", "-1.5 <= balance": "-7 or 0,",
    "nullif(income, 1) > 500": "Write 0 or 500,", "case income when 7 then true end": "0 or 500,",
    "income is not distinct from 77": "Write 0 or 500,", "coalesce(income, 0) > 4": "0 or 500,",
    "case when sex = 'F' then income end > 501": "Write 500 or 1000,",
    "greatest(income, balance) > 500": "Write 0 or 3500,",
}  # fmt: skip


@pytest.mark.parametrize("condition", REFUSED)
def test_a_constant_between_multiples_is_refused_with_the_nearest(condition: str) -> None:
    sql = f"select count(*) from persons where {condition}"
    with pytest.raises(QueryRefused) as refused:
        analyse(sql, binned.policy())
    assert refused.value.code == "Q-27"
    assert REFUSED[condition] in (refused.value.hint or "")
    analyse(sql, sharp())


@pytest.mark.parametrize(
    "sql",
    ["select count(*) from (select person_id, cost from visits group by person_id, cost) t",
     "select count(*) from (select distinct person_id, minutes from visits) t",
     "select count(*) from persons p join visits v on p.person_id = v.person_id "
     "join rates r on r.rate = v.cost and r.dept = v.dept where r.rate = v.cost and 1 = cost",
     "select count(*) from visits where cost in (select rate from rates)",
     "select count(*) from visits join rates using (dept) where cost in (20.5)",
     "select count(*) from visits a join visits b using (person_id, cost)"],
)  # fmt: skip
def test_what_can_not_be_read_at_a_bin_is_refused(sql: str) -> None:
    with pytest.raises(QueryRefused) as refused:
        analyse(sql, binned.policy())
    assert refused.value.code == "Q-27"
    assert refused.value.hint


PEOPLE = "(select person_id, {} as a from visits group by person_id) t"
EVASIONS = (
    "count(*) from visits where cost + 0 > 51.23", "count(*) from visits where cost * 100 > 5123",
    "count(*) from visits where abs(cost - 51.23) < 1", "count(*) from visits where -cost < -51.23",
    "count(*) from visits where round(cost) = 51", "count_if(floor(cost / 3) = 17) from visits",
    "count(*) from visits where ceil(cost) in (51, 52)", "count(sign(cost - 51.23)) from visits",
    "count(*) from visits where cast(cost as integer) = 51", "sum(cost + 0) from visits",
    "count_if(cast(cost as int) % 7 = 1) from visits", "sum(sign(cost - 51.23)) from visits",
    "count_if(cast(cost as int) // 7 = 1) from visits", "count(1 / (cost - 51.23)) from visits",
    "count(nullif(cost + 0, 51.23)) from visits", "count(nullif(cost - 51.23, 0)) from visits",
    "sum(least(greatest((cost - 51.23) * 100, 0), 1)) from visits", "sum(cost * 1.234) from visits",
    "sum(case when dept = 'er' then cost else 51.23 end) from visits", "sum(-cost) from visits",
    "count(*) from visits where least(cost, 51.23) = 51.23", "sum(pow(cost, 2)) from visits",
    "count_if(cost > (minutes - minutes) + 51) from visits", "sum(coalesce(cost, 7)) from visits",
    "count(*) from visits where cost > minutes", "sum(cost / (minutes + 1)) from visits",
    "count(*) from visits where cast(cost as double) + 1 > 51.23", "sum(ln(cost + 1)) from visits",
    "count(*) from visits where case when cost - 50 > 1.5 then cost > 60 else cost * 2 > 7 end",
    "count(*) from visits v join rates r on v.dept = r.dept where v.cost > r.rate",
    "covar_pop(cost, case when dept = 'er' then 7 else 3 end) from visits",
    "regr_slope(minutes, case when dept = 'er' then 7 else 3 end) from visits",
    "stddev(cost) from visits", "var_pop(balance) from persons", "corr(cost, minutes) from visits",
    "regr_intercept(minutes, cost) from visits", f"var_samp(a) from {PEOPLE.format('sum(cost)')}",
    f"covar_pop(a, 1.5 * a) from {PEOPLE.format('avg(minutes)')}",
    "quantile_cont(cost, 0.37) from visits", "quantile_disc(cost, 0.37) from visits",
    "median(minutes) filter (where dept = 'er') from visits", "median(cost * 7) from visits",
    f"count(*) from {PEOPLE.format('sum(cost)')} where a > 51.23",
    f"count(*) from {PEOPLE.format('sum(cost)')} where a > 50",
    f"count(*) from {PEOPLE.format('avg(cost)')} where a > 51.23",
    f"count(*) from {PEOPLE.format('avg(cost)')} where cast(a as int) = 51",
    f"count(*) from {PEOPLE.format('sum(case when cost > 20 then cost end)')} where a > 51.23",
    f"sum(a + 1) from {PEOPLE.format('sum(cost)')}", f"median(a) from {PEOPLE.format('sum(cost)')}",
    f"count(*) from {PEOPLE.format('max(cost) - min(cost)')} where a > 5",
    f"count(*) from {PEOPLE.format('coalesce(sum(cost), 0)')} where a > 51.23",
    f"count(*) from (select max(a) as b, person_id from {PEOPLE.format('sum(cost)')} "
    "group by person_id) u where b > 51.23",
    f"count(*) from (select t.*, p.sex from {PEOPLE.format('sum(cost)')} join persons p "
    "using (person_id)) u where a > 51.23",
    "count(*) from persons where person_id in (select person_id from visits group by person_id "
    "having sum(cost) > 51.23 and max(cost) - 1 > 7)",
    "count(*) from (select person_id, minutes, row_number() over (partition by person_id order by "
    "cost) as n from visits) t where n = 1 and minutes > 30",
    "count(*) from (select person_id, rank() over (partition by person_id order by cost) as n "
    "from visits) t where n = 2",
    "count(*) from (select person_id, count(*) over (partition by person_id, cost) as n "
    "from visits) t where n > 1",
    "count(*) from (select person_id, sum(cost) over (partition by person_id order by cost) as n "
    "from visits) t where n > 51.23",
    "count(*) from (select person_id, cost, lag(cost) over (partition by person_id order by "
    "minutes) as n from visits) t where n > cost",
)  # fmt: skip


@pytest.mark.parametrize("rest", EVASIONS)
def test_no_other_words_tell_more_than_a_bin(rest: str, tables: list[dict[str, Path]]) -> None:
    assert len(answers(f"select {rest}", binned.policy(), tables)) == 1


def test_without_bins_nearly_all_of_them_tell_more(tables: list[dict[str, Path]]) -> None:
    some = EVASIONS[::3]
    told = [len(answers(f"select {rest}", sharp(), tables)) > 1 for rest in some]
    assert sum(told) > 0.6 * len(told)


def held(statements: int, seed: int, tables: list[dict[str, Path]]) -> int:
    """Hold made-up statements to it; return how many were answered."""
    grammar, found = binned.Grammar(random.Random(seed)), 0
    for _ in range(statements):
        sql = grammar.statement()
        try:
            told = answers(sql, binned.policy(), tables)
        except QueryRefused:
            continue
        found += 1
        assert len(told) == 1, sql
    return found


def test_where_in_its_bin_a_number_is_changes_no_answer(tables: list[dict[str, Path]]) -> None:
    assert held(90, 1, tables) > 25


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(2, 12))
def test_many_made_up_statements_tell_bins_alone(seed: int, tables: list[dict[str, Path]]) -> None:
    assert held(2000, seed, tables) > 500


def test_without_bins_made_up_statements_tell_more(tables: list[dict[str, Path]]) -> None:
    grammar, told = binned.Grammar(random.Random(1)), 0
    for _ in range(24):
        sql = grammar.statement()
        try:
            told += len(answers(sql, sharp(), tables)) > 1
        except QueryRefused:
            continue
    assert told > 2


def test_what_is_read_at_its_bin_is_said() -> None:
    def notes(sql: str) -> list[str]:
        return [message for message, _ in compile_statement(sql, binned.policy()).notes]

    cost = ["visits.cost is computed with as the middle of its bin of 10."]
    assert notes("select sum(cost), count_if(cost > 20) from visits") == []
    assert notes("select sum(cost * 2) from visits") == cost
    totals = "(select person_id, sum(cost) as c from visits group by person_id) as t"
    assert notes(f"select avg(c) from {totals}") == []
    assert notes(f"select avg(c) from {totals} where c > 15") == cost
    assert notes("select count(*) from persons where person_id in (select person_id from visits "
                 "where round(cost) = 3)") == cost  # fmt: skip
    # Who breaks ties is not computed with.
    assert notes("select avg(cost) from (select person_id, cost, row_number() over (partition by "
                 "person_id order by dept) as n from visits) t where n = 1") == []  # fmt: skip
    assert len(notes("select sum(cost * minutes) from visits")) == 2
    # Each column once, and none that has no bin or that is in a condition alone.
    assert notes("select sum(c * 2), sum(c * 3), median(c) from (select case when dept = 'er' and "
                 "minutes > 10 then cost end as c from visits) t") == cost  # fmt: skip
    assert notes("select sum(w * 2) from (select person_id, minutes, lag(cost) over (partition by "
                 "person_id order by dept) as w from visits) t") == cost  # fmt: skip
    compiled = compile_statement("select sum(cost * 2), median(cost) from visits", binned.policy())
    told = explain(compiled)
    assert told["notes"] == cost
    assert told["cores"][0]["statistics"][1] == "quantile 0.5, rounded to 10"


def test_an_operation_that_does_not_say_so_gets_no_number_with_a_bin() -> None:
    relation = base(binned.policy(), "visits")
    assert relation is not None
    cost = next(each.value for each in relation.outputs if each.name == "cost")
    assert cost.type.bin == 10
    with pytest.raises(QueryRefused) as refused:
        v.build("cube", (cost,), v.BOOL)
    assert refused.value.code == "Q-27"
    assert v.build("cube", (v.binned(cost),), v.BOOL).type == v.BOOL


@pytest.mark.parametrize("name", ["duckdb", "spark"])
def test_the_middle_of_a_bin_is_the_same_for_all_of_it(
    name: Name, plain: duckdb.DuckDBPyConnection
) -> None:
    """Whole numbers of decimals, below 0 as above, within the bounds that types say."""
    relation = base(binned.policy(), "persons")
    assert relation is not None
    balance = v.binned(next(e.value for e in relation.outputs if e.name == "balance"))
    assert (balance.args[1:], balance.type.low) == ((70, 35), -1001 + 3.5)
    read = v.replaced(balance, (v.column(0, 1, balance.args[0]), *balance.args[1:]))
    text = Dialect(name, lambda _: "").sql(read)
    found = plain.execute(
        f"select c1, {lower_end('c1', 70, signed=True)}, {text} from range(-300, 300) as s0(c1)"
    ).fetchall()
    for x, low, middle in found:
        assert low % 70 == 0
        assert low <= x < low + 70
        assert middle == (x if x == low else low + 35)
    assert [each[2] for each in found] == sorted(each[2] for each in found)


@pytest.fixture(scope="module")
def round_numbers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Tables in which every number is a multiple of its bin, and many are 0."""
    rng = random.Random(6)
    made = binned.tables(rng)
    for columns in made.values():
        for name in [each for each in binned.BINS if each in columns]:
            width = binned.BINS[name][0]
            columns[name] = [
                None if each is None else 0.0 if rng.random() < 0.4 else each // width * width
                for each in columns[name]
            ]
    return binned.files(tmp_path_factory.mktemp("round") / "0", made)


TOTALS = "(select person_id, sum(cost) as c, avg(minutes) as m from visits group by person_id) t"


@pytest.mark.parametrize(
    "rest",
    ["count(*) from persons where income / 1000 > 3", "sum(cost * 1.19) from visits",
     "sum(abs(balance - 10.5)) from persons", "avg(ln(income + 1)) from persons",
     "count(*) from visits where cost > minutes", "avg(greatest(cost, 25)) from visits",
     "count(*) from visits where floor(cost / 3) = 3", "stddev_pop(income) from persons",
     "corr(cost, minutes) from visits", f"var_pop(c) from {TOTALS}",
     "sum(-balance * minutes) from persons "
     "join visits using (person_id)", f"count(*) from {TOTALS} where c > 0",
     f"count(*) from {TOTALS} where c = 0", f"sum(c * 2) from {TOTALS} where c > 51.23",
     f"count(*) from {TOTALS} where m > 12.3", f"sum(coalesce(c, 7) - 3) from {TOTALS}"],
)  # fmt: skip
def test_multiples_of_a_bin_are_computed_with_as_they_are(
    rest: str, round_numbers: dict[str, Path]
) -> None:
    sql = f"select {rest}"
    assert compile_statement(sql, binned.policy()).notes
    with duckdb.connect() as connection:
        for name, path in round_numbers.items():
            connection.execute(f"create view {name} as select * from '{path}'")
        ((theirs,),) = connection.execute(sql).fetchall()
    ((own,),) = ask(sql, binned.policy(), round_numbers).rows
    assert own == pytest.approx(float(theirs), rel=1e-7)


BY_PERSON = "(select person_id, sum(cost) c, avg(minutes) m from visits group by person_id) t"
WIDTHS = {
    "cost from visits": "10", "cost * 1.2 from visits": "12", "-cost / 4 from visits": "2.5",
    f"c from {BY_PERSON}": "10", f"m from {BY_PERSON}": "5", f"c * 2 + m from {BY_PERSON}": "20",
    f"coalesce(c, 0) from {BY_PERSON}": "10", "height from persons": "1",
    "rate from visits join rates using (dept)": "0.01",
}  # fmt: skip


@pytest.mark.parametrize("rest", WIDTHS)
@pytest.mark.parametrize("conditions", ["bin", "exact"])
def test_a_quantile_is_as_wide_as_the_columns_in_it(
    rest: str, conditions: str, tables: list[dict[str, Path]], plain: duckdb.DuckDBPyConnection
) -> None:
    """Not as a thousandth of what a total could be, which would be 0 for everybody."""
    value, _, source = rest.partition(" from ")
    sql = f"select median({value}) from {source}"
    policy = with_release(binned.policy(), conditions=conditions)
    (told,) = explain(compile_statement(sql, policy, public=public_of(policy, tables[0])))["cores"][
        0
    ]["statistics"]
    assert told == f"quantile 0.5, rounded to {WIDTHS[rest]}"
    ((own,),) = ask(sql, policy, tables[0]).rows
    ((theirs,),) = plain.execute(sql).fetchall()
    assert own == pytest.approx(float(theirs), abs=2 * float(WIDTHS[rest]))


FUNCTIONS = (
    "sqrt(cost)", "ln(cost + 10)", "sqrt(cost) / 10 - 3", "round(ln(cost + 20), 3)",
    "sqrt(2 * cost)", "coalesce(sqrt(cost), 0)", "nullif(ln(cost + 20), 0)", "sqrt(sqrt(cost))",
    "case when cost > 4 then sqrt(cost) else 2 end", "floor(10 * sqrt(cost))",
)  # fmt: skip


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_quantile_of_a_root_or_logarithm_tells_what_one_of_the_number_does(
    function: str, tables: list[dict[str, Path]], plain: duckdb.DuckDBPyConnection
) -> None:
    """Even where conditions know numbers, and so that it is as near for large as for small ones."""
    for fraction in (0.05, 0.25, 0.5, 0.9):
        sql = f"select quantile_cont({function}, {fraction}) from visits"
        assert len(answers(sql, sharp(), tables)) == 1
        ((own,),) = ask(sql, sharp(), tables[0]).rows
        beside = (function.replace("cost", f"greatest(c {sign} 10, 0)") for sign in "-+")
        ((low, high),) = plain.execute(
            f"select {', '.join(beside)} from "
            f"(select quantile_cont(cost, {fraction}) as c from visits)"
        ).fetchall()
        assert low <= own <= high


@pytest.mark.parametrize(
    "query",
    [
        "select median(s) from (select person_id, max(sqrt(cost)) as s from visits group by 1)",
        "select median(s) from (select person_id, avg(ln(cost + 10)) as s from visits group by 1)",
    ],
)
def test_a_root_in_a_total_has_no_width_and_no_quantile(query: str) -> None:
    """A thousandth of what a root can be is less than what its number is told to."""
    with pytest.raises(QueryRefused, match="product, quotient, root or logarithm"):
        compile_statement(query, sharp())


def test_a_quantile_without_a_width_is_refused_where_bins_are_not_all_it_knows() -> None:
    for value in ("cost / (minutes + 1)", "cost * minutes", "pow(cost, 2)"):
        sql = f"select median({value}) from visits"
        analyse(sql, binned.policy())
        with pytest.raises(QueryRefused) as refused:
            analyse(sql, sharp())
        assert refused.value.code == "Q-10"
        assert "no width" in str(refused.value)


def test_who_has_no_bin_or_wants_none_is_answered_as_before() -> None:
    off = "select count(*) from persons where height > 171 and height + 1 > 3"
    assert compile_statement(off, binned.policy()).notes == []
    off = "select count(*) from persons where income > 1234"
    analyse(off, sharp())
    noisy = binned.policy().model_copy(
        update={"mode": "dp", "budget": Budget(grant_rho_micro=9, dataset_rho_micro=9)}
    )
    analyse(off, noisy)
    one = binned.TEXT.replace("decimals: 2, low: 0, high: 100000, bin: 500",
                              "low: 0, high: 100000, bin: 1")  # fmt: skip
    assert one != binned.TEXT
    assert binned.parsed(one).bin_of(binned.parsed(one).tables["persons"].columns["income"]) == 0


def test_an_owner_is_told_and_so_is_who_asks() -> None:
    usual = example()
    assert not any("conditions is exact" in each for each in weaker_than_usual(usual))
    assert any("conditions is exact" in each for each in weaker_than_usual(in_exact(usual)))

    def bins(policy: Policy) -> dict[str, Any]:
        columns = [f"{t}.{c}" for t, table in policy.tables.items() for c in table.columns]
        told = describe(policy, columns)
        return {c.name: c.bin for table in told.tables for c in table.columns if c.bin}

    assert bins(usual) == {"income": 500, "cost": 10, "duration_min": 5}
    assert bins(in_exact(usual)) == {}
    assert in_bins().release.conditions == "bin"


def in_exact(policy: Policy) -> Policy:
    return with_release(policy, conditions="exact")
