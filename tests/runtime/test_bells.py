"""Bells wake who waits: nobody has to poll."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from fusion.link.bell import Bell
from fusion.link.rings import Rings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LONG = 600.0
"""Longer than a test may take: whoever waits so long fails it."""


# -------------------------------------------------------------------- the bell


def test_every_ring_counts_whoever_rang(tmp_path: Path) -> None:
    path = tmp_path / "bell"
    assert Bell(path).rings() == 0
    assert not path.exists()
    bells = [Bell(path) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: bells[number % 4].ring(), range(100)))
    code = "import pathlib, sys; from fusion.link.bell import Bell; Bell(pathlib.Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", f"{code}.ring()", str(path)], check=True)
    assert Bell(path).rings() == 101
    assert path.stat().st_mode & 0o777 == 0o600


def _wait(bell: Bell, heard: int, seconds: float) -> int:
    return bell.wait(heard, seconds)


def _wait_async(bell: Bell, heard: int, seconds: float) -> int:
    return asyncio.run(bell.wait_async(heard, seconds))


@pytest.mark.parametrize("wait", [_wait, _wait_async])
def test_who_waits_is_woken(tmp_path: Path, wait: Callable[[Bell, int, float], int]) -> None:
    bell = Bell(tmp_path / "bell")
    for heard in range(3):
        with ThreadPoolExecutor(3) as pool:
            waiting = [pool.submit(wait, bell, heard, LONG) for _ in range(3)]
            Bell(tmp_path / "bell").ring()
            assert [future.result(60) for future in waiting] == [heard + 1] * 3


@pytest.mark.parametrize("wait", [_wait, _wait_async])
def test_a_ring_before_the_waiting_is_not_lost(
    tmp_path: Path, wait: Callable[[Bell, int, float], int]
) -> None:
    bell = Bell(tmp_path / "bell")
    bell.ring()
    bell.ring()
    assert wait(bell, 0, LONG) == 2


@pytest.mark.parametrize("wait", [_wait, _wait_async])
def test_nobody_waits_longer_than_asked_for(
    tmp_path: Path, wait: Callable[[Bell, int, float], int]
) -> None:
    bell = Bell(tmp_path / "bell")
    assert wait(bell, 0, 0.0) == 0
    bell.ring()
    assert wait(bell, 1, 0.05) == 1


def test_a_bell_between_threads_counts_too() -> None:
    bell = Rings()
    assert bell.wait(0, 0.0) == 0
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(bell.wait, 0, LONG) for _ in range(3)]
        bell.ring()
        assert [future.result(60) for future in waiting] == [1] * 3
    bell.ring()
    assert bell.wait(1, LONG) == bell.rings() == 2
