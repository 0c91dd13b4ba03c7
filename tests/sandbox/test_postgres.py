"""The same statements on PostgreSQL: the core pushed down, the same answers as on DuckDB.

Where PostgreSQL is not installed these tests are skipped, and say so.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pyarrow import parquet

from fusion.errors import DataInvalid, FusionError, QueryFailed, QueryRefused
from sandbox import postgres
from sandbox.compile import CoreQuery
from sandbox.disclosure import Rules
from sandbox.engine import execute
from sandbox.partials import ask as asked
from sandbox.partials import reply_of
from sandbox.public_rows import count
from sandbox.query import compile_statement, finish
from tests.sandbox import joined
from tests.sandbox.asking import EXACT, PUBLIC, corpus, exact, example, in_bins, public_of, write
from tests.sandbox.test_corpora import assert_same
from tests.sandbox.test_totality import Expressions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandbox.query import Compiled

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
pytestmark = [
    pytest.mark.skipif(not PROGRAMS, reason="PostgreSQL is not installed: not compared with it"),
    pytest.mark.timeout(300),
]


def _as_nobody() -> list[str]:
    """PostgreSQL does not run as root; what its package made for it will do."""
    if os.getuid() != 0:
        return []
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Start a server of our own, reachable through a socket in its folder."""
    programs = PROGRAMS[-1].parent
    folder = Path(tempfile.mkdtemp(prefix="fusion-pg-"))
    if os.getuid() == 0:
        if shutil.which("setpriv") is None or "postgres" not in {u.pw_name for u in pwd.getpwall()}:
            pytest.skip("no unprivileged user to run PostgreSQL as")
        shutil.chown(folder, "postgres")
    run = partial(subprocess.run, check=True, capture_output=True, cwd=folder)
    data = folder / "data"
    init = ["initdb", "-D", str(data), "-U", "fusion", "-A", "trust", "-E", "UTF8", "--no-sync"]
    run([*_as_nobody(), str(programs / init[0]), *init[1:], "--locale=C.UTF-8"])
    options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
    control = [*_as_nobody(), str(programs / "pg_ctl"), "-D", str(data), "-w"]
    run([*control, "-o", options, "-l", str(folder / "log"), "start"])
    try:
        yield f"postgresql://fusion@/postgres?host={folder}"
    finally:
        run([*control, "-m", "immediate", "stop"])
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def uri(server: str, made: dict[str, Path]) -> str:
    """Fill the server with the tables that DuckDB reads from files."""
    dbapi = pytest.importorskip("adbc_driver_postgresql.dbapi")
    with dbapi.connect(server) as connection, connection.cursor() as cursor:
        for name, path in made.items():
            cursor.adbc_ingest(name, parquet.read_table(path), mode="create")
        connection.commit()
    return server


@pytest.mark.parametrize("every", [2, pytest.param(1, marks=pytest.mark.soak)])
def test_postgres_answers_what_duckdb_answers(uri: str, made: dict[str, Path], every: int) -> None:
    """What is computed is the same, and so is what the example's rules release of it."""
    different = []
    legit = {each.sql: None for each in corpus("legit.txt")}
    for sql in [*legit, *(each.sql for each in corpus("analysts.txt"))][::every]:
        own = compile_statement(sql, in_bins(), dialect="postgres", public=PUBLIC)
        theirs = compile_statement(sql, in_bins(), public=PUBLIC)
        replies = postgres.execute(own.asked.request, uri), execute(theirs.asked.request, made)
        same = _cells(own, replies[0]) == _cells(theirs, replies[1])
        # Of the very same cells the rules release the same: they see nothing else.
        for release in [EXACT, example().release] if sql in legit and not same else [EXACT]:
            rules = Rules(release)
            try:
                assert_same(
                    finish(own, replies[0], rules).rows, finish(theirs, replies[1], rules).rows
                )
            except AssertionError:
                different.append(sql)
    assert not different


def _cells(compiled: Compiled, reply: bytes) -> list[list[str]]:
    """Return what came back for each part, in an order that is the same for both."""
    return [sorted(map(repr, rows)) for rows in reply_of(reply, compiled.asked)]


def test_joins_with_public_tables_are_those_of_duckdb(server: str, tmp_path: Path) -> None:
    dbapi = pytest.importorskip("adbc_driver_postgresql.dbapi")
    inputs = write(tmp_path, joined.tables())
    with dbapi.connect(server) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA joined")
        for name, path in inputs.items():
            cursor.adbc_ingest(
                name, parquet.read_table(path), mode="create", db_schema_name="joined"
            )
        connection.commit()
    run = partial(postgres.execute, uri=server, schema="joined")
    known = count(joined.RULES, run, "postgres")
    assert known == public_of(joined.RULES, inputs)
    for sql in joined.JOINED:
        own = compile_statement(sql, joined.RULES, dialect="postgres", public=known)
        theirs = compile_statement(sql, joined.RULES, public=known)
        rows = [
            finish(each, reply, Rules(EXACT)).rows
            for each, reply in (
                (own, run(own.asked.request)),
                (theirs, execute(theirs.asked.request, inputs)),
            )
        ]
        assert_same(*rows)


def test_one_long_text_makes_no_query_fail(uri: str) -> None:
    dbapi = pytest.importorskip("adbc_driver_postgresql.dbapi")
    sql = "select region || education as k, count(*) as n from persons group by 1"
    own = [compile_statement(each, exact(), dialect="postgres")
           for each in (sql, "select region, count(*) as n from persons group by 1")]  # fmt: skip
    with dbapi.connect(uri) as connection, connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO persons (person_id, region, education) "
            "VALUES (-9, repeat(chr(20013), 150) || repeat('x', 5000), repeat('y', 5000))"
        )
        connection.commit()
        try:
            found = [
                finish(each, postgres.execute(each.asked.request, uri), Rules(EXACT)).rows
                for each in own
            ]
        finally:
            cursor.execute("DELETE FROM persons WHERE person_id = -9")
            connection.commit()
    for rows in found:
        assert ["\u4e2d" * 150 + "x" * 50, 1] in rows


def test_types_that_could_fail_are_found_first(uri: str) -> None:
    postgres.check_types(example(), uri)
    policy = example()
    table = policy.tables["persons"]
    wrong = table.model_copy(update={"columns": {**table.columns, "sex": table.columns["income"]}})
    changed = policy.model_copy(update={"tables": {**policy.tables, "persons": wrong}})
    with pytest.raises(DataInvalid, match=r"persons\.sex"):
        postgres.check_types(changed, uri)


def test_a_failure_of_the_database_has_the_one_text(uri: str) -> None:
    broken = asked([CoreQuery("SELECT 1 / 0 AS n", (("n", "whole"),), ())])
    with pytest.raises(QueryFailed, match="could not be completed"):
        postgres.execute(broken.request, uri)


def test_the_connection_only_reads(uri: str) -> None:
    writes = asked([CoreQuery("CREATE TABLE x (n int)", (("n", "whole"),), ())])
    with pytest.raises(QueryFailed):
        postgres.execute(writes.request, uri)


@pytest.mark.parametrize(
    ("seed", "count"), [(20, 60), pytest.param(21, 1000, marks=pytest.mark.soak)]
)
def test_what_is_accepted_does_not_fail(server: str, seed: int, count: int) -> None:
    """Random expressions over the ends of every type, on PostgreSQL's own types."""
    dbapi = pytest.importorskip("adbc_driver_postgresql.dbapi")
    costs = [
        "NULL",
        "0",
        "-1e308",
        "1e308",
        "'NaN'",
        "'Infinity'",
        "'-Infinity'",
        "5e-324",
        "0.005",
    ]
    lengths = ["NULL", "0", "-9223372036854775808", "9223372036854775807", "1", "100000"]
    days = ["NULL", "'0001-01-01'", "'infinity'", "'-infinity'", "'4713-01-01 BC'", "'2020-02-29'",
            "'5874897-12-31'"]  # fmt: skip
    words = ["NULL", "''", "'er'", "''''", "'%'", "'a\\\\'", "repeat('x', 5000)", "'é'", "'东'"]
    rows = [
        f"({n}, {n % 17}, {days[n % 7]}, {words[n % 9]}, {words[3 * n % 9]}, {costs[n % 9]}, "
        f"{lengths[n % 6]})"
        for n in range(120)
    ]
    made, ran, failed = Expressions(seed), 0, []
    with dbapi.connect(server) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE SCHEMA ends{seed}")
        cursor.execute(
            f"CREATE TABLE ends{seed}.visits (visit_id bigint, person_id bigint, visit_date date, "
            "dept text, diagnosis text, cost double precision, duration_min bigint)"
        )
        cursor.execute(f"INSERT INTO ends{seed}.visits VALUES {', '.join(rows)}")
        connection.commit()
    for _ in range(count):
        sql = made.statement()
        try:
            compiled = compile_statement(sql, exact(), dialect="postgres")
        except QueryRefused:
            continue
        ran += 1
        try:
            reply = postgres.execute(compiled.asked.request, server, schema=f"ends{seed}")
            finish(compiled, reply, Rules(EXACT))
        except FusionError as error:
            failed.append((sql, error.__notes__))
    assert failed == []
    assert ran > count // 4
