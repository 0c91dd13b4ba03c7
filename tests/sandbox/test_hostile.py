"""At least 1,000 hostile statements, made by grammar and mutation: none is answered."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import pytest

from fusion.errors import QueryRefused
from sandbox.query import compile_statement
from sandbox.refusals import RULES
from tests.sandbox.asking import PUBLIC, corpus, example
from tests.sandbox.hostile import Maker

if TYPE_CHECKING:
    from sandbox.policy import Policy

MADE = 1800


def _answered(statements: list[tuple[str, str]], policy: Policy) -> list[tuple[str, str]]:
    found = []
    for kind, sql in statements:
        if _said(sql, policy) is None:
            found.append((kind, sql))
    return found


def _said(sql: str, policy: Policy) -> str | None:
    """Return what a refusal says, of a rule; None if there is none. Anything else is raised."""
    try:
        compile_statement(sql, policy, public=PUBLIC)
    except QueryRefused as refused:
        return str(refused) if refused.code in RULES else None
    return None


def test_no_made_up_hostile_statement_is_answered() -> None:
    made = list(dict.fromkeys(Maker(1).statements(MADE)))
    assert len(made) >= 1000
    assert _answered(made, example()) == []


def _mutations(sql: str) -> list[str]:
    """Return a statement in other words, and within other statements."""
    found = [
        f"/* a */ {sql}",
        f"({sql})",
        f"with z as ({sql}) select * from z",
        f"select * from ({sql}) as z",
        f"select count(*) as n from persons union all {sql}",
        f"{sql} union all select count(*) from persons",
    ]
    plain = not {"'", '"', "$"} & set(sql)
    return [*found, sql.swapcase()] if plain else found


def test_no_mutation_of_the_corpus_is_answered() -> None:
    """All classes but inference, which is answered under the rules."""
    hostile = [each for each in corpus("hostile.txt") if each.kind != "diff"]
    made = [(str(each.kind), other) for each in hostile for other in _mutations(each.sql)]
    assert len(made) >= 1000
    assert {kind for kind, _ in made} == {
        "agg-leak", "catalog", "dos", "dynamic", "error", "error-bit", "file", "groupkey", "join",
        "key", "limit", "parser", "rowlevel", "stmt", "subquery", "window",
    }  # fmt: skip
    assert _answered(made, example()) == []


def test_a_refusal_quotes_nothing_of_the_statement() -> None:
    """A guess at a value that stands in a statement is not in what is said about it."""
    for each in corpus("hostile.txt"):
        said = _said(each.sql, example()) or ""
        assert not [word for word in re.findall(r"'([^']{4,})'", each.sql) if word in said]


def test_the_longest_refusal_takes_less_than_a_second() -> None:
    slowest = 0.0
    for _, sql in Maker(3).statements(150):
        begun = time.process_time()
        _answered([("", sql)], example())
        slowest = max(slowest, time.process_time() - begun)
    assert slowest < 1


@pytest.mark.parametrize(
    "junk",
    ["\x00", "select \x00", "sélect count(*) from persons", "select \u0441\u043eunt(*) from persons",
     "select count(*) from persons\x00", "(" * 5000, "'" * 4999, "/*" * 3000,
     "select '" + "a" * 9000,
     "🙂", "select count(*) from persons where sex = '\x07'", "\ufeffselect count(*) from persons"],
)  # fmt: skip
def test_junk_is_refused(junk: str) -> None:
    with pytest.raises(QueryRefused):
        compile_statement(junk, example(), public=PUBLIC)
