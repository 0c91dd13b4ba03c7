"""What is malformed is refused where it is malformed, and nothing is guessed: DuckDB's grammar."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from fusion.errors import QueryRefused
from sandbox import grammar, syntax
from tests.sandbox.asking import corpus

if TYPE_CHECKING:
    from pathlib import Path

MALFORMED = [
    ("select count(*) from persons where substring(region, 1, 2 = 'R0'", "'R0'"),
    ("select extract('month' from visit_date as m, count(*) from visits group by 1", "as m"),
    ("select cast(date_trunc('month', visit_date) as date as m from visits group by 1", "as m"),
    ("select , count(*) from persons", ","),
    ("select count(*) as n from visits group by order by n desc limit 1", "order"),
    ("\u017felect count(*) from persons", "\u017felect"),
    ("select sex, count(*) from persons where region = 'é'\n group by sex andd 1", "andd"),
    ("select count(*) from persons where sex = 'F' limit 1 limit 2", "limit 2"),
    ("select 'a' 'b', count(*) from persons", "'b'"),
    ("select nullif(count(*)), 1 from persons", "),"),
]


@pytest.mark.parametrize(("sql", "wrong"), MALFORMED)
def test_what_is_malformed_is_refused_at_its_place(sql: str, wrong: str) -> None:
    for text in (sql, f"\n\t {sql}"):
        with pytest.raises(QueryRefused) as refused:
            syntax.read(text)
        assert refused.value.code == "Q-01"
        assert refused.value.start is not None
        assert text[refused.value.start :].startswith(wrong)


@pytest.mark.parametrize(
    "frame",
    ["rows between 2 following and 1 preceding", "rows 1 following",
     "rows between current row and 1 preceding", "rows between unbounded following and 1 following",
     "range between 1 following and current row"],
)  # fmt: skip
def test_frames_that_cannot_be_are_refused(frame: str) -> None:
    with pytest.raises(QueryRefused) as refused:
        syntax.read(f"select sum(count(*)) over (order by sex {frame}) from persons group by sex")
    assert refused.value.code == "Q-03"
    assert "PRECEDING" in refused.value.hint


def test_nothing_of_the_statement_is_said() -> None:
    for text in (
        "select count(*) within group (order by card) from persons",
        "select card card2 1",
    ):
        with pytest.raises(QueryRefused) as refused:
            grammar.check(text)
        assert "card" not in str(refused.value)


def test_the_parser_runs_and_opens_nothing(tmp_path: Path) -> None:
    made = tmp_path / "made.csv"
    for text in (
        f"copy (select 1) to '{made}'",
        f"attach '{made}' as a",
        f"export database '{tmp_path / 'all'}'",
        "create table t as select 1",
        "set threads = 7",
        f"select * from read_csv('{made}')",
        "select 1; select 2",
    ):
        try:
            grammar.check(text)
        except QueryRefused as refused:
            assert refused.code == "Q-01"  # noqa: PT017 - one of them is a SELECT
        else:
            assert text.startswith("select * from")
    assert list(tmp_path.iterdir()) == []
    assert grammar._parser().execute("select count(*) from duckdb_tables()").fetchall() == [(0,)]


def test_threads_share_the_parser() -> None:
    wrong: list[object] = []

    def look() -> None:
        for sql, _ in MALFORMED * 20:
            try:
                grammar.check(sql)
            except QueryRefused as refused:
                if refused.code == "Q-01" and refused.start is not None:
                    continue
            wrong.append(sql)

    threads = [threading.Thread(target=look) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert wrong == []


def test_what_is_answered_is_read() -> None:
    statements = [*corpus("legit.txt"), *(s for s in corpus("hostile.txt") if s.kind == "diff")]
    assert len(statements) > 40
    for each in statements:
        grammar.check(each.sql)
