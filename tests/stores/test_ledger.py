"""The log: one contract, in memory and on disk, and what the disk adds: nothing is ever lost."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fusion.errors import EnvironmentUnfit, GateRefused, VerificationFailed
from fusion.ledger import merkle
from fusion.stores.ledger import SqliteLedger, SqlLedger
from fusion.stores.memory import MemoryRoundLog
from fusion.stores.memory_ledger import MemoryLedger
from fusion.stores.rounds import SqliteRoundLog
from tests.postgres import STORES, new_schema

if TYPE_CHECKING:
    from pathlib import Path

    from federated.evidence import PartyLog
    from fusion.ports import Ledger
    from tests.stores.places import Place


@pytest.fixture(params=STORES)
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Ledger:
    """One implementation after the other; what holds for one holds for all."""
    if request.param == "postgres":
        return SqlLedger.in_postgres(new_schema(request.getfixturevalue("server")))
    return MemoryLedger() if request.param == "memory" else SqliteLedger(tmp_path / "l.sqlite")


def _entry(number: int) -> bytes:
    return f"entry {number}".encode()


def _check(ledger: Ledger, logged: list[bytes]) -> None:
    """The log has exactly these entries and their tree."""
    size = len(logged)
    assert ledger.size() == size
    assert list(ledger.entries(0, size)) == logged
    leaves = [merkle.leaf_hash(item) for item in logged]
    assert list(ledger.leaves(0, size)) == leaves
    roots = merkle.roots_of(leaves, set(range(size + 1)))
    assert {n: ledger.root(n) for n in range(size + 1)} == roots


def test_entries_one_by_one_and_in_batches_make_one_tree(ledger: Ledger) -> None:
    logged: list[bytes] = []
    for count in (1, 1, 1, 5, 2, 8, 0, 1, 16, 3):
        more = [_entry(len(logged) + n) for n in range(count)]
        assert ledger.append(more) == len(logged)
        logged += more
        _check(ledger, logged)
    assert list(ledger.entries(3, 6)) == logged[3:6]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(counts=st.lists(st.integers(1, 9), max_size=8))
def test_a_tree_does_not_depend_on_how_its_entries_came(counts: list[int]) -> None:
    ledger, logged = MemoryLedger(), list[bytes]()
    for count in counts:
        more = [_entry(len(logged) + n) for n in range(count)]
        ledger.append(more)
        logged += more
    _check(ledger, logged)


def test_proofs_are_those_of_the_tree(ledger: Ledger) -> None:
    ledger.append([_entry(n) for n in range(21)])
    root = ledger.root(21)
    for index in range(21):
        proof = ledger.inclusion_proof(index, 21)
        merkle.verify_inclusion(merkle.leaf_hash(_entry(index)), index, 21, proof, root)
        merkle.verify_consistency(
            index, 21, ledger.consistency_proof(index, 21), ledger.root(index), root
        )
    with pytest.raises(ValueError, match="no entry"):
        ledger.inclusion_proof(21, 21)
    with pytest.raises(ValueError, match="extend"):
        ledger.consistency_proof(22, 21)


def test_an_occasion_is_logged_once_with_its_papers(ledger: Ledger) -> None:
    assert ledger.append_once("a", b"first", {"paper:1": b"document"})
    assert not ledger.append_once("a", b"second", {"paper:1": b"another"})
    assert ledger.append_once("b", b"third")
    assert list(ledger.entries(0, 9)) == [b"first", b"third"]
    assert ledger.papers("paper:") == {"paper:1": b"document"}
    assert ledger.papers("x") == {}


def test_checkpoints_are_kept_by_size(ledger: Ledger) -> None:
    for size in (3, 1, 2):
        ledger.keep_head(size, f"note {size}".encode())
    ledger.keep_head(2, b"cosigned")
    assert ledger.heads() == {1: b"note 1", 2: b"cosigned", 3: b"note 3"}
    assert ledger.heads(2) == {2: b"cosigned", 3: b"note 3"}


def test_what_was_cosigned_moves_only_from_what_was_checked(ledger: Ledger) -> None:
    ledger.witness("log", None, 5, b"r5", b"n5")
    for before in (None, (4, b"r4"), (5, b"other")):
        with pytest.raises(VerificationFailed, match="in the meantime"):
            ledger.witness("log", before, 6, b"r6", b"n6")
    ledger.witness("log", (5, b"r5"), 6, b"r6", b"n6")
    ledger.witness("other", None, 1, b"x", b"y")
    assert ledger.witnessed() == {"log": (6, b"r6", b"n6"), "other": (1, b"x", b"y")}


# -------------------------------------------------------------------- with what it is about


def test_an_entry_is_logged_with_what_it_is_about_and_once(place: Place) -> None:
    memory = MemoryRoundLog()
    _log_what_happens(memory, memory.ledger)
    _log_what_happens(place.rounds(), place.ledger())


def _log_what_happens(log: PartyLog, ledger: Ledger) -> None:
    for _ in range(2):
        log.keep_job("job", b"study", "key", b"agreed")
        log.claim_submission("job", 1, 1, b"list", b"proof", b"contributed")
        log.consume("job", 1, b"opening", [b"a"], b"opened")
    with pytest.raises(GateRefused):
        log.consume("job", 1, b"another", [b"b"], b"opened twice")
    with pytest.raises(GateRefused):
        log.consume("job", 2, b"another", [b"b", b"a"], b"opened twice")
    for _ in range(2):
        log.record("key", b"refused")
    for _ in range(2):
        log.forget_job("job", b"ended")
    log.forget_job("unknown", b"ended")
    logged = [b"agreed", b"contributed", b"opened", b"refused", b"ended"]
    assert list(ledger.entries(0, 9)) == logged
    _check(ledger, logged)


def test_a_log_that_cannot_be_written_lets_nothing_be_opened(tmp_path: Path) -> None:
    """Neither is ever there without the other."""
    path = tmp_path / "s.sqlite"
    log = SqliteRoundLog(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "CREATE TRIGGER full BEFORE INSERT ON subtree BEGIN SELECT RAISE(ABORT, 'full'); END"
        )
        connection.commit()
    with pytest.raises(EnvironmentUnfit, match="full"):
        log.consume("job", 1, b"opening", [b"a"], b"opened")
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM opening").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM opened").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM entry").fetchone() == (0,)


# -------------------------------------------------------------------- on disk


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entry SET body = 'x' WHERE number = 1",
        "DELETE FROM entry WHERE number = 4",
        "DELETE FROM entry",
        "INSERT INTO entry VALUES (7, 'x')",
        "UPDATE subtree SET hash = 'x'",
        "DELETE FROM subtree",
        "DELETE FROM once",
    ],
)
def test_the_database_refuses_to_change_what_is_logged(place: Place, statement: str) -> None:
    ledger = place.ledger()
    ledger.append([_entry(n) for n in range(4)])
    ledger.append_once("a", _entry(4))
    with pytest.raises(EnvironmentUnfit):
        place.run(statement)
    _check(ledger, [_entry(n) for n in range(5)])


def test_a_lost_node_of_the_tree_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    ledger = SqliteLedger(path)
    ledger.append([_entry(n) for n in range(4)])
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TRIGGER subtree_kept")
        connection.execute("DELETE FROM subtree WHERE level = 2")
        connection.commit()
    with pytest.raises(VerificationFailed, match="lacks a node"):
        ledger.root(4)


def test_nobody_else_may_read_the_file(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    SqliteLedger(path).append([b"x"])
    assert path.stat().st_mode & 0o777 == 0o600


def test_two_opened_at_once_and_many_threads_make_one_log(place: Place) -> None:
    ledgers = [place.ledger(), place.ledger()]

    def append(number: int) -> int:
        return ledgers[number % 2].append([_entry(number)])

    with ThreadPoolExecutor(6) as pool:
        places = list(pool.map(append, range(60)))
    assert sorted(places) == list(range(60))
    logged = list(ledgers[0].entries(0, 60))
    assert [logged[place] for place in places] == [_entry(n) for n in range(60)]
    _check(ledgers[1], logged)


def test_a_file_that_was_replaced_is_opened_anew(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    ledger = SqliteLedger(path)
    ledger.append([b"x"])
    path.unlink()
    with pytest.raises(EnvironmentUnfit):
        ledger.append([b"y"])


def test_a_batch_is_all_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    ledger = SqliteLedger(path)
    ledger.append([b"x"])
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "CREATE TRIGGER full BEFORE INSERT ON entry WHEN NEW.number = 3 "
            "BEGIN SELECT RAISE(ABORT, 'full'); END"
        )
        connection.commit()
    with pytest.raises(EnvironmentUnfit, match="full"):
        ledger.append([b"y"] * 5)
    _check(ledger, [b"x"])
