"""A job's folder: events that are followed as they come, and a lock that ends with its holder."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from federated.jobs import JobFolder
from fusion.errors import InputInvalid
from fusion.services.clock import SystemClock

if TYPE_CHECKING:
    from pathlib import Path

CLOCK = SystemClock()
END = {"event": "end", "status": "done", "message": "", "exit_code": 0}


@pytest.fixture
def job(tmp_path: Path) -> JobFolder:
    """A queued job."""
    return JobFolder.create(tmp_path / "runs", "a study")


def test_every_job_has_a_folder_of_its_own(tmp_path: Path) -> None:
    jobs = [JobFolder.create(tmp_path / "runs", f"study {i}") for i in range(8)]
    assert len({job.name for job in jobs}) == 8
    assert [job.study.read_text("utf-8") for job in jobs] == [f"study {i}" for i in range(8)]
    assert {job.path.stat().st_mode & 0o777 for job in jobs} == {0o700}
    assert {job.events.stat().st_mode & 0o777 for job in jobs} == {0o600}


def test_a_change_of_state_leaves_the_rest(job: JobFolder) -> None:
    job.update(status="running", run=17)
    made = {"job": job.name, "kind": "training", "origin": "study.toml", "starts": 0}
    expected = {**made, "status": "running", "run": 17}
    assert job.state() == JobFolder(job.path).state() == expected


def test_a_folder_without_a_state_is_no_job(tmp_path: Path) -> None:
    with pytest.raises(InputInvalid, match="no job nothing"):
        JobFolder(tmp_path / "nothing").state()


def test_events_are_kept_with_their_time(job: JobFolder) -> None:
    job.emit({"event": "start", "study": "融数"}, CLOCK)
    (event,) = job.read_events()
    assert (event["event"], event["study"]) == ("start", "融数")
    assert event["at"].endswith("+00:00")
    assert list(event)[:2] == ["event", "at"]


def test_past_and_coming_events_are_followed_to_the_end(job: JobFolder) -> None:
    job.emit({"event": "start"}, CLOCK)
    following = job.follow(threading.Event())
    assert next(following)["event"] == "start"
    job.emit({"event": "phase", "round": 1}, CLOCK)
    job.emit(END, CLOCK)
    job.emit({"event": "after"}, CLOCK)
    assert [event["event"] for event in following] == ["phase", "end"]


def test_half_a_line_is_waited_for(job: JobFolder) -> None:
    text = json.dumps({**END, "at": "t"}) + "\n"
    job.emit({"event": "start"}, CLOCK)
    with job.events.open("a", encoding="utf-8") as file:
        file.write(text[:20])
    assert [event["event"] for event in job.read_events()] == ["start"]
    found: list[dict[str, Any]] = []
    stop = threading.Event()
    thread = threading.Thread(target=lambda: found.extend(job.follow(stop)))
    thread.start()
    with job.events.open("a", encoding="utf-8") as file:
        file.write(text[20:])
    thread.join(30)
    stop.set()
    assert [event["event"] for event in found] == ["start", "end"]


def test_who_no_longer_wants_to_follow_is_let_go(job: JobFolder) -> None:
    job.emit({"event": "start"}, CLOCK)
    stop = threading.Event()
    following = job.follow(stop)
    assert next(following)["event"] == "start"
    stop.set()
    assert list(following) == []


def test_silence_is_counted_and_ends_with_an_event(job: JobFolder) -> None:
    quiet: list[float] = []

    def on_quiet(seconds: float) -> None:
        quiet.append(seconds)
        if len(quiet) == 2:
            job.emit({"event": "start"}, CLOCK)
        if len(quiet) == 3:
            job.emit(END, CLOCK)

    assert [event["event"] for event in job.follow(threading.Event(), on_quiet)] == ["start", "end"]
    assert quiet[0] == quiet[2] < quiet[1]


def test_a_job_is_worked_on_by_one_at_a_time(job: JobFolder) -> None:
    with job.work() as first:
        with JobFolder(job.path).work() as second:
            assert (first, second) == (True, False)
        # The one that came second has not let the first one's lock go.
        with JobFolder(job.path).work() as third:
            assert not third
    with job.work() as again:
        assert again


def test_the_lock_ends_with_an_error(job: JobFolder) -> None:
    def fail() -> None:
        with job.work():
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with job.work() as free:
        assert free


_HOLD = """
import pathlib, sys
from federated.jobs import JobFolder
with JobFolder(pathlib.Path(sys.argv[1])).work() as free:
    print(free, flush=True)
    sys.stdin.read()
"""


def test_the_lock_ends_with_a_killed_process(job: JobFolder) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(job.path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as holder:  # fmt: skip
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        with job.work() as free:
            assert not free
        holder.kill()
        holder.wait(30)
        with job.work() as free:
            assert free
