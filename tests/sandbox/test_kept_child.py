"""A process that is kept: many requests at once, each with its end; and when it dies."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fusion.errors import FusionError, WorkCancelled, WorkCrashed, WorkOutputTooLarge, WorkTimedOut
from sandbox import kept_child
from sandbox.kept_child import KeptChild

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MODULE = "tests.sandbox.kept_work"
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ["PYTHONPATH"]]))


@pytest.fixture
def child() -> Iterator[KeptChild]:
    """One that ends in time what is cancelled, on whatever machine."""
    found = KeptChild(MODULE, b"", grace=60)
    yield found
    found.close()


@pytest.fixture
def impatient() -> Iterator[KeptChild]:
    """One that is killed soon when it does not end what is cancelled."""
    found = KeptChild(MODULE, b"", grace=0.5)
    yield found
    found.close()


def _until(there: Callable[[], bool], seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while not there() and time.monotonic() < end:
        time.sleep(0.02)
    return there()


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_one_process_answers_many_at_once(child: KeptChild) -> None:
    large = os.urandom(3_000_000)
    pid = child.pid
    with ThreadPoolExecutor(4) as pool:
        asked = [b"abc", large, b"xyz", large[:7]]
        found = list(pool.map(lambda each: child.run(each, seconds=60), asked))
    assert found == [each[::-1] for each in asked]
    with pytest.raises(WorkCrashed) as failed:
        child.run(b"fail", seconds=60)
    assert failed.value.details == "ValueError: the reason "
    assert "reason" not in failed.value.message + failed.value.hint
    assert child.pid == pid


def test_what_is_cancelled_ends_and_others_go_on(child: KeptChild) -> None:
    pid, stop = child.pid, threading.Event()
    child.run(b"up", seconds=60)
    with ThreadPoolExecutor(2) as pool:
        waits = pool.submit(child.run, b"wait", stop=stop, seconds=60)
        timed = pool.submit(child.run, b"wait", seconds=0.3)
        assert child.run(b"abc", seconds=60) == b"cba"
        with pytest.raises(WorkTimedOut):
            timed.result(60)
        stop.set()
        with pytest.raises(WorkCancelled):
            waits.result(60)
    assert child.pid == pid
    assert child.run(b"abc", seconds=60) == b"cba"


def test_what_does_not_end_is_killed_with_what_it_started(impatient: KeptChild) -> None:
    child = impatient
    pid, started = child.pid, int(child.run(b"start", seconds=60))
    assert _alive(started)
    with ThreadPoolExecutor(1) as pool:
        beside = pool.submit(child.run, b"hang", seconds=60)
        with pytest.raises(WorkTimedOut):
            child.run(b"hang", seconds=0.2)
        with pytest.raises(WorkCrashed):
            beside.result(60)
    assert _until(lambda: not _alive(started))
    assert child.run(b"abc", seconds=60) == b"cba"
    assert child.pid != pid


@pytest.mark.parametrize("how", [b"die", b"end"])
def test_one_that_died_is_started_again(
    child: KeptChild, how: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    pid = child.pid
    with pytest.raises(WorkCrashed):
        child.run(how, seconds=60)
    # Without anybody asking.
    assert _until(lambda: child.pid != pid)
    assert "started again" in caplog.text
    assert child.run(b"abc", seconds=60) == b"cba"


def test_what_can_not_open_says_so_to_the_owner(caplog: pytest.LogCaptureFixture) -> None:
    never = KeptChild(MODULE, b"never")
    try:
        for _ in range(2):
            with pytest.raises(FusionError) as failed:
                never.run(b"abc", seconds=60)
            assert "engine" not in str(failed.value)
        assert "there is no such engine" in caplog.text
    finally:
        never.close()


def test_while_it_opens_requests_wait_or_are_given_up(tmp_path: Path) -> None:
    late = KeptChild(MODULE, f"late {tmp_path}/open".encode(), grace=60)
    try:
        pid = late.pid
        with pytest.raises(WorkTimedOut):
            late.run(b"abc", seconds=0.1)
        (tmp_path / "open").touch()
        assert late.run(b"abc", seconds=60) == b"cba"
        assert late.pid == pid
    finally:
        late.close()


def test_an_answer_is_no_larger_than_it_may_be(
    child: KeptChild, monkeypatch: pytest.MonkeyPatch
) -> None:
    child.run(b"abc", seconds=60)
    monkeypatch.setattr(kept_child, "MAX_ANSWER_BYTES", 10)
    with pytest.raises(WorkOutputTooLarge):
        child.run(b"longer than ten", seconds=60)


def test_it_ends_with_its_node(child: KeptChild) -> None:
    started = int(child.run(b"start", seconds=60))
    process = child._process._process
    child._closed = True
    assert process.stdin is not None
    process.stdin.close()  # as when the node dies
    assert process.wait(60) != 0
    assert _until(lambda: not _alive(started))
