"""What could be typed next, and where statements end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.cli.shell import COMMANDS
from fusion.services.completing import candidates
from fusion.services.statements import is_blank, one, part_at, split, tokens
from sandbox.describe import describe
from sandbox.reading import parse_policy
from tests.queries.world import COLUMNS, POLICY

TEXT = f"""{POLICY}  地区:
    public: true
    columns:
      region: {{class: public}}
      人口: {{class: public, type: integer, low: 0, high: 1000}}
functions: [count, avg, coalesce]
"""
DESCRIBED = describe(parse_policy(TEXT, "policy.yaml"), [f"persons.{name}" for name in COLUMNS])


def offered(text: str) -> list[str]:
    """Return what is offered at the bar."""
    cursor = text.index("|")
    found = candidates(text.replace("|", ""), cursor, DESCRIBED, COMMANDS)
    return [each.text for each in found]


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("sel|", ["select"]),
        ("SEL|", ["SELECT"]),
        ("select count(*) from |", ["persons", "地区"]),
        ("select count(*) from per|", ["persons"]),
        ("select count(*) from 地|", ["地区"]),
        ("select count(*) from persons, |", ["persons", "地区"]),
        ("select count(*) from persons p join |", ["persons", "地区"]),
        ("select p.| from persons p", COLUMNS),
        ("select avg(p.inc|) from persons as p", ["income"]),
        ("select r.| from persons p join 地区 as r", ["region", "人口"]),
        ("select q.| from persons p", []),
        ("select avg(inc| from persons", ["income"]),
        ("select av|", ["avg"]),
        ("select su|", []),
        ("select region, count(*) from persons gr|", ["group by"]),
        ("select count(*) from persons where sex = '|", ["F'", "M'"]),
        ("select count(*) from persons where region in ('north', 'so|", ["south'"]),
        ("select count(*) from persons where age > '|", []),
        ("select 1 -- inc|", []),
        ("select 'inc|ome'", []),
        ("\\|", [name for name, _ in COMMANDS]),
        ("\\bu|", ["\\budget"]),
        ("\\d p|", ["persons"]),
        ("\\budget p|", []),
    ],
)
def test_what_could_stand_there_is_offered(text: str, first: list[str]) -> None:
    assert offered(text)[: len(first)] == first
    assert first or not offered(text)


def test_columns_are_those_of_the_tables_that_are_read() -> None:
    assert "人口" not in offered("select | from persons")
    assert "income" not in offered("select | from 地区")
    assert {"人口", "income"} <= set(offered("select |"))


def test_nothing_is_known_before_the_node_has_told() -> None:
    assert [each.text for each in candidates("select avg(inc", 14, None)] == []
    assert candidates("select count(*) fro", 19, None)[0].text == "from"


def test_a_completion_replaces_what_was_begun() -> None:
    (found,) = candidates("select count(*) from PER", 24, DESCRIBED)
    assert (found.text, found.length, found.about) == ("persons", 3, "table, by person_id")


# ------------------------------------------------------------------- statements


def test_statements_end_at_semicolons_outside_of_texts_names_and_remarks() -> None:
    sql = "select ';' as \"a;b\" -- ; no\n/* ; */; select 1\n;; -- nothing\n; select 'it''s;"
    found, rest = split(sql)
    assert found == ["select ';' as \"a;b\" -- ; no\n/* ; */", "select 1"]
    assert rest == " select 'it''s;"
    assert is_blank(" -- only this\n /* and */ ")
    assert not is_blank("/* open")


@pytest.mark.parametrize(
    ("typed", "asked"),
    [
        ("select 1;", "select 1"),
        ("\ufeffselect 1 ;\n", "select 1"),
        ("select 1; -- the end", "select 1 -- the end"),
        ("select ';' as a", "select ';' as a"),
        ("select 1", "select 1"),
        # Never two statements, and never more than one semicolon.
        ("select 1; select 2;", "select 1; select 2"),
        ("select 1;;", "select 1;"),
        (";", ""),
    ],
)
def test_one_semicolon_may_end_a_statement(typed: str, asked: str) -> None:
    assert one(typed) == asked


def test_a_part_is_the_word_the_text_or_the_sign() -> None:
    sql = "select avg(收入) from t where a = 'x y'"
    assert [part_at(sql, start) for start in (0, 11, 13, sql.index("'"))] == [6, 2, 1, 5]
    assert part_at(sql, 2) == 1


@given(st.text(alphabet="ab'\"-/*;. \n\\1", max_size=40))
def test_no_character_is_lost_and_none_is_invented(sql: str) -> None:
    last = 0
    for token in tokens(sql):
        assert sql[last : token.start].strip() == ""
        assert sql[token.start : token.end] == token.text
        last = token.end
    assert sql[last:].strip() == ""
    found, rest = split(sql)
    assert all(each in sql and each == each.strip() for each in found)
    assert sql.endswith(rest)
    for cursor in range(len(sql) + 1):
        candidates(sql, cursor, DESCRIBED, COMMANDS)
