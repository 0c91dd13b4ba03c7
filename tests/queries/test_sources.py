"""Sources beside files: DuckDB files are copied out, texts and numbers are the same elsewhere."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

import duckdb
import psycopg
import pytest
from pyarrow import parquet

from fusion.errors import DataInvalid, InputInvalid, QueryRefused
from fusion.wire import envelope
from sandbox import engine, postgres
from sandbox.attached import TYPE, Origin, attach, attached, check_frozen, folder
from sandbox.freezing import copy_out
from sandbox.postgres_freeze import freeze
from sandbox.query import answer
from sandbox.reading import parse_policy
from sandbox.runner import prepare
from tests.cli.test_app import Terminal
from tests.queries.databases import serving
from tests.sandbox.asking import EXACT, EXAMPLE, write
from tests.sandbox.conftest import made  # noqa: F401 - a fixture

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sandbox.policy import Policy
    from tests.queries.databases import Database
    from tests.queries.world import Up

WORDS = (
    "'; DROP TABLE notes; --", "\\", "\\'", "\\' or true --", "${env:HOME}", "$1", "%", "_", "",
    " x ", "x", "A", "a", "Ä", "ä", "é", "e\u0301", "\U0001f600", "中文", '"', "`", "\t", "\n",
    "NULL", "{}",
)  # fmt: skip
AMOUNTS = (math.nan, math.inf, -math.inf, None, 0.0, -0.0, 1e300, 1e-300, 0.1, 2.5, 3.5, -2.5)
TEXT = """\
schema: fusion.policy/1
title: Notes
tables:
  notes:
    entity: who
    rows: 5
    columns:
      who: {class: key, type: text}
      word: {class: dimension}
      amount: {class: number, low: -1000, high: 1000, decimals: 2}
      exact: {class: number, low: 0, high: 1000000000, decimals: 6}
      day: {class: date}
      flag: {class: dimension, type: boolean}
"""
STATEMENTS = (
    """select word, count(*) as n, count(distinct who) as p, sum(amount) as s, count(amount) as c
    from notes group by word""",
    """select sum(exact) as s, avg(exact) as a, sum(n) as m from
    (select who, sum(exact) as exact, count(*) as n from notes group by who) as t""",
    "select upper(word) as u, lower(word) as l, count(*) as n from notes group by 1, 2",
    """select length(word) as l, left(word, 1) as f, right(word, 1) as r, count(*) as n
    from notes group by 1, 2, 3""",
    "select word || '\\' as w, concat(word, '''') as q, count(*) as n from notes group by 1, 2",
    "select count(*) as n from notes where word = '\\'' or true --'",
    "select count(*) as n from notes where word = '${env:HOME}'",
    "select count(*) as n from notes where word like '%\u0301' or word ilike 'ä' or word < 'a'",
    "select flag, date_trunc('month', day) as m, count(*) as n from notes group by 1, 2",
)


def policy() -> Policy:
    return parse_policy(TEXT, "policy.yaml").model_copy(update={"release": EXACT})


def rows() -> dict[str, list[Any]]:
    count = len(WORDS) * len(AMOUNTS)
    days = [dt.date(1, 1, 1), dt.date(9999, 12, 31), None, dt.date(2024, 2, 29)]
    return {
        "who": [f"{WORDS[n % len(WORDS)]}{n // 7}" for n in range(count)],
        "word": [None if n % 31 == 0 else WORDS[n % len(WORDS)] for n in range(count)],
        "amount": [AMOUNTS[n // len(WORDS)] for n in range(count)],
        "exact": [Decimal(123456789123456 + n * 1001) / 10**6 for n in range(count)],
        "day": [days[n % 4] for n in range(count)],
        "flag": [(True, False, None)[n % 3] for n in range(count)],
    }


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write(tmp_path_factory.mktemp("notes"), {"notes": rows()})


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """The same notes, in columns whose collation takes A and a for equal."""
    empty = write(tmp_path_factory.mktemp("empty"), {"unused": {"x": [1]}})
    table = rows()
    with serving(empty, policy().model_copy(update={"tables": {}})) as found:
        found.run(
            "CREATE COLLATION alike (provider = icu, locale = 'und-u-ks-level1', "
            "deterministic = false);"
            "CREATE TABLE notes (who text COLLATE alike, word varchar(100) COLLATE alike, "
            "amount double precision, exact numeric(18, 6), day date, flag boolean)"
        )
        with psycopg.connect(found.admin, autocommit=True) as connection:
            connection.cursor().executemany(
                "INSERT INTO notes VALUES (%s, %s, %s, %s, %s, %s)",
                list(zip(*table.values(), strict=True)),
            )
        found.permit(policy())
        yield found


def _rows(sql: str, execute: Any, dialect: Any) -> list[tuple[Any, ...]]:
    found = answer(sql, policy(), execute, dialect=dialect).rows
    return sorted((tuple(_plain(cell) for cell in row) for row in found), key=repr)


def _plain(cell: Any) -> Any:
    return float(f"{cell:.12g}") if isinstance(cell, float) else cell


def test_texts_and_numbers_are_the_same_in_a_database(
    notes: dict[str, Path], database: Database
) -> None:
    frozen = freeze(
        policy(), database.keeper, database.reader,
        owner="tax", dataset="notes", revision=1, known=["somebody"],
    )  # fmt: skip
    assert frozen.listed[0] == "somebody"
    assert len(frozen.listed) == 1 + len(set(rows()["who"]))
    kinds = {"amount": "number", "exact": "number", "day": "time"}
    assert frozen.schemas["notes"] == {name: kinds.get(name, "text") for name in rows()}
    there = partial(postgres.execute, uri=database.reader, schema=frozen.place)
    here = partial(engine.execute, inputs=notes)
    for sql in STATEMENTS:
        assert _rows(sql, there, "postgres") == _rows(sql, here, "duckdb"), sql


def test_no_text_ends_its_literal(notes: dict[str, Path], database: Database) -> None:
    """Not even where the role's own settings read backslashes."""
    uri = f"{database.keeper}&options=-cstandard_conforming_strings%3Doff"
    there, here = partial(postgres.execute, uri=uri), partial(engine.execute, inputs=notes)
    for hostile in ("\\' or true --", "\\", "\\'"):
        written = hostile.replace("'", "''")
        sql = f"select count(*) as n from notes where word = '{written}'"
        assert _rows(sql, there, "postgres") == _rows(sql, here, "duckdb")
    # So it would be without the setting.
    with psycopg.connect(uri) as connection:
        assert connection.execute("SHOW standard_conforming_strings").fetchall() == [("off",)]


# --------------------------------------------------------------------------- DuckDB files


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, made: dict[str, Path]) -> Path:  # noqa: F811
    path = tmp_path_factory.mktemp("duckdb") / "clinic.duckdb"
    with duckdb.connect(str(path)) as connection:
        for name, table in made.items():
            connection.execute(f"CREATE TABLE {name} AS SELECT * FROM '{table}'")
        connection.execute("ALTER TABLE persons ALTER person_id TYPE HUGEINT")
        connection.execute("CREATE TYPE word AS ENUM (SELECT DISTINCT sex FROM persons)")
        connection.execute("ALTER TABLE persons ALTER sex TYPE word")
        connection.execute("ALTER TABLE persons ADD COLUMN secret VARCHAR DEFAULT 'not asked for'")
    return path


def test_a_duckdb_file_is_tried_as_its_tables_are(
    file: Path, made: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]  # noqa: F811
) -> None:  # fmt: skip
    fusion = Terminal(capsys)
    questions = tmp_path / "q.sql"
    questions.write_text(
        "select sex, count(*) as n, avg(income) as i from persons group by sex order by sex\n"
        "select dept, sum(cost) as s from visits group by dept order by dept\n",
        "utf-8",
    )
    words = ("policy", "try", EXAMPLE, "--file", questions, "--execute")
    own = fusion.document(*words, "--data", file)
    theirs = fusion.document(*words, "--data", made["persons"].parent)
    assert own["counts"]["accepted"] == 2
    assert [each["rows"] for each in own["statements"]] == [
        each["rows"] for each in theirs["statements"]
    ]
    assert fusion(*words) == 2
    assert "named once" in fusion.err
    assert fusion(*words, "--source", f"spark+parquet://{tmp_path}") in {2, 3}
    assert fusion("policy", "source-sql", EXAMPLE, "--database", 'a"b') == 0
    assert 'ON DATABASE "a""b"' in fusion.out
    assert 'GRANT SELECT ("person_id", ' in fusion.out


def test_a_duckdb_file_is_frozen_with_what_is_asked_about_alone(up: Up, file: Path) -> None:
    found = attach(up.world.owner, EXAMPLE.read_text("utf-8"), "p", "ducks", Origin(data=file))
    check_frozen(found)
    persons = parquet.read_schema(found.inputs["persons"])
    assert "secret" not in persons.names
    assert set(persons.names) == set(found.policy.tables["persons"].columns)
    assert found.people == 2000
    assert found.source == "files"


def test_rows_of_public_values_are_counted_when_a_policy_is_attached(up: Up, file: Path) -> None:
    owner, where = up.world.owner, Origin(data=file)
    text, sql = (
        EXAMPLE.read_text("utf-8"),
        "select rural, count(*) from persons join regions using ",
    )
    found = attach(owner, text, "p", "joins", where)
    assert found.public is not None
    assert {"region": 1, "region_name": 1}.items() <= found.public["regions"].items()
    assert prepare(f"{sql}(region) group by 1", found, bytes(32)).compiled.cores
    # As it was signed before that was counted: joins are refused until it is attached again.
    path = folder(owner, "joins") / "policy.json"
    _, document = envelope.open_signed(
        path.read_bytes(), TYPE, {owner.config.id: owner.public_keys().statement_key}, 2**20
    )
    assert document.pop("public") == found.public
    path.write_bytes(envelope.sign(document, TYPE, owner.statement_key, owner.config.id))
    older = attached(owner, "joins")
    assert older is not None
    with pytest.raises(QueryRefused, match="attaches the policy again"):
        prepare(f"{sql}(region) group by 1", older, bytes(32))
    again = attach(owner, text, "p", "joins", where)
    assert (again.revision, again.public) == (2, found.public)
    assert attach(owner, text, "p", "joins", where).revision == 2


def test_a_duckdb_file_that_can_not_be_read_is_said(tmp_path: Path, notes: dict[str, Path]) -> None:
    path = tmp_path / "notes.duckdb"
    with pytest.raises(DataInvalid, match="not a file"):
        copy_out(policy(), path, tmp_path)
    path.write_bytes(b"nonsense")
    with pytest.raises(DataInvalid, match="can't be read"):
        copy_out(policy(), path, tmp_path)
    path.unlink()
    with duckdb.connect(str(path)) as connection:
        # What a view reads beside the file stays where it is.
        connection.execute(f"CREATE VIEW notes AS SELECT * FROM '{notes['notes']}'")
        with pytest.raises(DataInvalid):
            copy_out(policy(), path, tmp_path)  # open for writing elsewhere
    with pytest.raises(DataInvalid, match="can't be read"):
        copy_out(policy(), path, tmp_path)
    with duckdb.connect(str(path)) as connection:
        connection.execute("DROP VIEW notes")
        connection.execute("CREATE TABLE notes (who INT)")
    with pytest.raises(DataInvalid, match=r"notes\.word"):
        copy_out(policy(), path, tmp_path)
    assert not list(tmp_path.glob("*.parquet"))


def test_a_source_is_of_a_known_kind(up: Up) -> None:
    with pytest.raises(InputInvalid, match="two roles"):
        attach(up.world.owner, TEXT, "p", "none", Origin(keeper="postgresql://x"))
