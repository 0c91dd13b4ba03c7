"""kill -9 of real writers: what was given is in the file, and the ledger is its replay."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import pytest

from fusion.crypto import rng
from sandbox.history.guard import History
from tests.sandbox.history_people import MEASURE, SCOPE, SECRET
from tests.sandbox.history_writer import POLICY

WRITERS: Final = 3
SCRIPT: Final = Path(__file__).with_name("history_writer.py")
ROOT: Final = SCRIPT.parents[2]
Given = list[tuple[str, dict[str, str]]]


def _start(path: Path, name: str, tables: int) -> tuple[subprocess.Popen[bytes], Path]:
    said = path.parent / name
    words = [sys.executable, str(SCRIPT), str(path), name, str(tables)]
    with said.open("wb") as out:
        # One thread each for numpy's linear algebra: there are several of them.
        environment = {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
        return subprocess.Popen(words, stdout=out, env=environment), said


def _read(said: list[Path]) -> Given:
    """Return what was said in full; the last line may be cut."""
    lines = [line for file in said for line in file.read_text("ascii").split("\n")[1:-1]]
    return [(query, given) for query, given in map(json.loads, lines)]


def _check(path: Path, given: Given) -> None:
    history = History(path, SECRET, POLICY)
    assert history.verify() == 1
    ledger = history.known(SCOPE)
    for _, cells in given:
        for key, value in cells.items():
            # Whoever asked, at any time: one cell has one value.
            assert ledger[key, MEASURE] == value
    numbers = [query for query, _ in given if query]
    assert len(numbers) == len(set(numbers))
    assert history.meter(SCOPE).largest <= POLICY.h_max + 1e-9
    history.close()


def _write_and_kill(path: Path, turn: int) -> Given:
    started = [_start(path, f"turn{turn}-{number}", 10**6) for number in range(WRITERS)]
    until = time.monotonic() + 150
    while any(b"\n" not in said.read_bytes() for _, said in started) and time.monotonic() < until:
        time.sleep(0.01)
    for writer, _ in started:
        time.sleep(rng.below(200) / 1000)
        writer.kill()
    for writer, _ in started:
        writer.wait(timeout=100)
    return _read([said for _, said in started])


def _loop(path: Path, turns: int) -> None:
    given: Given = []
    for turn in range(turns):
        given += _write_and_kill(path, turn)
        _check(path, given)
    assert len(given) >= turns


def test_three_kills_leave_a_ledger_that_is_its_replay(tmp_path: Path) -> None:
    _loop(tmp_path / "history.sqlite", 1)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_ninety_kills_leave_a_ledger_that_is_its_replay(tmp_path: Path) -> None:
    _loop(tmp_path / "history.sqlite", 30)


def test_eight_writers_at_once_make_one_ledger(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite"
    started = [_start(path, f"w{number}", 4) for number in range(8)]
    for writer, _ in started:
        assert writer.wait(timeout=200) == 0
    given = _read([said for _, said in started])
    assert len(given) == 32
    _check(path, given)
