"""kill -9 of real writers, again and again: nothing acknowledged is lost, nothing is half there."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from fusion.crypto import rng
from fusion.ledger import merkle

if TYPE_CHECKING:
    from tests.stores.places import Place

ROOT: Final = Path(__file__).parents[2]
WRITERS: Final = 3
WRITER: Final = """
import sys
from tests.stores.places import place_of

place, job = place_of(sys.argv[1]), sys.argv[2]
rounds, ledger = place.rounds(), place.ledger()
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


def _write_and_kill(place: Place, folder: Path, turn: int) -> list[str]:
    """Let three writers at the database, kill each some time; return what they acknowledged."""
    names = [f"turn{turn}-{number}" for number in range(WRITERS)]
    said = [folder / name for name in names]
    writers = []
    for name, file in zip(names, said, strict=True):
        with file.open("wb") as out:
            words = [sys.executable, "-c", WRITER, place.argument, name]
            writers.append(subprocess.Popen(words, stdout=out, cwd=ROOT))
    until = time.monotonic() + 150
    while any(file.stat().st_size < 16 for file in said) and time.monotonic() < until:
        time.sleep(0.01)
    for writer in writers:
        time.sleep(rng.below(120) / 1000)
        writer.kill()
    for writer in writers:
        writer.wait(timeout=100)
    # The last line may be cut: what was not said in full was not acknowledged.
    return [line for file in said for line in file.read_text("ascii").split("\n")[1:-1]]


def _check(place: Place, acknowledged: list[str]) -> None:
    ledger = place.ledger()
    size = ledger.size()
    logged = list(ledger.entries(0, size))
    assert len(set(logged)) == size
    assert {name.encode() for name in acknowledged} <= set(logged)
    assert ledger.root(size) == merkle.roots_of(map(merkle.leaf_hash, logged), {size})[size]
    ledger.close()
    if isinstance(place.at, Path):
        assert place.rows("PRAGMA integrity_check") == [("ok",)]
    opened = {bytes(row[0]) for row in place.rows("SELECT opening FROM opening")}
    # An opening and its entry: both or neither, acknowledged or not.
    assert opened == {item for item in logged if int(item.split()[-1]) % 2 == 0}


def _loop(place: Place, folder: Path, turns: int) -> None:
    place.rounds().close()
    acknowledged: list[str] = []
    for turn in range(turns):
        acknowledged += _write_and_kill(place, folder, turn)
        _check(place, acknowledged)
    assert len(acknowledged) >= turns * WRITERS


def test_six_kills_lose_nothing(place: Place, tmp_path: Path) -> None:
    _loop(place, tmp_path, 2)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_ninety_kills_lose_nothing(place: Place, tmp_path: Path) -> None:
    _loop(place, tmp_path, 30)
