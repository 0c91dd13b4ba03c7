"""Joins with public tables that have one, several and unequal numbers of rows for a value."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

import duckdb
import pytest

from fusion.errors import QueryRefused
from sandbox.analyse import analyse
from sandbox.engine import execute
from sandbox.partials import reply_of
from sandbox.policy import Budget
from sandbox.private.statement import compile_private
from tests.sandbox.asking import ask, example, public_of, write
from tests.sandbox.joined import JOINED, RULES, tables
from tests.sandbox.test_corpora import assert_same

if TYPE_CHECKING:
    from pathlib import Path

    from sandbox.policy import Policy

CHAIN = "select count(*) from visits v join persons p on p.person_id = v.person_id join regions a on a.region = p.region"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write(tmp_path_factory.mktemp("joins"), tables())


def _plain(inputs: dict[str, Path]) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    for name, path in inputs.items():
        connection.execute(f"CREATE VIEW {name} AS SELECT * FROM '{path}'")
    return connection


@pytest.mark.parametrize("sql", JOINED)
def test_joins_are_computed_as_a_database_computes_them(sql: str, inputs: dict[str, Path]) -> None:
    with _plain(inputs) as plain:
        assert_same(ask(sql, RULES, inputs).rows, plain.execute(sql).fetchall())


def test_what_is_known_of_a_table_is_what_is_in_it(tmp_path: Path) -> None:
    found = tables()
    found["prices"] = {
        "region": ["a", "a", "a", "b", None, None], "year": [1, 2020, 2021, 2020, 2020, 2020],
        "item": ["x", "x", "y", "x", "z", "z"], "price": [1.0, 2.0, 2.001, None, None, None],
    }  # fmt: skip
    known = public_of(RULES, write(tmp_path, found))["prices"]
    # Years below 2000 are read as 2000, 2.001 as 2.00; two missing values are not equal.
    # A set of columns that says no less than one within it is not there.
    assert known == {
        "": 6, "region": 3, "year": 4, "item": 3, "price": 2, "region,year": 1, "region,item": 2,
        "year,item": 2, "year,price": 1, "item,price": 1,
    }  # fmt: skip


def _bound(sql: str, inputs: dict[str, Path], policy: Policy = RULES) -> int:
    return analyse(sql, policy, public_of(policy, inputs)).cores[0].rows.rows


@pytest.mark.parametrize(
    ("rest", "rows"),
    [
        ("join regions r on r.region = p.region", 1),
        ("join regions r on p.region = r.region join prices c on c.region = r.region and "
         "c.year = 2021 and c.item = 'milk'", 1),
        ("join prices c on c.region = p.region where c.year = 2021 and c.item = 'milk'", 1),
        ("join prices c on c.region = p.region where 2021 = c.year", 2),
        ("join (select region as x from prices where year = 2021 and item = 'milk') c on c.x = p.region", 1),
        ("left join prices c on c.region = p.region and c.year = 2021 and c.item = 'milk'", 1),
        # A condition of WHERE on what may be missing still leaves one row.
        ("left join prices c on c.region = p.region and c.year = 2021 where c.item = 'milk'", 1),
        ("join regions r on r.region = p.region join visits v on v.person_id = p.person_id", 6),
    ],
)  # fmt: skip
def test_no_more_rows_are_counted_with_than_there_can_be(
    rest: str, rows: int, inputs: dict[str, Path]
) -> None:
    assert _bound(f"select count(*) from persons p {rest}", inputs) == rows


def _bound_or_code(sql: str, inputs: dict[str, Path]) -> int | str:
    try:
        return _bound(f"select count(*) from {sql}", inputs)
    except QueryRefused as refused:
        return refused.code


def _made_up(made: random.Random) -> str:
    """Return a join of persons and one to three public sources, in any order and way."""
    columns = {
        "regions": ("region", "rural", "size"),
        "prices": ("region", "year", "item", "price"),
    }
    names, text = ["p"], "persons p"
    kinds: dict[str, tuple[str, ...]] = {"p": ("region", "income")}
    for number in range(made.randrange(1, 4)):
        table, name = made.choice(list(columns)), f"s{number}"
        other = made.choice(names)
        pairs = [("region", "region"), ("year", "size"), ("rural", "rural"), ("price", "income"),
                 ("price", "price"), ("size", "size")]  # fmt: skip
        fits = [
            (a, b) for one, two in pairs for a, b in ((one, two), (two, one))
            if a in columns[table] and b in kinds[other]
        ]  # fmt: skip
        a, b = made.choice(fits or [("region", "region")])
        own = table if made.random() < 0.7 else f"(select * from {table} where region <> 'far')"
        more = made.choice(["", "", f" and {name}.region = 'east'", f" and {name}.region > 'f'"])
        text += f" {made.choice(['join', 'join', 'left join'])} {own} {name} on {name}.{a} = {other}.{b}{more}"
        names.append(name)
        kinds[name] = columns[table]
    where = made.choice(["", "", f" where {names[-1]}.region = 'north'"])
    return f"{text}{where}"


@pytest.mark.parametrize("most", [150, pytest.param(5000, marks=pytest.mark.soak)])
def test_a_bound_is_never_below_the_rows_of_one(most: int, inputs: dict[str, Path]) -> None:
    made, seen = random.Random(7), Counter[bool]()
    with _plain(inputs) as plain:
        for _ in range(most):
            sql = _made_up(made)
            bound = _bound_or_code(sql, inputs)
            if isinstance(bound, str):
                assert bound in {"Q-02", "Q-05"}, sql
                continue
            inner = f"select count(*) as n from {sql} group by p.person_id"
            ((found,),) = plain.execute(f"select coalesce(max(n), 0) from ({inner})").fetchall()
            assert found <= bound, sql
            seen[found == bound] += 1
    # Most are no larger than they have to be.
    assert seen[True] > seen.total() / 4


@pytest.mark.parametrize("kind", ["join", "left join"])
def test_a_chain_of_public_tables_is_refused(kind: str, made: dict[str, Path]) -> None:
    sql, last = CHAIN, "a"
    for name in "bcdefgh":
        sql, last = f"{sql} {kind} regions {name} on {name}.rural = {last}.rural", name
    with pytest.raises(QueryRefused) as refused:
        ask(sql, example(), made)
    assert refused.value.code == "Q-02"
    own = sql[sql.index("regions a on") :].replace("regions a on a.region = p.region", "regions a")
    for rest in (f"select a.region from {own}", "select count(*) from persons where region in "
                 f"(select a.region from {own})"):  # fmt: skip
        with pytest.raises(QueryRefused) as refused:
            ask(rest, example(), made)
        assert refused.value.code == "Q-02"


def test_what_is_not_known_is_refused_and_says_what_helps() -> None:
    with pytest.raises(
        QueryRefused, match="rows of regions have one value is not known"
    ) as refused:
        analyse(JOINED[0], RULES)
    assert refused.value.code == "Q-08"
    assert "fusion policy add" in str(refused.value)
    analyse("select count(*) from persons where region in (select region from regions)", RULES)


def test_with_noise_that_is_nothing_sums_are_as_a_database_has_them(
    inputs: dict[str, Path], tmp_path: Path
) -> None:
    """Mode dp cuts nothing off that a join makes; what a person counts for grows with it."""
    budget = Budget(grant_rho_micro=10**15, dataset_rho_micro=10**15, contributions=8)
    policy = RULES.model_copy(update={"mode": "dp", "budget": budget})
    known = public_of(policy, inputs)
    less = _without(tables()["persons"]["region"].index("far"), tmp_path)
    for rest in (
        "p join prices c on c.region = p.region",
        "p join regions r on r.region = p.region join prices c on c.region = r.region",
        "p join regions r using (region)",
    ):
        sql = f"select p.sex, count(*), sum(p.income) from persons {rest} group by 1"
        statement = compile_private(sql, policy, public=known)
        asked = statement.compiled.asked
        rows, neighbour = (
            {row[0]: row[1:] for row in reply_of(execute(asked.request, each), asked)[0]}
            for each in (inputs, less)
        )
        with _plain(inputs) as plain:
            for sex, count, total in plain.execute(sql).fetchall():
                assert rows[sex] == (count, round(total * 10)), sql
        for place, noise in enumerate(statement.noise.values()):
            moved = sum((rows[sex][place] - neighbour[sex][place]) ** 2 for sex in "FM")
            assert 0 < moved <= noise.squared


def _without(person: int, folder: Path) -> dict[str, Path]:
    found = tables()
    for name in ("persons", "visits"):
        keep = [place for place, who in enumerate(found[name]["person_id"]) if who != person]
        found[name] = {key: [cells[place] for place in keep] for key, cells in found[name].items()}
    return write(folder, found)
