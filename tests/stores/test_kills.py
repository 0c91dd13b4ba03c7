"""kill -9 of real writers, again and again: nothing acknowledged is lost, nothing is half there."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING, Final

import pytest

from fusion.crypto import rng
from fusion.ledger import merkle
from fusion.stores.ledger import SqliteLedger
from fusion.stores.rounds import SqliteRoundLog

if TYPE_CHECKING:
    from pathlib import Path

WRITERS: Final = 3
WRITER: Final = """
import sys
from pathlib import Path
from fusion.stores.ledger import SqliteLedger
from fusion.stores.rounds import SqliteRoundLog

path, job = Path(sys.argv[1]), sys.argv[2]
rounds, ledger = SqliteRoundLog(path), SqliteLedger(path)
print("up", flush=True)
number = 0
while True:
    name = f"{job} {number}"
    if number % 2:
        ledger.append([name.encode()])
    else:
        rounds.consume(job, number, name.encode(), [f"c {name}".encode()], name.encode())
    print(name, flush=True)
    number += 1
"""


def _write_and_kill(path: Path, turn: int) -> list[str]:
    """Let three writers at the file, kill each at some moment; return what they acknowledged."""
    names = [f"turn{turn}-{number}" for number in range(WRITERS)]
    said = [path.parent / name for name in names]
    writers = []
    for name, file in zip(names, said, strict=True):
        with file.open("wb") as out:
            words = [sys.executable, "-c", WRITER, str(path), name]
            writers.append(subprocess.Popen(words, stdout=out))
    until = time.monotonic() + 60
    while any(file.stat().st_size < 16 for file in said) and time.monotonic() < until:
        time.sleep(0.01)
    for writer in writers:
        time.sleep(rng.below(120) / 1000)
        writer.kill()
    for writer in writers:
        writer.wait(timeout=30)
    # The last line may be cut: what was not said in full was not acknowledged.
    return [line for file in said for line in file.read_text("ascii").split("\n")[1:-1]]


def _check(path: Path, acknowledged: list[str]) -> None:
    ledger = SqliteLedger(path)
    size = ledger.size()
    logged = list(ledger.entries(0, size))
    assert len(set(logged)) == size
    assert {name.encode() for name in acknowledged} <= set(logged)
    assert ledger.root(size) == merkle.roots_of(map(merkle.leaf_hash, logged), {size})[size]
    with closing(sqlite3.connect(path)) as connection:
        (state,) = connection.execute("PRAGMA integrity_check").fetchone()
        opened = {row[0] for row in connection.execute("SELECT opening FROM opening")}
    assert state == "ok"
    # An opening and its entry: both or neither, acknowledged or not.
    assert opened == {item for item in logged if int(item.split()[-1]) % 2 == 0}


def _loop(path: Path, turns: int) -> None:
    SqliteRoundLog(path)
    acknowledged: list[str] = []
    for turn in range(turns):
        acknowledged += _write_and_kill(path, turn)
        _check(path, acknowledged)
    assert len(acknowledged) >= turns * WRITERS


def test_twelve_kills_lose_nothing(tmp_path: Path) -> None:
    _loop(tmp_path / "state.sqlite", 4)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_ninety_kills_lose_nothing(tmp_path: Path) -> None:
    _loop(tmp_path / "state.sqlite", 30)
