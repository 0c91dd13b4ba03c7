"""Many callers, few workers: turns, stock, and nothing left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from fusion.errors import IsolationBusy, WorkCancelled, WorkFailed, WorkTimedOut
from fusion.wire import canonical
from sandbox.isolate import Isolation, Settings
from sandbox.limits import Limits
from sandbox.turns import Turns
from tests.docs.sources import ROOT
from tests.isolation.host import end_of, workers
from tests.isolation.test_isolate import LONG, PROBE, PYTHON, SHORT, script

if TYPE_CHECKING:
    from pathlib import Path

    from sandbox.process import Kind
    from tests.isolation.conftest import Scene


def test_callers_get_places_in_turn() -> None:
    turns, order, ready, begun = Turns(1, 100), [], threading.Event(), threading.Event()
    lock = threading.Lock()

    def ask(caller: str) -> None:
        with turns.turn(caller, None, 100):
            begun.set()
            ready.wait(100)
            with lock:
                order.append(caller)

    threads = []
    for caller in ("first", "many", "many", "many", "few", "many", "few"):
        threads.append(threading.Thread(target=ask, args=(caller,)))
        threads[-1].start()
        # Asked in this order: the first has the place, the others wait behind each other.
        assert begun.wait(60)
        while turns.waiting() < len(threads) - 1:
            time.sleep(0.005)
    ready.set()
    for thread in threads:
        thread.join()
    assert order == ["first", "many", "few", "many", "few", "many", "many"]


def test_a_full_queue_and_a_long_wait_are_refused() -> None:
    turns = Turns(1, 1)
    with turns.turn("a", None, 1):
        with pytest.raises(IsolationBusy), turns.turn("b", None, 0.05):
            pass
        stop = threading.Event()
        stop.set()
        with pytest.raises(WorkCancelled), turns.turn("b", stop, 100):
            pass
        waiter = threading.Thread(target=lambda: _hold(turns))
        waiter.start()
        while not turns.waiting():
            time.sleep(0.01)
        with pytest.raises(IsolationBusy, match="Too many"), turns.turn("c", None, 100):
            pass
    waiter.join()
    assert turns.waiting() == 0
    with turns.turn("a", None, 1):
        pass


def _hold(turns: Turns) -> None:
    with turns.turn("b", None, 100):
        pass


def test_eight_callers_at_once_and_never_more_workers_than_places(kind: Kind) -> None:
    most, stop = [0], threading.Event()

    def watch() -> None:
        while not stop.wait(0.02):
            most[0] = max(most[0], len(workers()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    with (
        Isolation.open(Settings(kind=kind, running=2, spares=1)) as isolation,
        ThreadPoolExecutor(8) as callers,
    ):

        def ask(number: int) -> str:
            request = str(number).encode()
            answer = isolation.run(PROBE, request, {}, LONG, caller=f"caller {number % 4}")
            echo: str = canonical.decode(answer)["echo"]
            return echo

        assert list(callers.map(ask, range(16))) == [str(number) for number in range(16)]
    stop.set()
    watcher.join()
    # Two at work and one idle, each up to three processes of bubblewrap's; one more is on its way.
    assert most[0] <= 4 * 3
    assert not end_of(workers(), 60)


def test_work_without_end_is_killed_and_the_pool_goes_on(kind: Kind) -> None:
    with Isolation.open(Settings(kind=kind, running=1, spares=0)) as isolation:
        hog = script("x = []\nwhile True: x.append(bytearray(50_000)); ")
        with ThreadPoolExecutor(1) as other:
            waiting = other.submit(isolation.run, PROBE, b"next", {}, LONG)
            with pytest.raises(WorkTimedOut):
                isolation.run(PYTHON, script("while True: pass"), {}, SHORT, caller="hog")
            assert canonical.decode(waiting.result(100))["echo"] == "next"
        limits = Limits(wall_seconds=1.5, memory_bytes=1 << 30)
        # Whichever limit it meets first, it comes back.
        with pytest.raises(WorkFailed, match="ended before"):
            isolation.run(PYTHON, hog, {}, limits)
        assert canonical.decode(isolation.run(PROBE, b"on", {}, LONG))["echo"] == "on"


def test_stock_is_bounded_and_closing_leaves_nothing(kind: Kind, scene: Scene) -> None:
    isolation = Isolation.open(Settings(kind=kind, running=1, spares=2))
    for name in ("a", "b", "c"):
        isolation.run(PROBE, b"", {name: scene.inputs["data"]}, LONG)
    assert isolation.idle() <= 2
    isolation.close()
    assert not end_of(workers(), 60)


def test_stock_follows_what_is_asked(kind: Kind, scene: Scene) -> None:
    with (
        Isolation.open(Settings(kind=kind, running=2, spares=2)) as isolation,
        ThreadPoolExecutor(2) as callers,
    ):
        isolation.prepare(PROBE, scene.inputs, LONG)
        asked = [callers.submit(isolation.run, PROBE, b"", {}, LONG) for _ in range(2)]
        assert all(canonical.decode(answer.result(100))["open"] == [] for answer in asked)
        end = time.monotonic() + 60
        while isolation.idle() < 2 and time.monotonic() < end:
            time.sleep(0.02)
        assert isolation.idle() == 2
    assert not end_of(workers(), 60)


def test_a_worker_stands_by_is_used_and_is_replaced_when_it_is_said(
    kind: Kind, scene: Scene
) -> None:
    with Isolation.open(Settings(kind=kind, running=1, spares=1)) as isolation:
        isolation.stand_by(PROBE, scene.inputs, LONG)
        assert isolation.idle() == 1
        (worker,) = (each for _, each in isolation._pool._stock)
        # The same one, ready: nothing is started for who stands by twice, or for the work.
        isolation.stand_by(PROBE, scene.inputs, LONG)
        assert [each for _, each in isolation._pool._stock] == [worker]
        assert worker.ready
        isolation.run(PROBE, b"", scene.inputs, LONG, restock=False)
        assert not worker.alive()
        assert isolation.idle() == 0
        isolation.replenish(PROBE, scene.inputs, LONG)
        end = time.monotonic() + 60
        while isolation.idle() < 1 and time.monotonic() < end:
            time.sleep(0.02)
        assert isolation.idle() == 1
    assert not end_of(workers(), 60)


@pytest.mark.parametrize("spares", [1, 2])
def test_each_of_two_at_once_has_a_worker_that_stands_by(
    kind: Kind, scene: Scene, spares: int
) -> None:
    with Isolation.open(Settings(kind=kind, running=2, spares=spares)) as isolation:
        for number in (1, 2, 2):
            isolation.stand_by(PROBE, scene.inputs, LONG)
            assert [each.ready for _, each in isolation._pool._stock] == [True] * number
        for number in (1, 0):
            isolation.run(PROBE, b"", scene.inputs, LONG, restock=False)
            assert isolation.idle() == number
    assert not end_of(workers(), 60)


class _Failing(threading.Event):
    def is_set(self) -> bool:
        raise OSError("nobody can tell")


def test_who_fails_while_a_worker_gets_ready_leaves_none(kind: Kind, scene: Scene) -> None:
    with Isolation.open(Settings(kind=kind, running=1, spares=1)) as isolation:
        with pytest.raises(OSError, match="nobody can tell"):
            isolation.stand_by(PROBE, scene.inputs, LONG, _Failing())
        assert isolation.idle() == 0
        assert not end_of(workers(), 60)


def test_a_killed_node_leaves_no_worker(kind: Kind, tmp_path: Path) -> None:
    node = subprocess.Popen(
        [sys.executable, "-m", "tests.isolation.parent", kind],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        # The empty folder that a killed process can't remove.
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    # One at work and one idle; bubblewrap adds two processes to each.
    expected = 2 if kind == "landlock" else 6
    found: set[int] = set()
    try:
        end = time.monotonic() + 60
        while len(found) < expected and time.monotonic() < end:
            found = workers(node.pid)
            time.sleep(0.05)
        assert len(found) >= expected
    finally:
        node.kill()
        node.communicate()
    assert not end_of(found, 60)
