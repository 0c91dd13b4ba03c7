"""A hub that comes up with damaged files of jobs: it serves, and names them."""

from __future__ import annotations

import shutil
import threading
from typing import TYPE_CHECKING

import pytest

from federated.engine import ENGINE
from federated.jobs import JobFolder
from fusion.services.homes import HubHome
from tests.deployment.processes import Deployment

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.soak, pytest.mark.deployment, pytest.mark.timeout(300)]

DAMAGED = {
    "job-000000000001": b"",
    "job-000000000002": b'{"job": "job-000000000002", "kind": "tr',
    "job-000000000003": b"\x93\x00rubbish",
    "job-000000000004": b'{"schema": "fusion.job/9"}',
    "job-000000000005": b" " * 100_000,
}


def test_a_hub_with_damaged_jobs_is_up_and_does_the_others(tmp_path: Path) -> None:
    with Deployment(tmp_path, ["north"]) as deployment:
        hub = HubHome.open(deployment.hub)
        first = ENGINE.ping(hub, 1)
        *_, end = ENGINE.follow(hub, first, stop=threading.Event())
        assert end["status"] == "done"
        deployment.kill("hub")
        for name, data in DAMAGED.items():
            shutil.copytree(hub.runs / first, hub.runs / name)
            (hub.runs / name / "job.json").write_bytes(data)
        vertical = JobFolder.create(hub.runs, "a study", kind="vertical")
        vertical.update(status="running", starts=6)
        (vertical.path / "dealing.json").write_bytes(b"{")
        deployment.start("hub")
        deployment.wait_ready(["hub"])
        *_, end = ENGINE.follow(hub, ENGINE.ping(hub, 1), stop=threading.Event())
        assert end["status"] == "done"
        jobs = deployment.json("hub", "status", hub.path)["jobs"]
        listed = {each["job"]: each for each in jobs}
        assert {name for name, each in listed.items() if each["status"] == "damaged"} == set(
            DAMAGED
        )
        assert listed[first]["status"] == "done"
        assert listed[vertical.name]["status"] == "failed"
        said = deployment.log("hub")
        for name in DAMAGED:
            assert said.count(f"{name} stands: ") == 1
        # One that is put back goes on as if nothing had been.
        name = min(DAMAGED)
        whole = (hub.runs / first / "job.json").read_text("utf-8").replace(first, name)
        (hub.runs / name / "job.json").write_text(whole, "utf-8")
        assert JobFolder(hub.runs / name).state()["status"] == "done"
