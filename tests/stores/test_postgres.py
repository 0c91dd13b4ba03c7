"""What PostgreSQL adds: how a folder names it, what is refused, a log that an audit accepts."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import psycopg
import pytest

from fusion.errors import EnvironmentUnfit, InputInvalid
from fusion.ledger.verify import Expectations, audit
from fusion.services.doctor_folder import store_findings
from fusion.services.homes import NODE_FILE, NodeHome
from fusion.services.ledger import Book
from fusion.services.storage import open_budgets, open_rounds
from fusion.stores.ledger import SqlLedger
from fusion.stores.postgres import PostgresDatabase
from fusion.stores.sql import Postgres, Schema
from tests.link.federation import admit, make_hub, make_node
from tests.postgres import new_schema

if TYPE_CHECKING:
    from pathlib import Path

    from fusion.services.homes import HubHome


def _in_database(node: NodeHome, place: Postgres, *more: str) -> NodeHome:
    """The node with its stores in PostgreSQL, by what its operator writes."""
    file = node.path / NODE_FILE
    lines = [line for line in file.read_text("utf-8").splitlines() if "database" not in line]
    file.write_text("\n".join([f"database = {json.dumps(place.url)}", *more, *lines]), "utf-8")
    return NodeHome.open(node.path)


@pytest.fixture
def hub(tmp_path: Path) -> HubHome:
    return make_hub(tmp_path / "hub")


@pytest.fixture
def node(hub: HubHome, tmp_path: Path) -> NodeHome:
    node = admit(hub, make_node(hub, tmp_path / "a", "a.example"))
    node.roster_file.write_bytes(hub.roster_file.read_bytes())
    return node


def test_a_nodes_stores_are_in_its_database_and_its_log_passes_an_audit(
    node: NodeHome, server: str
) -> None:
    moved = _in_database(node, new_schema(server))
    rounds, budgets = open_rounds(moved), open_budgets(moved)
    with Book(moved) as book:
        rounds.keep_job("job", b"study", "key")
        rounds.consume("job", 1, b"opening", [b"a"])
        assert budgets.used("g", "train").runs == 0
        found = audit(book.bundle(), Expectations(witnessed=False))
        assert found.kinds == {"organisation-made": 1, "roster-seen": 1}
        assert book.ledger.heads()
    assert rounds.job("job") == (b"study", "key")
    rounds.close()
    budgets.close()


def test_two_organisations_do_not_share_a_database(
    hub: HubHome, node: NodeHome, server: str, tmp_path: Path
) -> None:
    place = new_schema(server)
    with Book(_in_database(node, place)):
        pass
    other = _in_database(admit(hub, make_node(hub, tmp_path / "b", "b.example")), place)
    with pytest.raises(EnvironmentUnfit, match=r"is that of a\.example"):
        Book(other)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:secret@host/name",
        "postgresql://user@host/name?password=secret",
        "mysql://user@host/name",
        "name",
    ],
)
def test_a_url_with_a_password_or_of_something_else_is_refused(node: NodeHome, url: str) -> None:
    with pytest.raises(InputInvalid, match="without a password") as refused:
        _in_database(node, Postgres(url=url))
    assert "secret" not in str(refused.value)


def test_the_password_is_read_from_a_file(node: NodeHome, server: str, tmp_path: Path) -> None:
    place = new_schema(server)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("CREATE ROLE banyan_with_password LOGIN SUPERUSER PASSWORD 'right'")
    (node.path / "database.password").write_text("right\n", "utf-8")
    url = place.url.replace("user=banyan", "user=banyan_with_password")
    moved = _in_database(node, Postgres(url=url), 'database_password = "database.password"')
    assert moved.database == Postgres(url=url, password=node.path / "database.password")
    with Book(moved) as book:
        assert book.ledger.size() == 1
    for content in ("", "x" * 5000):
        (node.path / "database.password").write_text(content, "utf-8")
        with pytest.raises(EnvironmentUnfit, match="holds no password"):
            Book(moved)
    (node.path / "database.password").unlink()
    with pytest.raises(EnvironmentUnfit, match="can't be read from"):
        Book(moved)
    del tmp_path


def test_a_server_that_is_away_is_an_environment_error(tmp_path: Path) -> None:
    place = Postgres(url=f"postgresql:///x?host={tmp_path}&user=x")
    with pytest.raises(EnvironmentUnfit, match="PostgreSQL database can't be used") as found:
        SqlLedger.in_postgres(place)
    assert found.value.exit_code == 3
    assert "node.toml" in found.value.hint


def test_without_the_driver_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(EnvironmentUnfit, match="psycopg is not installed") as found:
        SqlLedger.in_postgres(Postgres(url=f"postgresql:///x?host={tmp_path}"))
    assert "banyan-fusion[postgresql]" in found.value.hint


def test_a_connection_that_was_cut_is_made_again_and_nothing_is_half_done(server: str) -> None:
    place = new_schema(server)
    ledger = SqlLedger.in_postgres(place)
    ledger.append([b"one"])
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'banyan'"
        )
    with pytest.raises(EnvironmentUnfit):
        ledger.append([b"two"])
    assert ledger.append([b"two"]) == 1
    assert list(ledger.entries(0, 9)) == [b"one", b"two"]
    ledger.close()


def test_a_commit_waits_for_the_disk_whatever_the_server_says(server: str) -> None:
    place = new_schema(server)
    url = place.url.replace("-csearch_path", "-csynchronous_commit%3Doff%20-csearch_path")
    database = PostgresDatabase(Postgres(url=url), Schema(tables=""))
    with database.transaction() as connection:
        assert connection.execute("SHOW synchronous_commit").fetchone() == ("on",)
    database.close()


def test_the_doctor_looks_into_the_database(node: NodeHome, server: str, tmp_path: Path) -> None:
    (good,) = store_findings(_in_database(node, new_schema(server)))
    assert "the PostgreSQL database" in good.message
    away = Postgres(url=f"postgresql:///x?host={tmp_path}&user=x")
    (bad,) = store_findings(_in_database(node, away))
    assert "PostgreSQL database can't be used" in bad.message
