"""Bounded sums on PostgreSQL: the same as DuckDB's, and bounded by a choice of its own hash."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from sandbox import postgres
from sandbox.partials import reply_of
from tests.postgres import running
from tests.private.test_sensitivity import STATEMENTS, squared
from tests.private.world import POLICY, compiled, exact, policy, tables, without, written

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A server with the tables, and with those of each neighbour in a schema of its own."""
    dbapi = pytest.importorskip("adbc_driver_postgresql.dbapi")
    with running() as url:
        whole = tables()
        with dbapi.connect(url) as connection, connection.cursor() as cursor:
            for person in range(8):
                cursor.execute(f"CREATE SCHEMA s{person}")
                for name, columns in (without(whole, person) if person else whole).items():
                    cursor.adbc_ingest(name, arrow(columns), mode="create",
                                       db_schema_name=f"s{person}")  # fmt: skip
            for person in range(8):
                cursor.execute(f"ALTER TABLE s{person}.visits ALTER day TYPE date USING day::date")
            connection.commit()
        yield url


def arrow(columns: dict[str, list[Any]]) -> Any:
    import pyarrow as pa  # noqa: PLC0415 - only here

    return pa.table(columns)


def sums(statement: Any, url: str, person: int) -> dict[Any, list[int]]:
    at = f"{url}&options=-csearch_path%3Ds{person}"
    asked = statement.compiled.asked
    (rows, *_) = reply_of(postgres.execute(asked.request, at), asked)
    keys = statement.compiled.cores[0].keys
    return {row[:keys]: list(row[keys:]) for row in rows}


@pytest.mark.parametrize("sql", STATEMENTS[1:8])
def test_sums_are_those_of_duckdb_where_nothing_is_left_out(
    sql: str, server: str, tmp_path: Path
) -> None:
    text = POLICY.replace("contributions: 2", "contributions: 1000").replace(
        "rows: 1\n", "rows: 9\n"
    )
    rules = policy(text)
    own, theirs = compiled(sql, policy=rules, dialect="postgres"), compiled(sql, policy=rules)
    assert sums(own, server, 0) == exact(theirs, written(tmp_path / "all", tables()))[0]


@pytest.mark.parametrize("sql", STATEMENTS[3:5])
def test_one_person_moves_no_sum_further_than_its_noise_is_for(sql: str, server: str) -> None:
    statement = compiled(sql, dialect="postgres")
    whole = sums(statement, server, 0)
    moved = [
        (squared(whole, sums(statement, server, person), column), noise.squared)
        for person in range(1, 8)
        for column, noise in enumerate(statement.noise.values())
    ]
    assert all(0 <= by <= most for by, most in moved)
    assert any(by for by, _ in moved)
