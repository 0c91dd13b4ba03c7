"""What an owner is told when a policy is attached or tried: unreadable files, cells not read."""

from __future__ import annotations

import json
import os
import random
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from fusion.errors import DataInvalid, VerificationFailed
from fusion.services import engines
from fusion.services.doctor_folder import permission_findings
from sandbox.attached import attached, check_frozen
from tests.link.federation import serving
from tests.queries.world import POLICY, make_world, serving_queries, write_people

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cli.test_app import Terminal
    from tests.queries.world import Up

HEAD = "person_id,sex,region,age,income\n"
ROWS = "".join(f"{n},{'FM'[n % 2]},north,30,1000\n" for n in range(40))
UNREADABLE = [
    (b"", "is empty"),
    (f"{HEAD}1,F,北,30,1000\n".encode("gbk"), "line 2 is not UTF-8"),
    (f"{HEAD}{ROWS}".encode("utf-16"), "is UTF-16, not UTF-8"),
    (f"{HEAD}{ROWS}".replace(",", ";").encode(), "separated by ';', not by commas"),
    (f"{HEAD}{ROWS}41,F,north\n".encode(), "line 42 has 3 cells, its first line 5"),
    (f"{HEAD}1,F,north,30,1000,7\n".encode(), "line 2 has 6 cells, its first line 5"),
    (b"person_id,sex,region,age,age,income\n1,F,north,3,3,1\n", "two columns called age"),
    (b"person_id,sex,region,age,\n1,F,north,3,3\n", "no column income"),
    (f"{HEAD.strip()},\n1,F,north,3,3,4\n".encode(), "column 6 has no name"),
    (f'{HEAD}1,F,"north,30,1000\n'.encode(), "a quotation mark in it has no end"),
]


@pytest.mark.parametrize(("content", "why"), UNREADABLE)
def test_a_file_that_cant_be_read_is_named_with_its_table_and_why(
    up: Up, fusion: Terminal, tmp_path: Path, content: bytes, why: str
) -> None:
    policy, asked, table = (tmp_path / name for name in ("p.yaml", "q.sql", "persons.csv"))
    policy.write_text(POLICY, "utf-8")
    asked.write_text("select count(*) as n from persons\n", "utf-8")
    table.write_bytes(content)
    data = ("--data", tmp_path)
    assert fusion("policy", "try", policy, *data, "--file", asked, "--execute") == 2
    tried = fusion.err
    assert f"F-202: {table}, table persons: " in tried
    assert why in tried
    # Without running anything, the file is not looked at.
    assert fusion("policy", "try", policy, *data, "--file", asked) == 0
    home = up.world.owner.path
    assert fusion("policy", "add", policy, *data, "--dataset", "unread", "--home", home) == 2
    assert fusion.err == tried
    assert attached(up.world.owner, "unread") is None


def test_other_files_that_cant_be_read_are_named_too(tmp_path: Path) -> None:
    queries = engines.queries()
    table = tmp_path / "persons.parquet"
    table.write_bytes(b"PAR1")
    statement = "select count(*) as n from persons"
    with pytest.raises(DataInvalid, match=r"persons\.parquet, table persons: it is no Parquet"):
        queries.try_policy(POLICY, "p.yaml", statement, tmp_path, execute=True)
    parquet.write_table(pa.table({"person_id": [1], "sex": [[1]], "region": ["n"]}), table)
    with pytest.raises(DataInvalid, match="table persons: it has no column age, income"):
        queries.try_policy(POLICY, "p.yaml", statement, tmp_path, execute=True)


def test_what_of_tables_is_not_read_is_told_to_their_owner(
    up: Up, fusion: Terminal, tmp_path: Path
) -> None:
    policy, asked = tmp_path / "p.yaml", tmp_path / "q.sql"
    policy.write_text(POLICY, "utf-8")
    asked.write_text("select sex, count(*) as n from persons group by sex;\n", "utf-8")
    rows = [f"{n},{'FM'[n % 2]},north,30,{1000 + n}\n" for n in range(40)]
    rows[0] = "\uff11\uff12,F,north,30,1000\n"
    rows[1] = ",M,north,30,1000\n"
    rows[2] = "2,F,north,30,forty\n"
    rows[3] = "3,X,north,30,\n"
    (tmp_path / "persons.csv").write_text("".join([HEAD, *rows]), "utf-8")
    where = ("--data", tmp_path)
    home = up.world.owner.path
    added = fusion.document("policy", "add", policy, *where, "--dataset", "told-of", "--home", home)
    wanted = {"rows": 40, "left_out": 2, "unread": {"person_id": 1, "sex": 1, "income": 1}}
    assert added["tables"] == {"persons": wanted}
    assert added["people"] == 38
    tried = fusion.document("policy", "try", policy, *where, "--file", asked, "--execute")
    assert tried["tables"] == added["tables"]
    said = (
        "persons.income: 1 of 40 cells can't be read",
        "persons: 2 of 40 rows are left out: their person_id is empty or can't be read",
    )
    for words in (
        ("policy", "add", policy, *where, "--dataset", "told-of", "--home", home),
        ("policy", "try", policy, *where, "--file", asked, "--execute"),
    ):
        assert fusion(*words) == 0
        assert all(line in fusion.err for line in said)
        assert "forty" not in fusion.err + fusion.out
    # It stays here: not in what is signed, nor in what an analyst is told.
    signed = (home / "queries/told-of/policy.json").read_bytes()
    assert b"left_out" not in signed
    assert b"unread" not in signed
    # Nobody at all.
    rows = [f",{'FM'[n % 2]},north,30,1000\n" for n in range(40)]
    (tmp_path / "persons.csv").write_text("".join([HEAD, *rows]), "utf-8")
    assert fusion("policy", "add", policy, *where, "--dataset", "nobody", "--home", home) == 0
    assert "the tables are about nobody: every answer will be empty" in fusion.err


def test_a_statement_that_fails_shows_in_the_exit_code(
    fusion: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy, asked = tmp_path / "p.yaml", tmp_path / "q.sql"
    policy.write_text(POLICY, "utf-8")
    asked.write_text(
        "\ufeffselect count(*) as n from persons;\nselect income from persons\n", "utf-8"
    )
    (tmp_path / "persons.csv").write_text(f"{HEAD}{ROWS}", "utf-8")
    words = ("policy", "try", policy, "--data", tmp_path, "--file", asked, "--execute")
    document = fusion.document(*words)
    assert document["counts"] == {"accepted": 1, "refused": 1, "error": 0}
    # One whose results are multiplied is ended.
    monkeypatch.setattr("sandbox.post.MAX_SECONDS", 0.1)
    write_people(tmp_path / "persons.csv")
    cells = "with a as (select age, count(*) as c from persons group by age)"
    together = " cross join ".join(f"a as x{n}" for n in range(6))
    asked.write_text(f"{cells} select sum(x0.c) as s from {together}\n", "utf-8")
    assert fusion(*words) == 1
    assert fusion(*words, "--json") == 1
    assert json.loads(fusion.out)["counts"]["error"] == 1


def _tables() -> dict[str, dict[str, list[Any]]]:
    """Make up tables of the policy that `fusion policy init` writes."""
    draw = random.Random(7)  # noqa: S311 - made-up people
    people, visits = range(1000), range(1500)
    return {
        "people": {
            "person_id": list(people),
            "birth_year": [draw.randint(1950, 2000) for _ in people],
            "sex": [draw.choice("FM") for _ in people],
            "region": [draw.choice(("north", "south")) for _ in people],
            "income": [1000.0 + n for n in people],
        },
        "visits": {
            "person_id": [draw.randrange(1000) for _ in visits],
            "day": [f"2020-{draw.randint(1, 12):02}-01" for _ in visits],
            "department": [draw.choice(("heart", "lung")) for _ in visits],
            "diagnosis": [draw.choice(("a", "b", "c")) for _ in visits],
        },
        "regions": {"region": ["north", "south"], "population": [1000, 2000]},
    }


@pytest.fixture(scope="module")
def own(up: Up, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:  # noqa: ARG001 - it skips
    """A node that nothing else is asked of: refusals are those of all datasets of an owner."""
    world = make_world(tmp_path_factory.mktemp("own") / "world")
    with serving(world.hub, 1) as port, serving_queries(world, port.port) as found:
        yield found


@pytest.mark.parametrize("kind", ["csv", "parquet", "duckdb"])
def test_the_policy_to_begin_with_is_attached_and_asked(own: Up, tmp_path: Path, kind: str) -> None:
    queries, owner = engines.queries(), own.world.owner
    where = tmp_path / "tables.duckdb" if kind == "duckdb" else tmp_path
    for name, columns in _tables().items():
        table: Any = pa.table(columns)
        if kind == "csv":
            csv.write_csv(table, tmp_path / f"{name}.csv")
        elif kind == "parquet":
            parquet.write_table(table, tmp_path / f"{name}.parquet")
        else:
            with duckdb.connect(str(where)) as connection:
                connection.register("given", table)
                connection.execute(f"CREATE TABLE {name} AS SELECT * FROM given")
    dataset = f"begun-{kind}"
    found = queries.attach_policy(owner, queries.policy_template(), "p.yaml", dataset, where)
    assert (found["people"], found["warnings"]) == (1000, [])
    about = {"id": dataset, "schema_digest": found["schema_digest"], "columns": found["columns"]}
    own.world.grant(dataset, dataset=about, title=f"Of {kind}")
    statement = "select sex, count(*) as n from people group by sex order by sex"
    # Noise of a standard deviation of 2, and rounding to 5.
    rows = own.ask(statement, dataset=dataset).rows
    assert [row[0] for row in rows] == ["F", "M"]
    assert all(400 <= int(row[1] or 0) <= 600 for row in rows)


def test_what_attaching_and_answering_make_is_the_owners_alone(own: Up) -> None:
    own.world.grant("persons")
    own.ask("select count(*) as n from persons")
    home = own.world.owner.path
    assert [each.status for each in permission_findings(home)] == ["ok"]
    modes = {path.name: path.stat().st_mode & 0o777 for path in home.rglob("*.sqlite*")}
    assert "history.sqlite" in modes
    assert set(modes.values()) == {0o600}
    assert os.umask(os.umask(0o022)) & 0o022  # else nothing was shown


def test_a_revision_of_before_has_its_list_of_people_still(own: Up) -> None:
    owner = own.world.owner
    folder = owner.path / "queries/persons/r1"
    before = (folder / "_people.parquet").rename(folder / "people.parquet")
    whole = before.read_bytes()
    try:
        found = attached(owner, "persons")
        assert found is not None
        check_frozen(found)
        before.write_bytes(b"another")
        with pytest.raises(VerificationFailed):
            check_frozen(found)
    finally:
        before.unlink()
        (folder / "_people.parquet").write_bytes(whole)
