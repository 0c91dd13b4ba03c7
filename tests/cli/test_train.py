"""``fusion train``: what is said while a run is followed."""

from __future__ import annotations

import io
import json
import os
import threading
from typing import TYPE_CHECKING

import pytest

from federated.jobs import JobFolder
from fusion.cli import runs
from fusion.cli.app import run
from fusion.services.clock import SystemClock
from tests.federation import STUDY
from tests.link.federation import make_hub

if TYPE_CHECKING:
    from pathlib import Path

    from fusion.services.homes import HubHome

END = {"event": "end", "status": "done", "message": "", "exit_code": 0}


@pytest.fixture
def hub(tmp_path: Path) -> HubHome:
    """A hub's folder; it is not up."""
    return make_hub(tmp_path / "hub")


class _Said(io.StringIO):
    """What is said; some looks after the hub was found away, the run ends."""

    def __init__(self, job: JobFolder) -> None:
        super().__init__()
        self._job = job

    def write(self, text: str) -> int:
        if "is not up" in text:
            end_later(self._job)
        return super().write(text)


def end_later(job: JobFolder) -> None:
    """Have a run end a moment from now."""
    timer = threading.Timer(1.0, lambda: job.emit(END, SystemClock()))
    timer.daemon = True
    timer.start()


@pytest.mark.parametrize("up", [False, True])
def test_a_hub_that_is_not_up_is_named_once(
    hub: HubHome, monkeypatch: pytest.MonkeyPatch, *, up: bool
) -> None:
    monkeypatch.setattr(runs, "QUIET_SECONDS", 0.2)
    if up:
        hub.ready.write_text(json.dumps({"pid": os.getpid()}), "utf-8")
    job = JobFolder.create(hub.runs, STUDY)
    said = _Said(job)
    monkeypatch.setattr("sys.stderr", said)
    if up:
        end_later(job)
    assert run(["train", "--follow", job.name, "--hub", str(hub.path)]) == 0
    assert said.getvalue().count("the hub is not up; the run goes on when it is") == (
        0 if up else 1
    )
    assert (f"fusion hub up {hub.path}" in said.getvalue()) is not up


def test_a_report_that_can_not_be_written_is_refused_before_the_run(
    hub: HubHome, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = tmp_path / "study.toml"
    study.write_text(STUDY, "utf-8")
    words = ["train", str(study), "--hub", str(hub.path), "--report", str(tmp_path)]
    assert run(words) == 2
    assert "can't be written: it is a folder" in capsys.readouterr().err
    assert not list(hub.runs.glob("*"))
