"""What the front door asks of training: refusals before anything starts, jobs, their records."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from federated.engine import ENGINE, Engine
from federated.jobs import JobFolder, jobs_of
from fusion.errors import EnvironmentUnfit, FusionError, InputInvalid, KeyRefused, StudyInvalid
from fusion.services import engines
from fusion.services.clock import SystemClock
from tests.federation import NAMES, STUDY

if TYPE_CHECKING:
    from fusion.services.homes import HubHome


@pytest.fixture
def hub_up(hub: HubHome) -> HubHome:
    """A hub that looks as if this process served it."""
    hub.ready.write_text(json.dumps({"url": "https://127.0.0.1:1", "pid": os.getpid()}), "utf-8")
    return hub


def line_of(text: str, start: str) -> int:
    """Return the number of the line that starts so."""
    return next(i for i, line in enumerate(text.splitlines(), 1) if line.startswith(start))


def refusal(hub: HubHome, study: str) -> FusionError:
    """Have a study refused; nothing was started by it."""
    with pytest.raises(FusionError) as refused:
        ENGINE.train(hub, study, "study.toml")
    assert not list(hub.runs.glob("*"))
    return refused.value


def test_the_front_door_finds_it_by_entry_point() -> None:
    assert isinstance(engines.training(), Engine)


def test_a_study_is_queued_as_it_was_given(hub_up: HubHome) -> None:
    job = ENGINE.train(hub_up, STUDY, "study.toml")
    folder = JobFolder(hub_up.runs / job)
    assert folder.study.read_text("utf-8") == STUDY
    assert ENGINE.jobs(hub_up) == [
        {"job": job, "status": "queued", "starts": 0, "kind": "training", "origin": "study.toml"}
    ]
    assert ENGINE.result(hub_up, job)["status"] == "running"


def test_an_organisation_that_was_not_admitted_is_named_with_its_line(hub_up: HubHome) -> None:
    text = STUDY.replace('"west"', '"far"')
    error = refusal(hub_up, text)
    assert isinstance(error, StudyInvalid)
    assert error.message.startswith(f"study.toml:{line_of(text, 'organisations')}: far ")
    assert "quorum" not in error.message
    assert all(name in error.hint for name in NAMES)


def test_a_quorum_that_can_not_be_met_is_named_with_its_line(hub_up: HubHome) -> None:
    text = STUDY.replace('"west"', '"far"').replace('"south"', '"away"')
    error = refusal(hub_up, text)
    assert isinstance(error, StudyInvalid)
    assert error.message.startswith(f"study.toml:{line_of(text, 'quorum')}: away, far ")
    assert "With 2 organisations the quorum of 3 can't be met" in error.message


def test_a_mistake_is_named_with_its_line(hub_up: HubHome) -> None:
    text = STUDY.replace("rounds = 2", 'rounds = "two"')
    error = refusal(hub_up, text)
    assert isinstance(error, StudyInvalid)
    assert f"study.toml:{line_of(text, 'rounds')}" in error.message


@pytest.mark.parametrize(
    "change",
    [
        ("threshold = 3", "threshold = 4"),
        ("bits = 2048", "bits = 3072"),
        ('holders = ["north", "east", "south", "west"]', 'holders = ["north", "east", "south"]'),
    ],
)
def test_a_study_whose_key_was_not_imported_is_refused(
    hub_up: HubHome, change: tuple[str, str]
) -> None:
    assert change[0] in STUDY
    assert isinstance(refusal(hub_up, STUDY.replace(*change)), KeyRefused)


def _dead() -> int:
    """Return the number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


@pytest.mark.parametrize(
    "ready", [None, "", "junk", "[]", "{}", '{"pid": null}', '{"pid": "x"}', "dead"]
)
def test_a_hub_that_is_not_up_takes_no_job(hub: HubHome, ready: str | None) -> None:
    if ready is not None:
        text = json.dumps({"pid": _dead()}) if ready == "dead" else ready
        hub.ready.write_text(text, "utf-8")
    error = refusal(hub, STUDY)
    assert isinstance(error, EnvironmentUnfit)
    assert str(hub.path) in error.hint
    with pytest.raises(EnvironmentUnfit):
        ENGINE.ping(hub, 3)


def test_empty_exchanges_are_queued(hub_up: HubHome) -> None:
    job = ENGINE.ping(hub_up, 3)
    assert JobFolder(hub_up.runs / job).state() == {
        "job": job, "status": "queued", "starts": 0, "kind": "pings", "count": 3,
    }  # fmt: skip


def test_a_job_is_followed_to_its_end_and_its_record_kept(hub_up: HubHome) -> None:
    job = ENGINE.train(hub_up, STUDY, "study.toml")
    folder = JobFolder(hub_up.runs / job)
    folder.emit({"event": "start", "job": job, "study": "made-up"}, SystemClock())
    ending = {"event": "end", "status": "failed", "message": "why", "exit_code": 6}
    folder.emit(ending, SystemClock())
    events = list(ENGINE.follow(hub_up, job, stop=threading.Event()))
    assert [event["event"] for event in events] == ["start", "end"]
    record = ENGINE.result(hub_up, job)
    assert (record["job"], record["status"], record["exit_code"]) == (job, "failed", 6)


def test_a_run_is_asked_to_stop_while_it_is_open(hub_up: HubHome) -> None:
    job = ENGINE.train(hub_up, STUDY, "study.toml")
    folder = JobFolder(hub_up.runs / job)
    assert not folder.stop_wanted.exists()
    ENGINE.stop(hub_up, job)
    assert folder.stop_wanted.exists()


@pytest.mark.parametrize("status", ["done", "failed", "stopped"])
def test_a_run_that_has_ended_is_not_stopped(hub_up: HubHome, status: str) -> None:
    folder = JobFolder(hub_up.runs / ENGINE.train(hub_up, STUDY, "study.toml"))
    folder.update(status=status)
    with pytest.raises(InputInvalid, match="ended already"):
        ENGINE.stop(hub_up, folder.name)
    assert not folder.stop_wanted.exists()


@pytest.mark.parametrize("job", ["job-0", "", ".", "..", "../outside", "/"])
def test_what_is_no_job_of_this_hub_is_refused(hub_up: HubHome, job: str) -> None:
    outside = hub_up.path / "outside"
    outside.mkdir()
    (outside / "job.json").write_text('{"status": "queued"}', "utf-8")
    (outside / "events.jsonl").write_text('{"event": "end"}\n', "utf-8")
    with pytest.raises(InputInvalid, match="no job"):
        ENGINE.result(hub_up, job)
    with pytest.raises(InputInvalid, match="no job"):
        ENGINE.stop(hub_up, job)
    with pytest.raises(InputInvalid, match="no job"):
        list(ENGINE.follow(hub_up, job, stop=threading.Event()))


def test_jobs_are_listed_in_the_order_they_were_made(hub_up: HubHome) -> None:
    names = [ENGINE.train(hub_up, STUDY, "study.toml") for _ in range(4)]
    for seconds, name in enumerate(names):
        os.utime(hub_up.runs / name / "study.toml", (seconds, seconds))
    # The oldest is the one that something happened to last.
    JobFolder(hub_up.runs / names[0]).update(status="running")
    assert [job.name for job in jobs_of(hub_up.runs)] == names
    assert [job["job"] for job in ENGINE.jobs(hub_up)] == names
