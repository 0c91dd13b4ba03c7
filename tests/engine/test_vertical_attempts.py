"""What a hub, or who may order some runs, tries with jobs and their attempts."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from federated.cohort import Reply, Request
from federated.jobs import JobFolder
from federated.vertical.dealing import Dealers, ask_to_deal, is_asked
from federated.vertical.party import MAX_JOBS
from federated.vertical.study import parse_vertical
from fusion.identity.members import AUTHORITY
from tests.conversing.network import Cut
from tests.engine.test_vertical import Killed, _entries, _text, world
from tests.engine.vertical_world import LABEL, World
from tests.vertical.studies import boosting, linear

if TYPE_CHECKING:
    from federated.vertical.party import VerticalParty

__all__ = ["world"]


def test_a_run_that_has_ended_is_not_agreed_to_again(world: World) -> None:
    """The hub could have it run over and over, under one order and one charge."""
    for name in world.nodes:
        world.grant(name)
    text = _text(linear(epochs=1))
    job, events = world.run(text)
    assert events[-1]["status"] == "done"
    study = parse_vertical(text, "study.toml").canonical().decode()
    order = (JobFolder(world.hub.runs / job).order() or b"").decode()
    head = {"job": job, "study": study, "order": order}
    party = world.start("south")
    for _ in range(2):
        failure = party.handle(Request("prepare", head)).failure
        assert failure is not None
        assert "has ended" in failure.message
        assert party.handle(Request("leave", {"job": job, "status": "done"})).failure is None
    ends = [entry for entry in _entries(world.nodes["south"]) if b'"job-ended"' in entry]
    assert len(ends) == 1


def test_a_job_that_works_is_not_ended_for_another(world: World) -> None:
    """Else whoever may order some runs could end those of others."""
    world.grant("south", permissions__align__runs=9, permissions__train__runs=9)
    party, text = world.start("south"), _text(linear(), patience=150.0)
    study = parse_vertical(text, "study.toml").canonical().decode()

    def prepare(job: str) -> Reply:
        head = {"job": job, "study": study, "order": world.order(text)[1].decode()}
        return party.handle(Request("prepare", head))

    for number in range(MAX_JOBS):
        assert prepare(f"job-{number:012x}").failure is None
        begun = party.handle(Request("begin", {"job": f"job-{number:012x}", "attempt": 1}))
        assert begun.head["standing"]["state"] == "aligning"
    failure = prepare(f"job-{9:012x}").failure
    assert failure is not None
    assert failure.code == "F-026"
    looked = party.handle(Request("look", {"job": f"job-{0:012x}"}))
    assert looked.head["standing"]["state"] == "aligning"
    assert (
        party.handle(Request("leave", {"job": f"job-{1:012x}", "status": "failed"})).failure is None
    )
    assert prepare(f"job-{8:012x}").failure is None


@pytest.mark.parametrize("model", [boosting("dealer", trees=30), linear(epochs=40)])
def test_a_hub_that_is_started_anew_in_mid_run_costs_an_attempt(world: World, model: str) -> None:
    """With it its dealer is gone, who alone knew masks: parties are told so, and begin again."""
    for name in world.nodes:
        world.grant(name)
    job, lost = world.job(_text(model, patience=150.0)), threading.Event()

    def lose(name: str, request: Request) -> None:
        if name == "south" and request.kind == "look" and not lost.is_set():
            standing = world.parties["south"].handle(request).head["standing"]
            if standing["step"] >= 2:
                lost.set()
                raise Killed

    def cut(sender: str, peer: str, data: bytes) -> bytes:
        if lost.is_set() and AUTHORITY in (sender, peer):
            raise Cut
        return data

    world.network.fault = cut
    with pytest.raises(Killed):
        world.run("", before=lose, job=job)
    gone = world.network.registries.pop(AUTHORITY)
    time.sleep(0.3)  # parties dial, and nobody answers
    world.network.fault = lambda _, __, data: data
    world.serve()
    began = time.monotonic()
    _, events = world.run("", job=job)
    gone.close()
    assert events[-1]["status"] == "done", events[-1]
    first, again = (event for event in events if event["event"] == "attempt")
    assert (first["number"], again["number"]) == (1, 2)
    assert again["step"] >= 2
    assert "started anew" in again["reason"]
    # What was sent is that of both attempts: records were aligned in the first one alone.
    (kept,) = (event for event in events if event["event"] == "model")
    assert all(each["aligning"] > 0 < each["training"] for each in kept["sent"].values())
    sizes = [event["bytes"] for event in events if event["event"] == "step"]
    assert sizes == sorted(sizes)
    assert sum(sum(each.values()) for each in kept["sent"].values()) >= sizes[-1]
    assert time.monotonic() - began < 140, "nobody waited for the old dealer"


def test_an_attempt_that_its_dealer_was_not_asked_for_is_not_gone_on_with(world: World) -> None:
    """After a start of the run's process, nobody knows from which step it began."""
    for name in world.nodes:
        world.grant(name)
    job, lost = world.job(_text(linear(epochs=3))), threading.Event()

    def lose(name: str, request: Request) -> None:
        del name
        if request.kind == "look" and not lost.is_set():
            states = [world.parties[n].handle(request).head["standing"] for n in world.nodes]
            if {each["state"] for each in states} == {"training"}:
                lost.set()
                raise Killed

    with pytest.raises(Killed):
        world.run("", before=lose, job=job)
    assert not is_asked(job, 1)
    _, events = world.run("", job=job)
    assert events[-1]["status"] == "done", events[-1]
    assert [e["number"] for e in events if e["event"] == "attempt"] == [1, 2]


class Working:
    """A party that takes part, and says that it works when it does not any more."""

    def __init__(self, party: VerticalParty) -> None:
        self._party = party

    def handle(self, request: Request) -> Reply:
        reply = self._party.handle(request)
        standing = reply.head.get("standing")
        if standing is None or not standing["attempt"]:
            return reply
        head = {"standing": {**standing, "state": "training", "failure": None}}
        return Reply(reply.organisation, head)


def test_who_says_that_it_works_when_all_others_are_done_is_named(world: World) -> None:
    """The hub would look for ever."""
    for name in world.nodes:
        world.grant(name)
    text = _text(boosting("dealer", trees=2), patience=20.0)
    text = text.replace("patience = 20.0", "patience = 20.0\nlongest_step = 2")

    def lie(name: str, request: Request) -> None:
        if name == "south" and request.kind == "begin":
            world.lies["south"] = Working(world.parties["south"])

    _, events = world.run(text, before=lie)
    end = events[-1]
    assert (end["status"], end["code"], end["exit_code"]) == ("failed", "F-604", 6)
    assert "south still works 2 s after others have ended" in end["message"]


@pytest.mark.parametrize("rows", [0, 1, 2**31 - 1])
def test_rows_that_can_not_be_dealt_for_do_not_end_the_hub(world: World, rows: int) -> None:
    """How many rows train is the label party's word; the hub serves everybody else, too."""
    dealers = Dealers(world.hub, world.network.join(AUTHORITY))
    jobs = []
    for said in (rows, 100):
        text = _text(linear())
        order = world.order(text)
        job = JobFolder.create(world.hub.runs, text, ordered=order, kind="vertical")
        ask_to_deal(job, 1, said, 0)
        jobs.append(job.name)
    hub = world.network.registries[AUTHORITY]
    try:
        for _ in range(2):
            dealers.look()
        found = [hub.find(f"{job}.train", 1, LABEL) is not None for job in jobs]
    finally:
        dealers.close()
    assert found == [False, True]
