"""A job at the hub over real folders: run, resumed after a crash, ended whatever happens."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from federated.cohort import InProcessCohort, Reply, Request
from federated.jobs import JobFolder
from federated.party import Party
from federated.pings import do_pings
from federated.seats import seat_of
from federated.work import do_job
from fusion.errors import InputInvalid
from fusion.services.clock import SystemClock
from tests.federation import NAMES, STUDY

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from federated.cohort import Answering, Cohort
    from fusion.services.homes import HubHome, NodeHome
    from fusion.types import OrgId

CLOCK = SystemClock()


class Crash(Exception):
    """The hub's process ends here."""


@dataclass
class Member:
    """A node's party, and what happens before it answers."""

    party: Party
    before: Callable[[Request], None]

    def handle(self, request: Request) -> Reply:
        self.before(request)
        return self.party.handle(request)


def cohort_of(
    nodes: Mapping[str, NodeHome],
    notes: dict[str, list[str]],
    before: Callable[[Request], None] = lambda _: None,
) -> Callable[[Mapping[OrgId, str]], Cohort]:
    """Return what makes the cohort: every party from its own folder, as after a restart."""

    def make(keys: Mapping[OrgId, str]) -> Cohort:
        parties: dict[OrgId, Answering] = {
            name: Member(Party(seat_of(nodes[name], notes.setdefault(name, []).append)), before)
            for name in keys
        }
        return InProcessCohort(parties)

    return make


def do(
    hub: HubHome, job: JobFolder, make: Callable[[Mapping[OrgId, str]], Cohort]
) -> list[dict[str, object]]:
    """Do a job; return its events."""
    do_job(hub, job, make, CLOCK, lambda _: None)
    return job.read_events()


def test_a_job_crashes_is_resumed_and_leaves_a_model(
    hub: HubHome, nodes: dict[str, NodeHome]
) -> None:
    job = JobFolder.create(hub.runs, STUDY)
    notes: dict[str, list[str]] = {}
    submitted = 0

    def crash_in_round_one(request: Request) -> None:
        nonlocal submitted
        submitted += request.kind == "submit"
        # Four for the moments; then two of round 1.
        if submitted == 6:
            raise Crash

    with pytest.raises(Crash):
        do(hub, job, cohort_of(nodes, notes, crash_in_round_one))
    assert job.state()["status"] == "running"
    assert not job.model.exists()

    events = do(hub, job, cohort_of(nodes, notes))
    assert (job.state()["status"], events[-1]["event"]) == ("done", "end")
    # The moments were not summed again: what was done before the crash was kept.
    summed = [event["round"] for event in events if event["event"] == "round"]
    assert summed == [0, 1, 2, 3]
    openings = [line for line in notes["north"] if "sum opened" in line]
    assert len(openings) == 4
    model = json.loads(job.model.read_text("utf-8"))
    assert (model["schema"], model["kind"]) == ("banyan.model/1", "logistic")
    assert len(model["parameters"]) == sum(
        int(shape[0]) * (int(shape[1]) if len(shape) > 1 else 1) for _, shape in model["shapes"]
    )
    assert model["standardisation"]
    # Nobody but the hub and its own disk saw it: the roster could not be asked for.
    assert any("could not be refreshed" in line for line in notes["north"])


def test_a_run_is_stopped_before_its_next_round(hub: HubHome, nodes: dict[str, NodeHome]) -> None:
    job = JobFolder.create(hub.runs, STUDY)

    def stop_in_round_one(request: Request) -> None:
        if request.kind == "contribute" and request.blobs.get("model"):
            job.stop_wanted.touch()

    notes: dict[str, list[str]] = {}
    events = do(hub, job, cohort_of(nodes, notes, stop_in_round_one))
    assert [event["round"] for event in events if event["event"] == "round"] == [0, 1]
    assert events[-1]["status"] == job.state()["status"] == "stopped"
    assert "after round 1 of 2" in str(events[-1]["message"])
    assert not job.model.exists()
    assert "stopped" in notes["north"][-1]


def _without_data(node: NodeHome) -> None:
    file = node.path / "node.toml"
    text = file.read_text("utf-8")
    assert "people" in text
    file.write_text(re.sub(r"(?m)^.*people.*$", "", text), "utf-8")


def test_a_party_that_can_not_take_part_ends_the_job_by_name(
    hub: HubHome, nodes: dict[str, NodeHome]
) -> None:
    _without_data(nodes["south"])
    nodes["south"] = type(nodes["south"]).open(nodes["south"].path)
    job = JobFolder.create(hub.runs, STUDY, "people.toml")
    notes: dict[str, list[str]] = {}
    events = do(hub, job, cohort_of(nodes, notes))
    assert (events[-1]["status"], events[-1]["exit_code"]) == ("failed", InputInvalid.exit_code)
    # The line is that of the key in the study's file, by the name the file had.
    dataset = next(i for i, line in enumerate(STUDY.splitlines(), 1) if line.startswith("dataset"))
    assert str(events[-1]["message"]).startswith(f"south: people.toml:{dataset}: ")
    assert job.state()["exit_code"] == InputInvalid.exit_code
    # Everyone who is still there is told how it ended.
    assert "south: " in notes["north"][-1]


@pytest.mark.parametrize(
    ("change", "exit_code"),
    [(("rounds = 2", "rounds = -2"), 2), (("threshold = 3", "threshold = 4"), 4)],
)
def test_what_can_not_begin_ends_the_job_as_well(
    hub: HubHome, nodes: dict[str, NodeHome], change: tuple[str, str], exit_code: int
) -> None:
    job = JobFolder.create(hub.runs, STUDY.replace(*change))
    events = do(hub, job, cohort_of(nodes, {}))
    assert [event["event"] for event in events] == ["end"]
    assert (events[0]["exit_code"], job.state()["status"]) == (exit_code, "failed")


def test_empty_exchanges_say_who_did_not_answer(hub: HubHome, nodes: dict[str, NodeHome]) -> None:
    asked = 0

    def away(_: Request) -> None:
        nonlocal asked
        asked += 1
        # Members come in the roster's order: east, north, south, west; then east again.
        if asked == 5:
            raise TimeoutError

    job = JobFolder.create_pings(hub.runs, 3)
    do_pings(hub, job, cohort_of(nodes, {}, away), CLOCK)
    events = job.read_events()
    assert [event.get("missing") for event in events] == [[], [min(NAMES)], [], None]
    assert (events[-1]["status"], job.state()["status"]) == ("done", "done")
