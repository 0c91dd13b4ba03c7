"""The engine by itself, what it is sent and what it may reply; numbers at their bounds."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from fusion.errors import MessageInvalid, QueryFailed
from sandbox import post
from sandbox.compile import CoreQuery
from sandbox.disclosure import Rules
from sandbox.engine import execute
from sandbox.explain import explain
from sandbox.partials import ask as asked
from sandbox.partials import reply_of, request_of
from sandbox.query import cells, compile_statement, finish
from sandbox.reading import parse_policy
from tests.sandbox.asking import ask, exact, example, write

if TYPE_CHECKING:
    from pathlib import Path


def _run(sql: str, inputs: dict[str, Path], *columns: tuple[str, str]) -> list[Any]:
    request = asked([CoreQuery(sql, columns, tuple(inputs))])
    return reply_of(execute(request.request, inputs), request)[0]


@pytest.mark.parametrize(
    "sql",
    [
        "select count(*) from read_csv('/etc/passwd')",
        "select count(*) from '/etc/passwd'",
        "select * from glob('/*')",
        "copy (select 1) to '/tmp/x'",
        "attach '/tmp/x.db' as x",
        "install httpfs",
        "set threads = 3",
        "select 1 // 0 + cast('card' as int)",
    ],
)
def test_the_engine_is_locked_and_fails_in_one_text(sql: str, made: dict[str, Path]) -> None:
    with pytest.raises(QueryFailed) as failed:
        _run(sql, made, ("n", "whole"))
    assert str(failed.value) == str(QueryFailed())


def test_csv_is_read_as_parquet_is(tmp_path: Path, made: dict[str, Path]) -> None:
    from pyarrow import csv, parquet  # noqa: PLC0415

    files = {}
    for name, path in made.items():
        files[name] = tmp_path / f"{name}.csv"
        csv.write_csv(parquet.read_table(path), files[name])
    for sql in (
        "select sex, count(*), sum(income) from persons group by sex order by 1",
        "select date_trunc('year', visit_date), avg(cost) from visits group by 1 order by 1",
        "select rural, count(*) from persons join regions using (region) group by 1 order by 1",
    ):
        assert ask(sql, exact(), files).rows == ask(sql, exact(), made).rows


def test_a_key_with_decimals_is_shown_and_used_in_its_units(made: dict[str, Path]) -> None:
    cells = (
        "select case when sex = 'F' then 0.5 else 1.25 end as w, count(*) as n "
        "from persons group by 1"
    )
    rows = ask(
        f"select w, w + 1 as more from ({cells}) t where w < 2 order by w", exact(), made
    ).rows
    assert rows == [[0.5, 1.5], [1.25, 2.25]]


def test_cells_that_are_no_numbers_or_days_are_missing(tmp_path: Path) -> None:
    people: dict[str, list[Any]] = {
        "person_id": ["1", "2", "x", "4", ""],
        "birth_year": ["1950", "abc", "1960", "3000", "1970"],
        "sex": ["F", "F", "F", "F", "F"],
        "region": ["a"] * 5,
        "education": ["b"] * 5,
        "income": ["10", "nan", "5", "1e400", "7"],
    }
    inputs = write(tmp_path, {"persons": people})
    sql = "select count(*), count(income), count(birth_year), sum(income) from persons"
    rows = ask(sql, exact(), inputs).rows
    assert rows == [[3, 2, 2, 10_000_010.0]]


def test_a_value_beyond_the_bounds_is_the_bound(tmp_path: Path) -> None:
    people: dict[str, list[Any]] = {
        "person_id": [1, 2],
        "birth_year": [1000, 9999],
        "sex": ["F", "F"],
        "region": ["a", "a"],
        "education": ["b", "b"],
        "income": [-5.0, 1e300],
    }
    inputs = write(tmp_path, {"persons": people})
    rows = ask("select sum(income), sum(birth_year) from persons", exact(), inputs).rows
    assert rows == [[10_000_000.0, 3930]]


def test_more_rows_of_one_entity_than_count_are_cut_off(tmp_path: Path) -> None:
    people: dict[str, list[Any]] = {
        "person_id": [1] * 50 + [2],
        "birth_year": [1950] * 51,
        "sex": ["F"] * 51,
        "region": ["a"] * 51,
        "education": ["b"] * 51,
        "income": [1.0] * 51,
    }
    inputs = write(tmp_path, {"persons": people})
    assert ask("select count(*) from persons", exact(), inputs).rows == [[2]]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"schema":"fusion.core-cells/1","results":[]}',
        b'{"schema":"fusion.core-cells/1","results":[{"columns":["x"],"rows":[]}]}',
        b'{"schema":"fusion.core-cells/1","results":[{"columns":["n"],"rows":[["1x"]]}]}',
        b'{"schema":"fusion.core-cells/1","results":[{"columns":["n"],"rows":[[1]]}]}',
        b'{"schema":"fusion.core-cells/1","results":[{"columns":["n"],"rows":[[]]}]}',
        b'{"schema":"fusion.core-cells/1","results":[{"columns":["n"],"rows":[]}],"more":1}',
    ],
)
def test_a_reply_of_another_shape_is_refused(data: bytes) -> None:
    request = asked([CoreQuery("select 1 as n", (("n", "whole"),), ())])
    with pytest.raises(MessageInvalid):
        reply_of(data, request)


def test_a_request_is_checked() -> None:
    with pytest.raises(MessageInvalid):
        request_of(b'{"schema":"fusion.core-request/1"}')
    with pytest.raises(MessageInvalid):
        request_of(b" " * 17_000_000)


# ---------------------------------------------------------------- what a history needs


def test_a_core_names_family_predicate_and_entities_of_its_cells(made: dict[str, Path]) -> None:
    sql = (
        "select p.region, count(*), avg(p.income) from persons p where p.sex = 'F' and "
        "1950 < p.birth_year and person_id in (select person_id from visits where dept = 'er') "
        "group by p.region"
    )
    compiled = compile_statement(sql, example())
    (core,) = compiled.cores
    assert core.family == ("persons.income",)
    assert core.key_texts == ("persons.region",)
    assert "eq('F',persons.sex)" in core.predicate
    same = compile_statement(
        "select region, count(*), avg(income) from persons where birth_year > 1950 and person_id "
        "in (select person_id from visits where 'er' = dept) and sex = 'F' group by region",
        example(),
    )
    assert same.cores[0].predicate == core.predicate
    found = cells(compiled, execute(compiled.asked.request, made))[0]
    pairs = _run(compiled.codes(core), made, ("e", "whole"), ("cell", "whole"))
    sizes: dict[int, int] = {}
    for _, cell in pairs:
        sizes[cell] = sizes.get(cell, 0) + 1
    assert sizes == {place: cell.entities for place, cell in enumerate(found)}


def test_cells_can_be_withheld_by_number(made: dict[str, Path]) -> None:
    compiled = compile_statement("select sex, count(*) from persons group by sex", example())
    reply = execute(compiled.asked.request, made)
    rules = Rules(example().release)
    assert [row[0] for row in finish(compiled, reply, rules).rows] == ["F", "M"]
    left = finish(compiled, reply, rules, lambda _core, _cells: {0})
    assert [row[0] for row in left.rows] == ["M"]


def test_the_request_is_all_that_an_engine_gets(made: dict[str, Path]) -> None:
    compiled = compile_statement("select count(*) from persons where sex = 'F'", example())
    document = json.loads(compiled.asked.request)
    assert set(document) == {"schema", "tables", "queries", "limits"}
    assert document["tables"] == ["persons"]
    run = partial(execute, inputs={"persons": made["persons"]})
    assert finish(compiled, run(compiled.asked.request), Rules(example().release)).rows


def test_a_statement_is_explained_without_its_data() -> None:
    compiled = compile_statement(
        "select sex, count(*), avg(income), median(income) from persons where region = 'R01' "
        "group by sex", example())  # fmt: skip
    told = explain(compiled)
    (core,) = told["cores"]
    assert core["keys"] == ["persons.sex"]
    assert core["about"] == ["persons.income"]
    assert core["statistics"][0] == "count, rounded to 5"
    assert core["statistics"][2] == "quantile 0.5, rounded to 500"
    assert told["columns"] == ["sex", "count", "avg", "median"]


def test_tables_and_columns_may_have_chinese_names(tmp_path: Path) -> None:
    text = """
schema: fusion.policy/1
title: 企业
tables:
  企业:
    entity: 编号
    columns:
      编号: {class: key, type: text}
      地区: {class: dimension}
      收入: {class: number, low: 0, high: 1000000}
"""
    policy = parse_policy(text, "policy.yaml")
    columns: dict[str, list[Any]] = {
        "编号": [f"n{n}" for n in range(60)],
        "地区": ["东" if n % 2 else "西" for n in range(60)],
        "收入": [1000] * 60,
    }
    inputs = write(tmp_path, {"企业": columns})
    sql = 'select 地区, count(*) as 数量, avg(收入) as "平均 收入" from 企业'
    sql += " group by 地区 order by 地区"
    answer = ask(sql, policy, inputs)
    assert answer.columns == ("地区", "数量", "平均 收入")
    assert [row[:2] for row in answer.rows] == [["东", 30], ["西", 30]]


def _released(sql: str, inputs: dict[str, Path]) -> list[Any]:
    return ask(sql, exact(), inputs).rows


def test_an_engine_for_released_cells_is_kept_empty_and_closed_when_anything_failed(
    made: dict[str, Path],
) -> None:
    sql = "select sex, count(*) as n from persons group by sex order by 1"
    first = _released(sql, made)
    kept = post._idle.qsize()
    assert kept
    assert _released(sql, made) == first
    assert post._idle.qsize() == kept
    with post._engine() as engine:
        for what in ("tables", "views", "types", "functions"):
            own = f"select count(*) from duckdb_{what}() where not internal"
            assert engine.execute(own).fetchone() == (0,), what
        for setting in ("enable_external_access", "python_enable_replacements"):
            assert engine.execute(f"select current_setting('{setting}')").fetchone() == (False,)
    assert post._idle.qsize() == kept
    with pytest.raises(duckdb.Error), post._engine() as engine:
        engine.execute("set threads = 2")
    assert post._idle.qsize() == kept - 1
    assert _released(sql, made) == first


def test_engines_for_released_cells_do_not_see_each_other(made: dict[str, Path]) -> None:
    with post._engine() as one, post._engine() as other:
        one.execute("create table t0 (a bigint)")
        with pytest.raises(duckdb.Error):
            other.execute("select * from t0")
        other.execute("rollback")
        other.execute("begin")
    assert post._idle.qsize() <= post._MOST_IDLE
    with ThreadPoolExecutor(8) as pool:
        sql = "select region, count(*) as n from persons group by region order by 1"
        answers = list(pool.map(lambda _: _released(sql, made), range(24)))
    assert all(each == answers[0] for each in answers)
    assert post._idle.qsize() <= post._MOST_IDLE
