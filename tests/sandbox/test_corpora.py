"""The corpora: every hostile statement is refused, every legitimate one answered, and rightly."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from fusion.errors import QueryRefused
from sandbox.analyse import analyse
from sandbox.query import compile_statement
from sandbox.refusals import RULES
from tests.sandbox.asking import PUBLIC, ask, corpus, exact, example, in_bins

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sandbox.trying import Statement

HOSTILE = corpus("hostile.txt")
LEGIT = [*corpus("legit.txt"), *corpus("analysts.txt")]


def _name(statement: Statement) -> str:
    return f"{statement.kind}: {statement.sql[:60]}"


@pytest.mark.parametrize("statement", [s for s in HOSTILE if s.kind != "diff"], ids=_name)
def test_a_hostile_statement_is_refused(statement: Statement) -> None:
    with pytest.raises(QueryRefused) as refused:
        analyse(statement.sql, example(), PUBLIC)
    assert refused.value.code in RULES
    assert refused.value.hint


def test_every_class_of_hostile_statements_is_there() -> None:
    assert len({s.kind for s in HOSTILE}) >= 16
    assert sum(s.kind != "diff" for s in HOSTILE) >= 170


@pytest.mark.parametrize("statement", [s for s in HOSTILE if s.kind == "diff"], ids=_name)
def test_inference_is_refused_or_answered_under_the_rules(
    statement: Statement, made: dict[str, Path]
) -> None:
    try:
        rows = ask(statement.sql, example(), made).rows
    except QueryRefused:
        return
    numbers = [c for row in rows for c in row if isinstance(c, int | float)]
    assert all(math.isclose(number % 5, 0, abs_tol=1e-9) for number in numbers)


@pytest.mark.parametrize("statement", corpus("legit.txt"), ids=_name)
def test_a_legitimate_statement_is_answered_under_the_rules(
    statement: Statement, made: dict[str, Path]
) -> None:
    assert ask(statement.sql, example(), made).rows


@pytest.fixture(scope="module")
def plain(made: dict[str, Path]) -> duckdb.DuckDBPyConnection:
    """The tables in an engine that knows no policy."""
    connection = duckdb.connect()
    for name, path in made.items():
        connection.execute(f"create view {name} as select * from '{path}'")
    return connection


@pytest.mark.parametrize("statement", LEGIT, ids=_name)
def test_what_is_computed_is_what_a_database_computes(
    statement: Statement, made: dict[str, Path], plain: duckdb.DuckDBPyConnection
) -> None:
    """With a release that changes nothing, an answer is that of the statement as it was written."""
    own = ask(statement.sql, exact(), made).rows
    # An estimate of how many is answered with how many.
    reference = statement.sql.replace(
        "approx_count_distinct(person_id)", "count(distinct person_id)"
    )
    theirs = plain.execute(reference).fetchall()
    # Rows that tie may come in any order.
    assert_same(own, theirs)


COARSE = (
    "cost / duration_min > 2", "cost / nullif(duration_min, 0) > 2", "ln(income + 1)",
    "greatest(cost, 100)", "abs(income - 40000)", "cost * 1.19", "cost * duration_min",
    "stddev", "corr(", "var_pop(income)", "covar_samp(", "regr_slope(",
)  # fmt: skip
"""What of the corpora computes with numbers that have a bin."""


@pytest.mark.parametrize("statement", LEGIT, ids=_name)
def test_bins_change_only_what_says_so(
    statement: Statement, made: dict[str, Path], plain: duckdb.DuckDBPyConnection
) -> None:
    """Where conditions know a bin alone, answers are the database's, or near it with a note."""
    policy = in_bins()
    own, other = (
        compile_statement(statement.sql, each, public=PUBLIC) for each in (policy, exact())
    )
    assert bool(own.notes) == any(each in statement.sql for each in COARSE)
    if not own.notes and own.asked.request != other.asked.request:
        # What breaks ties is written otherwise.
        rows = ask(statement.sql, policy, made).rows
        assert_same(rows, ask(statement.sql, exact(), made).rows)
    if own.notes:
        rows = sorted(ask(statement.sql, policy, made).rows, key=repr)
        theirs = sorted(([_plain(cell) for cell in row] for row in
                         plain.execute(statement.sql).fetchall()), key=repr)  # fmt: skip
        for row, want in zip(rows, theirs, strict=True):
            assert row == [each if isinstance(each, str) else
                           pytest.approx(each, rel=0.05, abs=0.003) for each in want]  # fmt: skip


def test_order_and_limit_are_kept(made: dict[str, Path]) -> None:
    sql = "select diagnosis, count(*) as n from visits group by 1 order by n desc, 1"
    counts = [row[1] for row in ask(sql, example(), made).rows]
    assert counts == sorted(counts, reverse=True)
    assert len(set(counts)) > 5
    cut = [row[1] for row in ask(f"{sql} limit 4 offset 1", example(), made).rows]
    assert cut == counts[1:5]


def assert_same(own: Sequence[Sequence[Any]], theirs: Sequence[Sequence[Any]]) -> None:
    """Compare two results, up to the last bits of a floating-point number."""
    left = sorted(([_plain(cell) for cell in row] for row in own), key=repr)
    right = sorted(([_plain(cell) for cell in row] for row in theirs), key=repr)
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        assert len(one) == len(other)
        for mine, its in zip(one, other, strict=True):
            if isinstance(mine, float) and isinstance(its, float):
                assert mine == pytest.approx(its, rel=1e-8, abs=2e-6), (one, other)
            else:
                assert mine == its, (one, other)


def _plain(cell: Any) -> Any:
    if hasattr(cell, "isoformat"):
        return cell.isoformat()[:10]
    if cell is None or isinstance(cell, str | bool):
        return cell
    return round(float(cell), 6)
