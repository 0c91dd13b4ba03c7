"""A dataset in PostgreSQL through the whole service: attached, asked, timed out, gone.

Where PostgreSQL is not installed these tests are skipped, and say so.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from fusion.errors import (
    DataInvalid,
    FusionError,
    InputInvalid,
    PartyFailed,
    Refused,
    WorkCancelled,
)
from fusion.services import engines
from sandbox import child, postgres, runner, sets
from sandbox.attached import PEOPLE, READER, attached, folder
from sandbox.compile import CoreQuery, codes_sql, core_sql
from sandbox.freezing import files_in
from sandbox.partials import Limits, ask, reply_of
from sandbox.postgres_freeze import schema_name
from sandbox.postgres_roles import uri_of
from sandbox.reading import parse_policy
from sandbox.sources import question
from sandbox.sources.postgres import Postgres
from tests.cli.test_app import Terminal
from tests.queries.databases import serving
from tests.queries.python_world import TOTAL as SCRIPT
from tests.queries.python_world import Jobs
from tests.queries.test_private import NOISY, PRIVATE
from tests.queries.world import BY_REGION, OWNER, POLICY
from tests.sandbox.asking import EXAMPLE, corpus, example
from tests.sandbox.conftest import made  # noqa: F401 - a fixture

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sandbox.attached import Attached
    from sandbox.dialects import Name
    from tests.queries.databases import Database
    from tests.queries.world import Up

pytestmark = pytest.mark.timeout(300)
TOTAL = "select count(*) as n from people"
PEOPLE_POLICY = POLICY.replace("persons", "people")
SLEEP = CoreQuery("SELECT 1 AS n FROM pg_sleep(60)", (("n", "whole"),), ())


@pytest.fixture(scope="module")
def database(made: dict[str, Path]) -> Iterator[Database]:  # noqa: F811 - a fixture
    with serving(made, example()) as found:
        found.run(
            "CREATE TABLE people AS SELECT n AS person_id, substr('FM', n % 2 + 1, 1) AS sex, "
            "(ARRAY['north', 'south', 'east', 'west'])[n / 2 % 4 + 1] AS region, "
            "20 + n * 7 % 60 AS age, 20000 + n * 37 % 30000 AS income "
            "FROM generate_series(0, 1199) AS n"
        )
        found.permit(parse_policy(PEOPLE_POLICY, "policy.yaml"))
        yield found


def attach(up: Up, database: Database, dataset: str, text: str = PEOPLE_POLICY) -> dict[str, Any]:
    return engines.queries().attach_policy(
        up.world.owner, text, "policy.yaml", dataset, None,
        source=database.keeper, reader=database.reader,
    )  # fmt: skip


@pytest.fixture(scope="module")
def asked(up: Up, database: Database) -> Up:
    """An analyst has a grant for a dataset in the database."""
    added = attach(up, database, "people")
    replace(up.world, attached=added).grant("people")
    return up


def _found(up: Up, dataset: str) -> Attached:
    found = attached(up.world.owner, dataset)
    assert found is not None
    return found


def test_a_database_is_asked_as_files_are(asked: Up) -> None:
    table = asked.ask(f"{BY_REGION.replace('persons', 'people')} order by region", dataset="people")
    assert table.columns == ["region", "n", "mean"]
    assert table.rows[0] == ["east", 300, 32500]
    assert [row[1] for row in table.rows] == [300] * 4
    # The history counts sets that came from the database.
    north = "select avg(income) as m from people where region = 'north' and age <> 20"
    less = asked.ask(north, dataset="people")
    assert less.rows == [[None]]
    assert "earlier result" in less.notes[0].message
    assert asked.refused("select income from people", dataset="people").code == "Q-06"


def test_a_database_is_asked_under_a_budget_too(up: Up, database: Database) -> None:
    added = attach(up, database, "budgeted", PRIVATE.replace("persons", "people"))
    there = replace(up.world, attached=added)
    there.grant("budgeted", permissions={"query": NOISY})
    statement = f"{BY_REGION.replace('persons', 'people')} order by region"
    table = up.ask(statement, dataset="budgeted", rho_micro=20_000)
    assert [row[0] for row in table.rows] == ["east", "north", "south", "west"]
    assert all(abs(int(str(row[1])) - 300) < 100 for row in table.rows)
    assert up.ask(statement, dataset="budgeted", rho_micro=20_000).again


def test_no_script_runs_over_a_database(asked: Up) -> None:
    with pytest.raises(PartyFailed) as found:
        Jobs(asked, "people").submit(SCRIPT)
    assert found.value.code == "P-12"


def test_a_database_is_tried_and_attached_by_hand(
    up: Up, database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fusion = Terminal(capsys)
    files = {"policy.yaml": PEOPLE_POLICY, "q.sql": f"{TOTAL}\nselect age from people\n"}
    for name, text in (files | {"keeper": database.keeper, "reader": database.reader}).items():
        (tmp_path / name).write_text(text, "utf-8")
    policy, keeper = tmp_path / "policy.yaml", f"@{tmp_path / 'keeper'}"
    words = ("policy", "try", policy, "--file", tmp_path / "q.sql", "--source", keeper, "--execute")
    tried = fusion.document(*words)
    assert tried["statements"][0]["rows"] == [[1200]]
    assert tried["statements"][1]["code"] == "Q-06"
    add = ("policy", "add", policy, "--dataset", "byhand", "--home", up.world.owner.path)
    assert fusion(*add, "--source", keeper) == 2
    assert "two roles" in fusion.err
    added = fusion.document(*add, "--source", keeper, "--reader", f"@{tmp_path / 'reader'}")
    assert added["revision"] == 1
    assert added["columns"] == up.world.attached["columns"]


def test_what_is_kept_is_the_reader_alone(asked: Up, database: Database) -> None:
    here = folder(asked.world.owner, "people") / "r1"
    assert {path.name for path in here.iterdir()} == {PEOPLE, READER}
    assert (here / READER).read_text("utf-8") == database.reader
    assert (here / READER).stat().st_mode & 0o777 == 0o600
    assert here.stat().st_mode & 0o777 == 0o700


def test_data_is_frozen_and_the_next_revision_replaces_the_schema(
    up: Up, database: Database
) -> None:
    added = attach(up, database, "renewed")
    replace(up.world, attached=added).grant("renewed")
    database.run("DELETE FROM people WHERE person_id >= 1100")
    try:
        assert up.ask(TOTAL, dataset="renewed").rows == [[1200]]
        attach(up, database, "renewed")
        names = database.run(
            "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'banyan_renewed%'"
        )
        assert names == [("banyan_renewed_r2",)]
        # Everybody keeps a number, so that who is gone is told by no answer.
        assert _found(up, "renewed").people == 1200
        assert up.ask(TOTAL, dataset="renewed").rows in ([[1100]], [[None]])
    finally:
        database.run(
            "INSERT INTO people SELECT n, substr('FM', n % 2 + 1, 1), "
            "(ARRAY['north', 'south', 'east', 'west'])[n / 2 % 4 + 1], 20 + n * 7 % 60, "
            "20000 + n * 37 % 30000 FROM generate_series(1100, 1199) AS n"
        )


def test_what_an_attach_that_was_cut_short_left_is_replaced(up: Up, database: Database) -> None:
    place = schema_name("short", 1)
    database.run(f"CREATE SCHEMA {place}; COMMENT ON SCHEMA {place} IS 'somebody else'")
    with pytest.raises(InputInvalid, match="not of this dataset"):
        attach(up, database, "short")
    database.run(
        f"COMMENT ON SCHEMA {place} IS 'banyan: frozen tables of {OWNER}/short';"
        f"CREATE TABLE {place}.people (x int);"
        f"ALTER SCHEMA {place} OWNER TO banyan_keeper;"
        f"ALTER TABLE {place}.people OWNER TO banyan_keeper"
    )
    assert attach(up, database, "short")["revision"] == 1


def test_frozen_tables_that_were_changed_are_noticed(up: Up, database: Database) -> None:
    added = attach(up, database, "touched")
    replace(up.world, attached=added).grant("touched")
    database.run("UPDATE banyan_touched_r1.people SET income = income + 1 WHERE person_id = 7")
    assert up.refused(TOTAL, dataset="touched").code == "F-010"
    assert "not what was signed" in up.said[-1]


# ------------------------------------------------------------------------------- roles


@pytest.mark.parametrize(
    ("grant", "undo", "said"),
    [
        ("ALTER ROLE r SUPERUSER", "ALTER ROLE r NOSUPERUSER", "superuser"),
        ("ALTER ROLE r BYPASSRLS", "ALTER ROLE r NOBYPASSRLS", "superuser"),
        ("GRANT pg_read_server_files TO r", "REVOKE pg_read_server_files FROM r", "member"),
        ("GRANT INSERT ON people TO r", "REVOKE INSERT ON people FROM r", "write"),
        ("GRANT UPDATE (age) ON people TO r", "REVOKE UPDATE (age) ON people FROM r", "write"),
        ("GRANT CREATE ON SCHEMA public TO r", "REVOKE CREATE ON SCHEMA public FROM r", "tables"),
        ("GRANT CREATE ON DATABASE postgres TO r", "REVOKE CREATE ON DATABASE postgres FROM r",
         "schemas"),
        ("CREATE FUNCTION f() RETURNS int RETURN 1; ALTER FUNCTION f() OWNER TO r",
         "DROP FUNCTION f()", "owns"),
    ],
)  # fmt: skip
def test_a_reader_who_may_do_more_is_refused(
    up: Up, database: Database, grant: str, undo: str, said: str
) -> None:
    database.run(grant.replace(" r", " banyan_reader"))
    try:
        with pytest.raises(Refused, match=said) as refused:
            attach(up, database, "roles")
        assert "source-sql" in refused.value.hint
    finally:
        database.run(undo.replace(" r", " banyan_reader"))
    assert attached(up.world.owner, "roles") is None
    assert not database.run("SELECT 1 FROM pg_namespace WHERE nspname LIKE 'banyan_roles%'")


def test_two_roles_are_two(up: Up, database: Database) -> None:
    both = replace(database, keeper=database.reader)
    database.run("GRANT SELECT ON people TO banyan_reader")
    try:
        with pytest.raises(Refused, match="can't be the one that reads"):
            attach(up, both, "roles")
    finally:
        database.run("REVOKE SELECT ON people FROM banyan_reader")
    with pytest.raises(InputInvalid, match="two roles"):
        attach(up, replace(database, reader=""), "roles")
    with pytest.raises(DataInvalid, match="did not do what was asked") as failed:
        attach(up, replace(database, keeper=f"{database.keeper}&dbname=nowhere"), "roles")
    assert "nowhere" not in str(failed.value)


def test_columns_are_of_types_that_are_read_exactly(up: Up, database: Database) -> None:
    for change, there in (("income: {class: number", "income: {class: date"), ("age:", "aged:")):
        text = PEOPLE_POLICY.replace(change, there).replace(", low: 0, high: 200000", "")
        with pytest.raises(FusionError, match=r"people\.(income|aged)|."):
            attach(up, database, "types", text)


def test_a_password_is_on_no_command_line(tmp_path: Path) -> None:
    written = "postgresql://reader:secret@host/db"
    for given in (written, "postgresql://reader@host/db?password=secret", "@nowhere", "env:NONE",
                  "mysql://host", "postgresql://[x"):  # fmt: skip
        with pytest.raises(InputInvalid) as refused:
            uri_of(given, {})
        assert "secret" not in f"{refused.value} {refused.value.hint}"
    (tmp_path / "uri").write_text(f"{written}\n", "utf-8")
    assert uri_of(f"@{tmp_path / 'uri'}") == written
    assert uri_of("env:URI", {"URI": written}) == written
    assert uri_of("postgresql://reader@host/db") == "postgresql://reader@host/db"


# ------------------------------------------------------------ what goes wrong in mid-query


def _source(up: Up, dataset: str) -> Postgres:
    source = up.service._source(_found(up, dataset))
    assert isinstance(source, Postgres)
    return source


def _sleepers(database: Database) -> list[int]:
    """Return the server's processes that run the statement that sleeps."""
    rows = database.run(
        "SELECT pid FROM pg_stat_activity WHERE usename = 'banyan_reader' "
        "AND query LIKE '%pg_sleep(60)%' AND state = 'active'"
    )
    return [pid for (pid,) in rows]


def _until(there: Any, seconds: float = 60.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := there()) and time.monotonic() < end:
        time.sleep(0.05)
    return found


def test_a_query_ends_with_its_time_or_when_nobody_waits(asked: Up, database: Database) -> None:
    source, stop = _source(asked, "people"), threading.Event()
    began = time.monotonic()
    with pytest.raises(FusionError) as ended:
        source.execute([SLEEP], [], caller="bank", stop=stop, seconds=2)
    # The server's own limit, or the kill.
    assert ended.value.code in {"F-021", "F-024"}
    assert time.monotonic() - began < 50
    with ThreadPoolExecutor(1) as pool:
        ends = pool.submit(source.execute, [SLEEP], [], caller="bank", stop=stop, seconds=60)
        assert _until(partial(_sleepers, database))
        stop.set()
        with pytest.raises(WorkCancelled):
            ends.result(60)
    # The server has noticed by itself.
    assert _until(lambda: not _sleepers(database))


def test_a_server_process_that_is_killed_is_one_text(
    asked: Up, database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def slow(*args: Any, **options: Any) -> CoreQuery:
        query = core_sql(*args, **options)
        return replace(query, sql=f"SELECT q.* FROM (SELECT pg_sleep(60)) AS z, ({query.sql}) AS q")

    monkeypatch.setattr(question, "core_sql", slow)
    with ThreadPoolExecutor(1) as pool:
        ends = pool.submit(asked.refused, "select avg(age) as a from people", dataset="people")
        (pid, *_) = _until(partial(_sleepers, database))
        os.kill(pid, signal.SIGTERM)
        refused = ends.result(60)
    assert (refused.code, refused.exit_code) == ("F-010", 1)
    assert "terminat" not in refused.message + refused.hint
    assert "terminating connection" in caplog.text
    assert "banyan_reader" not in refused.message
    monkeypatch.undo()
    # The node goes on.
    assert asked.ask(TOTAL, dataset="people").rows == [[1200]]


def test_a_server_that_is_gone_is_one_text_and_comes_back(
    asked: Up, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    source = _source(asked, "people")
    (there,) = database.run("SHOW unix_socket_directories")
    away = replace(source._attached, place="nowhere")
    uri = f"{database.reader.replace(there[0], '/nowhere')}&password=geheim"
    gone = Postgres(away, uri)
    try:
        with pytest.raises(FusionError) as failed:
            gone.execute([SLEEP], [], caller="bank", stop=threading.Event(), seconds=60)
    finally:
        gone.close()
    assert failed.value.code == "F-024"
    assert "/nowhere" in caplog.text
    assert "geheim" not in caplog.text


def test_a_child_ends_with_its_node_and_answers_no_more_than_it_may(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    children = child.Children("sandbox.sources.postgres_child", places=1)
    spare = children._spare
    assert spare is not None
    assert spare.stdin is not None
    spare.stdin.close()  # as when the node dies
    assert spare.wait(60) == 0
    with pytest.raises(FusionError):
        children.run(b"nonsense", seconds=60)
    monkeypatch.setattr(child, "MAX_ANSWER_BYTES", 1)
    with pytest.raises(FusionError) as large:
        children.run(b"nonsense", seconds=60)
    assert large.value.code == "F-023"
    children.close()


# ------------------------------------------------------------------- the same as from files


def _both(up: Up, database: Database, made: dict[str, Path]) -> tuple[Attached, Attached]:  # noqa: F811
    text = EXAMPLE.read_text("utf-8")
    if attached(up.world.owner, "clinicdb") is None:
        attach(up, database, "clinicdb", text)
        where = made["persons"].parent
        engines.queries().attach_policy(up.world.owner, text, "policy.yaml", "clinic", where)
    return _found(up, "clinic"), _found(up, "clinicdb")


def _same(statement: str, files: Attached, base: Attached, uri: str) -> bool:
    """Compare cells and people of a statement, of files and of the database."""
    found = []
    sides: list[tuple[Attached, Name]] = [(files, "duckdb"), (base, "postgres")]
    for own, dialect in sides:
        # The plain tables, which is what a database has, and not the store of them.
        prepared = runner.prepare(statement, replace(own, store=None), b"s" * 32, dialect)
        selections = [each for part in prepared.selections for each in part]
        policy = own.policy
        cells = [core_sql(each.core, policy, dialect) for each in selections]
        codes = [codes_sql(each.core, policy, dialect) for each in selections]
        whole = ask((*prepared.compiled.asked.queries, *cells))
        if dialect == "duckdb":
            tables = [name for name in own.inputs if name != sets.COHORT]
            request = sets.request_bytes(whole.request, tables, codes, Limits())
            data = sets.execute(request, own.inputs)
        else:
            data = postgres.execute_sets(whole.request, codes, uri, seconds=60, schema=own.place)
        reply, pairs = sets.read(data, len(codes), own.people)
        rows = reply_of(reply, whole)
        found.append(
            (
                [sorted(map(_plain, each), key=repr) for each in rows],
                [sorted(map(tuple, each.tolist())) for each in pairs],
            )
        )
    return bool(found[0] == found[1])


def _plain(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(float(f"{cell:.9g}") if isinstance(cell, float) else cell for cell in row)


def _different(database: Database, files: Attached, base: Attached, step: int) -> list[str]:
    statements = dict.fromkeys(each.sql for name in ("legit.txt", "analysts.txt")
                               for each in corpus(name))  # fmt: skip
    different, compared = [], 0
    for sql in list(statements)[::step]:
        try:
            same = _same(sql, files, base, database.reader)
        except Refused:
            continue  # by the history's rules, before any engine is asked
        compared += 1
        if not same:
            different.append(sql)
    assert compared > len(statements) / step / 2
    return different


def test_cells_and_people_are_those_of_files(
    up: Up, database: Database, made: dict[str, Path]  # noqa: F811
) -> None:  # fmt: skip
    files, base = _both(up, database, made)
    assert files.people == base.people
    names = files_in(files.policy, folder(up.world.owner, "clinic") / "r1")
    assert set(names) == set(base.policy.tables)
    assert not _different(database, files, base, 14)


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_cells_and_people_are_those_of_files_for_all_statements(
    up: Up, database: Database, made: dict[str, Path]  # noqa: F811
) -> None:  # fmt: skip
    files, base = _both(up, database, made)
    assert not _different(database, files, base, 1)
