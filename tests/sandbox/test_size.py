"""A short statement that would grow: refused before it does, or ended; the node goes on."""

from __future__ import annotations

import time
from itertools import starmap

import pytest

from fusion.errors import QueryFailed, QueryRefused
from sandbox import post
from sandbox.query import compile_statement
from tests.sandbox.asking import example

SECONDS = 5.0
"""Of processor time; what is not refused in time takes for ever."""

CELLS = "with a as (select region as r, count(*) as c from persons group by region)"


def _chain(first: str, each: str, last: str, levels: int = 40) -> str:
    steps = [f"a{n} as ({each.format(before=f'a{n - 1}')})" for n in range(1, levels + 1)]
    return f"with a0 as ({first}), {', '.join(steps)} {last.format(last=f'a{levels}')}"


def _nested(opening: str, closing: str, levels: int = 36) -> str:
    return f"{opening * levels}sum(income){closing * levels}"


def _aliases(*pairs: tuple[str, str]) -> str:
    return ", ".join(starmap("{} as {}".format, pairs))


GROWING = {
    "types within types": f"select {'struct(' * 38}a{')' * 38} from persons",
    "a column that is used twice, again and again": _chain(
        "select person_id as i, region as r from persons",
        "select i, coalesce(r, r) as r from {before}",
        "select count(*) from {last} where r = 'x'",
    ),
    "a name that is used twice, again and again": "select "
    + _aliases(("sum(income)", "x0"), *((f"greatest(x{n}, x{n})", f"x{n + 1}") for n in range(40)))
    + " from persons",
    "rows that are joined with themselves": _chain(
        "select person_id as i from persons",
        "select x.i as i from {before} x join {before} y on x.i = y.i",
        "select count(*) from {last}",
    ),
    "results that are joined with themselves": _chain(
        "select region as r, count(*) as c from persons group by region",
        "select x.r as r, x.c + y.c as c from {before} x join {before} y on x.r = y.r",
        "select * from {last}",
    ),
    "semi-joins with themselves": _chain(
        "select person_id as i from persons",
        "select i from {before} where i in (select i from {before})",
        "select count(*) from {last}",
    ),
    "a text that is put together with itself": _chain(
        "select region as r, count(*) as c from persons group by region",
        "select concat(r, r) as r from {before}",
        "select length(r) from {last}",
    ),
    "roots of roots": f"select {_nested('sqrt(', ')')} from persons",
    "roots of roots of rows": f"select sum({'sqrt(' * 36}income{')' * 36}) from persons",
    "logarithms of logarithms": f"select {_nested('ln(', ')')} from persons",
    "fractions of fractions": f"select {_nested('1 / (', ')')} from persons",
    "NULLIF of NULLIF": f"select {_nested('nullif(', ', 1)')} from persons",
}


@pytest.mark.parametrize("statement", GROWING.values(), ids=GROWING)
def test_what_would_grow_is_refused(statement: str) -> None:
    began = time.process_time()
    with pytest.raises(QueryRefused) as refused:
        compile_statement(statement, example())
    assert refused.value.code in {"Q-01", "Q-02"}
    assert time.process_time() - began < SECONDS


def test_what_uses_a_name_several_times_is_answered() -> None:
    chain = _chain(
        "select region as r, count(*) as c from persons group by region",
        "select x.r as r, x.c + y.c as c from {before} x join {before} y on x.r = y.r",
        "select * from {last}",
        levels=5,
    )
    names = _aliases(("sum(income)", "a"), ("a + a", "b"), ("b / a", "c"), ("ln(sqrt(c))", "d"))
    for statement in (chain, f"select {names} from persons"):
        compile_statement(statement, example())


def test_results_that_are_multiplied_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(post, "MAX_SECONDS", 0.3)
    together = " cross join ".join(f"a as x{n}" for n in range(4))
    compiled = compile_statement(f"{CELLS} select sum(x0.c) from {together}", example())
    rows = [(f"r{n}", n) for n in range(1000)]
    # They would take for ever, which is longer than a test may.
    with pytest.raises(QueryFailed):
        post.run(compiled.plan.result, [(leaf, rows) for leaf in compiled.leaves], 10)


def test_a_text_of_results_is_as_long_as_one_of_rows() -> None:
    compiled = compile_statement(f"{CELLS} select length(r || r || r) from a", example())
    rows = [("r" * 200, 20)]
    found = post.run(compiled.plan.result, [(leaf, rows) for leaf in compiled.leaves], 10)
    assert found == [[200]]


def test_a_pattern_that_java_would_go_back_over_is_refused() -> None:
    asked = "select count(*) as n from persons where region like '{}'"
    compile_statement(asked.format("%a%"), example(), dialect="spark")
    compile_statement(asked.format("%a%a%b"), example())
    with pytest.raises(QueryRefused) as refused:
        compile_statement(asked.format("%a%a%b"), example(), dialect="spark")
    assert refused.value.code == "Q-02"


@pytest.mark.parametrize(
    ("rest", "most"),
    [
        ("select r, c from a", 30),
        ("select r, c from a limit 7", 7),
        ("select sum(c) from a where c < 0", 30),
        ("select r, c from a union all select r, c from a", 60),
        ("select x.r from a as x join a as y on x.r = y.r", 900),
        ("select x.r from a as x left join a as y on x.c = y.c + 1000", 900),
        ("select x.r from a as x cross join (select count(*) as n from persons) as y", 900),
        ("select r, sum(c) from a group by r having sum(c) > 5 order by r", 30),
    ],
)
def test_a_result_has_no_more_rows_than_its_bound(rest: str, most: int) -> None:
    result = compile_statement(f"{CELLS} {rest}", example()).plan.result
    leaves = post.leaves(result)
    assert post.most_rows(result, [(leaf, 30) for leaf in leaves]) == most
    # None is there, or thirty.
    rows = [[(f"r{n}", n)[-len(leaf.outputs) :] for n in range(30)] for leaf in leaves]
    assert len(post.run(result, list(zip(leaves, rows, strict=True)), most)) <= most
    assert len(post.run(result, [(leaf, []) for leaf in leaves], most)) <= most
