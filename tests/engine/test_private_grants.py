"""Grants that state an epsilon: runs are charged to every holder, refused beyond, with a repair."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from federated.cohort import Request
from federated.jobs import JobFolder
from fusion.services.homes import NodeHome
from fusion.stores.budgets import SqliteBudgets
from tests.engine.test_grants import GRANT, GRANTED, World, _failure
from tests.federation import NAMES
from tests.privacy.private import PRIVACY

if TYPE_CHECKING:
    from fusion.services.homes import HubHome

PRIVATE = (
    GRANTED.replace("steps = 5", "steps = 1")
    .replace("batch = 32", "batch = 512")
    .replace("[key]\n", PRIVACY)
)


def permitting(epsilon_micro: int | None, runs: int = 3) -> dict[str, Any]:
    train = {**GRANT["permissions"]["train"], "runs": runs}
    return {"permissions": {"train": {**train, "epsilon_micro": epsilon_micro}}}


@pytest.fixture
def world(hub: HubHome, nodes: dict[str, NodeHome]) -> World:
    """Nodes that take part in nothing without a grant."""
    strict = {
        name: NodeHome(node.path, node.config.model_copy(update={"require_grants": True}))
        for name, node in nodes.items()
    }
    return World(hub, strict, {})


def used(world: World, grant: str) -> list[int]:
    """Return the epsilon charged at each holder."""
    return [
        SqliteBudgets(world.nodes[name].budgets).used(grant, "train").epsilon_micro
        for name in NAMES
    ]


def test_every_holder_is_charged_and_the_model_says_how_much(world: World) -> None:
    kept = world.grant(**permitting(2_500_000))
    job, events = world.run(PRIVATE)
    assert events[-1]["status"] == "done", events[-1]
    assert used(world, kept.signed.id) == [1_000_000] * 4
    assert all(world.state_of(name, job) == "committed" for name in NAMES)
    model = json.loads(JobFolder(world.hub.runs / job).model.read_text("utf-8"))
    assert model["privacy"]["epsilon_micro"] == 1_000_000
    rounds = [event for event in events if event["event"] == "round"]
    assert rounds[-1]["epsilon_micro"] == 1_000_000


def test_a_third_run_finds_too_little_epsilon_at_every_holder(world: World) -> None:
    kept = world.grant(**permitting(2_500_000))
    for _ in range(2):
        assert world.run(PRIVATE)[1][-1]["status"] == "done"
    _, events = world.run(PRIVATE)
    assert (events[-1]["status"], events[-1]["code"]) == ("failed", "G-32")
    refused = [event for event in events if event.get("status") == "refused"]
    assert {event["organisation"] for event in refused} == set(NAMES)
    assert "epsilon_micro = 500000" in events[-1]["message"]
    assert used(world, kept.signed.id) == [2_000_000] * 4
    # The repair is the one that was told.
    smaller = PRIVATE.replace("epsilon_micro = 1000000", "epsilon_micro = 500000")
    assert world.run(smaller)[1][-1]["status"] == "done"
    assert used(world, kept.signed.id) == [2_500_000] * 4


@pytest.mark.parametrize(
    ("study", "epsilon_micro", "code", "repair"),
    [
        (PRIVATE, 999_999, "G-32", "epsilon_micro = 999999"),
        (GRANTED, 1_000_000, "G-41", "epsilon_micro = 1000000"),
    ],
    ids=["more than is granted", "no privacy asked for"],
)
def test_every_holder_refuses_on_its_own_with_the_repair(
    world: World, study: str, epsilon_micro: int, code: str, repair: str
) -> None:
    kept = world.grant(**permitting(epsilon_micro))
    for name in NAMES:
        found, message = _failure(world.set_up(world.party(name), study))
        assert found == code
        assert repair in message
    assert used(world, kept.signed.id) == [0] * 4


def test_a_study_without_privacy_is_told_which_table_it_lacks(world: World) -> None:
    world.grant(**permitting(1_000_000))
    _, message = _failure(world.set_up(world.party("north"), GRANTED))
    assert "[privacy] with `epsilon_micro`, `delta` and `clip_norm`" in message


def test_a_refusal_names_the_key_of_the_study(world: World) -> None:
    world.grant(**permitting(999_999))
    reply = world.set_up(world.party("north"), PRIVATE)
    assert reply.failure is not None
    assert reply.failure.study_key == "privacy.epsilon_micro"


def test_under_a_grant_without_epsilon_privacy_may_be_had_and_is_not_charged(world: World) -> None:
    kept = world.grant(**permitting(None))
    assert world.run(PRIVATE)[1][-1]["status"] == "done"
    assert used(world, kept.signed.id) == [0] * 4


def test_a_crash_leaves_the_epsilon_charged_once(world: World) -> None:
    kept = world.grant(**permitting(1_000_000))
    for _ in range(3):  # set up, and set up again by what comes after a crash
        assert world.set_up(world.party("north"), PRIVATE).failure is None
    assert used(world, kept.signed.id)[0] == 1_000_000
    assert _failure(world.set_up(world.party("north"), PRIVATE, job="job-2"))[0] == "G-32"


def test_a_run_given_up_before_anything_left_gives_its_epsilon_back(world: World) -> None:
    kept = world.grant(**permitting(1_000_000))
    party = world.party("north")
    assert world.set_up(party, PRIVATE).failure is None
    party.handle(Request("close", {"job": "job-1", "status": "failed"}))
    assert used(world, kept.signed.id)[0] == 0
