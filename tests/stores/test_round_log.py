"""What a party must never forget: one contract, in memory and on disk, and what the disk adds."""

from __future__ import annotations

import multiprocessing
import sqlite3
import threading
import time
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fusion.errors import ContributionRefused, EnvironmentUnfit, GateRefused, OrderRefused
from fusion.grants.budget import Evidence
from fusion.stores.memory import MemoryRoundLog
from fusion.stores.rounds import SqliteRoundLog, SqlRoundLog
from tests.postgres import STORES, new_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from federated.evidence import PartyLog

KEPT = (b"manifest", b"nonce", bytes(range(256)))
SECRET = b"plaintexts and exponents"
PROOF = b"proof"


@pytest.fixture(params=STORES)
def log(request: pytest.FixtureRequest, tmp_path: Path) -> PartyLog:
    """One implementation after the other; what holds for one holds for all."""
    if request.param == "postgres":
        return SqlRoundLog.in_postgres(new_schema(request.getfixturevalue("server")))
    return MemoryRoundLog() if request.param == "memory" else SqliteRoundLog(tmp_path / "s.sqlite")


# -------------------------------------------------------------------- commitments


def test_a_commitment_is_returned_as_it_was_remembered(log: PartyLog) -> None:
    assert log.commitment("job", 1, 1) is None
    log.remember_commitment("job", 1, 1, KEPT, SECRET)
    assert log.commitment("job", 1, 1) == KEPT
    others = [("job", 1, 2), ("job", 2, 1), ("other", 1, 1)]
    assert [log.commitment(*other) for other in others] == [None] * 3


def test_an_attempt_is_committed_to_once(log: PartyLog) -> None:
    log.remember_commitment("job", 1, 1, KEPT, SECRET)
    with pytest.raises(ContributionRefused, match="Round 1, attempt 1"):
        log.remember_commitment("job", 1, 1, (b"m", b"n", b"another vector"), SECRET)
    assert log.commitment("job", 1, 1) == KEPT
    log.remember_commitment("job", 1, 2, (b"m", b"n", b"v"), SECRET)
    assert log.commitment("job", 1, 1) == KEPT


def test_another_round_drops_the_jobs_other_vectors(log: PartyLog) -> None:
    for job, number in (("job", 1), ("other", 1), ("job", 3), ("job", 2)):
        log.remember_commitment(job, number, 1, KEPT, SECRET)
    kept = [("job", 1), ("job", 2), ("job", 3), ("other", 1)]
    assert [log.commitment(job, number, 1) is not None for job, number in kept] == [
        False, True, False, True,
    ]  # fmt: skip


# -------------------------------------------------------------------- submissions


def test_an_attempt_is_bound_to_one_list(log: PartyLog) -> None:
    log.claim_submission("job", 1, 1, b"list", PROOF)
    log.claim_submission("job", 1, 1, b"list", PROOF)
    with pytest.raises(ContributionRefused, match="Round 1, attempt 1") as refused:
        log.claim_submission("job", 1, 1, b"another", PROOF)
    assert refused.value.code == "F-402"
    log.claim_submission("job", 1, 1, b"list", PROOF)
    for job, number, attempt in (("job", 1, 2), ("job", 2, 1), ("other", 1, 1)):
        log.claim_submission(job, number, attempt, b"another", PROOF)


def test_an_attempt_has_one_proof_whoever_claims_it_first(log: PartyLog) -> None:
    assert log.submission("job", 1, 1) is None
    assert log.claim_submission("job", 1, 1, b"list", PROOF) == PROOF
    assert log.claim_submission("job", 1, 1, b"list", b"another proof") == PROOF
    assert log.submission("job", 1, 1) == (b"list", PROOF)
    with pytest.raises(ContributionRefused):
        log.claim_submission("job", 1, 1, b"another", b"another proof")
    assert log.submission("job", 1, 1) == (b"list", PROOF)


def test_what_a_vector_was_made_from_is_kept_for_its_round_only(log: PartyLog) -> None:
    log.remember_commitment("job", 1, 1, KEPT, SECRET)
    log.remember_commitment("job", 1, 2, KEPT, b"another")
    assert (log.secret("job", 1, 1), log.secret("job", 1, 2)) == (SECRET, b"another")
    log.forget_secret("job", 1, 2)
    assert (log.secret("job", 1, 1), log.secret("job", 1, 2)) == (SECRET, None)
    log.remember_commitment("job", 2, 1, KEPT, SECRET)
    assert (log.secret("job", 1, 1), log.secret("job", 2, 1)) == (None, SECRET)
    log.forget_job("job")
    assert log.secret("job", 2, 1) is None


# -------------------------------------------------------------------- jobs


def test_what_was_agreed_to_first_stays(log: PartyLog) -> None:
    assert log.job("job") is None
    log.keep_job("job", b"study", "key")
    log.keep_job("job", b"another study", "another key")
    assert log.job("job") == (b"study", "key")
    assert log.job("other") is None


def test_a_forgotten_job_leaves_no_vector_and_stays_bound(log: PartyLog) -> None:
    log.keep_job("job", b"study", "key")
    log.keep_job("other", b"study", "key")
    for job in ("job", "other"):
        log.remember_commitment(job, 1, 1, KEPT, SECRET)
        log.claim_submission(job, 1, 1, b"list", PROOF)
    log.consume("job", 1, b"opening", [b"c"])
    log.forget_job("job")
    assert (log.job("job"), log.commitment("job", 1, 1)) == (None, None)
    assert (log.job("other"), log.commitment("other", 1, 1)) == ((b"study", "key"), KEPT)
    with pytest.raises(ContributionRefused):
        log.claim_submission("job", 1, 1, b"another", PROOF)
    with pytest.raises(GateRefused):
        log.consume("job", 1, b"another", [b"d"])


# -------------------------------------------------------------------- openings


def test_the_same_opening_may_be_asked_for_again(log: PartyLog) -> None:
    for _ in range(3):
        log.consume("job", 1, b"opening", [b"a", b"b"])


def test_a_round_is_opened_once(log: PartyLog) -> None:
    log.consume("job", 1, b"opening", [b"a", b"b"])
    with pytest.raises(GateRefused, match="Round 1 was opened with another list"):
        log.consume("job", 1, b"another", [b"c", b"d"])
    # Other rounds and jobs are other openings.
    log.consume("job", 2, b"another", [b"c", b"d"])
    log.consume("other", 1, b"a third", [b"e", b"f"])


@pytest.mark.parametrize(("job", "number"), [("job", 2), ("other", 1)])
def test_a_contribution_is_opened_once_in_any_round_of_any_job(
    log: PartyLog, job: str, number: int
) -> None:
    log.consume("job", 1, b"opening", [b"a", b"b", b"c"])
    with pytest.raises(GateRefused, match="opened in an earlier sum"):
        log.consume(job, number, b"another", [b"d", b"e", b"b"])


def test_a_refused_opening_leaves_no_trace(log: PartyLog) -> None:
    log.consume("job", 1, b"opening", [b"a"])
    with pytest.raises(GateRefused):
        log.consume("job", 2, b"overlapping", [b"new", b"a"])
    # Neither the round nor the contribution that was new counts as opened.
    log.consume("job", 2, b"clean", [b"new", b"b"])


def _winners(consume: Sequence[Callable[[bytes], None]], pool: ThreadPoolExecutor) -> int:
    """Return how many of these openings of one round came through."""
    barrier = threading.Barrier(len(consume))

    def attempt(number: int) -> bool:
        barrier.wait()
        try:
            consume[number](bytes([number]))
        except GateRefused:
            return False
        return True

    return sum(pool.map(attempt, range(len(consume))))


def test_threads_at_once_open_a_round_once(log: PartyLog) -> None:
    with ThreadPoolExecutor(4) as pool:
        for number in range(12):

            def consume(opening: bytes, number: int = number) -> None:
                log.consume("job", number, opening, [f"{number}".encode() + opening])

            assert _winners([consume] * 4, pool) == 1


# -------------------------------------------------------------------- on disk


def test_what_was_decided_survives_reopening(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    before = SqliteRoundLog(path)
    before.keep_job("job", b"study", "key")
    before.remember_commitment("job", 1, 1, KEPT, SECRET)
    before.claim_submission("job", 1, 1, b"list", PROOF)
    before.consume("job", 1, b"opening", [b"a"])
    after = SqliteRoundLog(path)
    assert (after.job("job"), after.commitment("job", 1, 1)) == ((b"study", "key"), KEPT)
    after.claim_submission("job", 1, 1, b"list", PROOF)
    after.consume("job", 1, b"opening", [b"a"])
    with pytest.raises(ContributionRefused):
        after.claim_submission("job", 1, 1, b"another", PROOF)
    with pytest.raises(GateRefused):
        after.consume("job", 1, b"another", [b"b"])
    with pytest.raises(GateRefused):
        after.consume("job", 2, b"another", [b"a"])


def test_what_was_forgotten_is_not_on_the_disk_any_more(tmp_path: Path) -> None:
    path, secret = tmp_path / "state.sqlite", b"never to be found again " * 400
    log = SqliteRoundLog(path)
    log.remember_commitment("job", 1, 1, KEPT, secret)
    assert secret[:48] in b"".join(file.read_bytes() for file in tmp_path.iterdir())
    log.remember_commitment("job", 2, 1, KEPT, SECRET)
    assert secret[:48] not in b"".join(file.read_bytes() for file in tmp_path.iterdir())


def _consume_all(path: str, own: bytes, rounds: int) -> list[int]:
    """Open every round in this process's way; return those that were let through."""
    log = SqliteRoundLog(Path(path))
    opened = []
    for number in range(rounds):
        try:
            log.consume("job", number, own, [own + bytes([number])])
        except GateRefused:
            continue
        opened.append(number)
    return opened


def test_two_processes_at_once_open_every_round_once(tmp_path: Path) -> None:
    rounds = 40
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        # Both are up before either begins.
        list(pool.map(time.sleep, [0.2, 0.2]))
        futures: list[Future[list[int]]] = [
            pool.submit(_consume_all, str(tmp_path / "state.sqlite"), own, rounds)
            for own in (b"x", b"y")
        ]
        first, second = (future.result() for future in futures)
    assert sorted([*first, *second]) == list(range(rounds))


def test_many_at_once_open_a_new_file(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        for number in range(12):
            path, barrier = tmp_path / str(number), threading.Barrier(4)

            def make(_: int, path: Path = path, barrier: threading.Barrier = barrier) -> None:
                barrier.wait()
                SqliteRoundLog(path).consume("job", 1, b"opening", [b"a"])

            assert list(pool.map(make, range(4))) == [None] * 4


def _damage(path: Path, how: str) -> None:
    match how:
        case "no database":
            path.write_bytes(b"something else entirely" * 100)
        case "cut short":
            path.write_bytes(path.read_bytes()[:1000])
        case "a page overwritten":
            data = bytearray(path.read_bytes())
            data[100:4096] = b"\xff" * 3996
            path.write_bytes(data)
        case _:
            path.unlink()
            path.mkdir()


HOWS = ("no database", "cut short", "a page overwritten", "a folder")


@pytest.mark.parametrize("how", HOWS)
def test_a_damaged_file_is_refused_when_it_is_opened(tmp_path: Path, how: str) -> None:
    path = tmp_path / "state.sqlite"
    log = SqliteRoundLog(path)
    log.consume("job", 1, b"opening", [b"a"])
    log.close()
    _damage(path, how)
    with pytest.raises(EnvironmentUnfit, match=r"state\.sqlite") as refused:
        SqliteRoundLog(path)
    assert refused.value.exit_code == 3


@pytest.mark.parametrize("how", HOWS)
def test_a_file_damaged_while_in_use_lets_nothing_through(tmp_path: Path, how: str) -> None:
    path = tmp_path / "state.sqlite"
    log = SqliteRoundLog(path)
    log.consume("job", 1, b"opening", [b"a"])
    _damage(path, how)
    # Refused for the damage, or because what was opened is still known from the write-ahead log.
    with pytest.raises((EnvironmentUnfit, GateRefused)):
        log.consume("job", 1, b"another", [b"b"])


def test_a_file_replaced_by_an_empty_one_lets_nothing_through(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    log = SqliteRoundLog(path)
    path.unlink()
    with pytest.raises(EnvironmentUnfit):
        log.consume("job", 1, b"another", [b"b"])


def test_every_commit_is_on_disk_when_it_returns(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    SqliteRoundLog(path).consume("job", 1, b"opening", [b"a"])
    connection = sqlite3.connect(path)
    try:
        mode = connection.execute("PRAGMA journal_mode").fetchone()
        rows = connection.execute("SELECT job, round, opening FROM opening").fetchall()
    finally:
        connection.close()
    assert (mode, rows) == (("wal",), [("job", 1, b"opening")])


# -------------------------------------------------------------------- orders


def test_an_order_and_a_job_are_bound_to_each_other_for_good(log: PartyLog) -> None:
    assert log.order("job") is None
    for _ in range(2):  # the same again is the run being set up again
        log.bind_order("o1", "job", b"order", Evidence((b"taken",), {"doc:1": b"order"}))
    log.bind_order("o2", "other", b"order 2", Evidence((b"taken 2",)))
    log.keep_job("job", b"study", "key")
    log.forget_job("job")
    for order, job in (("o1", "third"), ("o3", "job"), ("o1", "other")):
        with pytest.raises(OrderRefused) as found:
            log.bind_order(order, job, b"order", Evidence((b"never",)))
        assert found.value.code == "G-55"
    assert (log.order("job"), log.order("other"), log.order("third")) == (
        b"order", b"order 2", None,
    )  # fmt: skip
