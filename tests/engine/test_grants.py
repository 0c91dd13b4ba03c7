"""Training under grants, over real folders: permitted, refused at every holder, stopped."""

from __future__ import annotations

import json
import re
import threading
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from federated.cohort import InProcessCohort, Reply, Request
from federated.jobs import JobFolder
from federated.leave import Leave
from federated.parameters import encode_parameters, model_digest
from federated.party import Party
from federated.protocols.statements import HUB, RoundManifest, sign
from federated.seats import seat_of
from federated.study import parse_study
from federated.terms import agree
from federated.work import do_job
from fusion.catalogue.descriptor import schema_digest
from fusion.grants.order import open_order
from fusion.services import grants, orders, rosters
from fusion.services.clock import SystemClock
from fusion.services.homes import NodeHome
from fusion.services.keys import Keyring
from fusion.stores.budgets import SqliteBudgets
from tests.federation import NAMES, STUDY

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from federated.cohort import Answering, Cohort
    from fusion.grants.order import Order
    from fusion.services.grants import Kept
    from fusion.services.homes import HubHome
    from fusion.types import OrgId

GRANTED = STUDY.replace(
    "max_rows = 512", 'max_rows = 512\noperator = "east"\npurpose = "dpv:PublicBenefit"'
)
GRANT: dict[str, Any] = {
    "schema": "fusion.grant/1",
    "title": "Who is rich",
    "assigners": list(NAMES),
    "assignee": "east",
    "dataset": {
        "id": "people",
        "columns": ["age", "work", "rich"],
        "schema_digest": schema_digest({"age": "cell", "work": "cell", "rich": "cell"}),
    },
    "permissions": {"train": {"models": ["logistic"], "k": 3, "rounds": 2, "runs": 2}},
    "purpose": "dpv:PublicBenefit",
    "fee": {"kind": "public-interest"},
    "not_before": "2020-01-01T00:00:00Z",
    "not_after": "2120-01-01T00:00:00Z",
    "signers": [
        *({"role": "owner", "organisation": str(name)} for name in NAMES),
        {"role": "operator", "organisation": "east"},
        {"role": "authority", "organisation": "hub"},
    ],
}


@dataclass
class World:
    """The hub, and nodes that require grants."""

    hub: HubHome
    nodes: dict[str, NodeHome]
    notes: dict[str, list[str]]
    orders: dict[tuple[str, str], tuple[Order, bytes] | None] = field(default_factory=dict)

    def grant(self, **changes: Any) -> Kept:  # noqa: ANN401 - JSON values
        """Have a grant signed by all, and known to all."""
        homes: list[HubHome | NodeHome] = [*self.nodes.values(), self.hub]
        text = json.dumps({**GRANT, **changes})
        kept = grants.propose(homes[0], text, "grant.yaml")
        for home in homes[1:]:
            kept = grants.sign(home, kept.signed.envelope)
        for home in homes:
            kept = grants.add(home, kept.signed.envelope)
        return kept

    def party(self, name: str) -> Party:
        """Return a node's party, as after a restart."""
        return Party(seat_of(self.nodes[name], self.notes.setdefault(name, []).append))

    def order(self, study: str = GRANTED) -> tuple[Order, bytes] | None:
        """Return an order for a study by the operator it names, if it names one."""
        operator = parse_study(study, "study.toml").operator
        if operator is None:
            return None
        _, data = orders.sign(self.nodes[operator], study, "study.toml")
        return open_order(data, self.hub.roster(), operator), data

    def set_up(
        self, party: Party, study: str = GRANTED, job: str = "job-1", order: bytes | None = None
    ) -> Reply:
        """Ask a party to take part, by the order that is given or a new one."""
        parsed = parse_study(study, "study.toml")
        key = Keyring(self.hub.paillier).fitting(2048, 3, parsed.key.holders)
        head = {
            "job": job,
            "study": parsed.canonical().decode(),
            "key": key.public.fingerprint,
        }
        if order is None:
            if (job, study) not in self.orders:
                self.orders[job, study] = self.order(study)
            kept = self.orders[job, study]
            order = None if kept is None else kept[1]
        if order is not None:
            head["order"] = order.decode()
        return party.handle(Request("setup", head))

    def run(
        self, study: str = GRANTED, before: Callable[[Request], None] = lambda _: None
    ) -> tuple[str, list[dict[str, Any]]]:
        """Do a job; return its name and its events."""
        ordered = self.order(study)
        job = JobFolder.create(self.hub.runs, study, ordered=ordered)
        self.orders[job.name, study] = ordered

        def make(keys: Mapping[OrgId, str]) -> Cohort:
            parties: dict[OrgId, Answering] = {
                name: _Told(self.party(name), before) for name in keys
            }
            return InProcessCohort(parties)

        do_job(self.hub, job, make, SystemClock(), lambda _: None)
        return job.name, job.read_events()

    def state_of(self, name: str, job: str) -> str:
        """Return what became of a job's charge at a node."""
        budgets = SqliteBudgets(self.nodes[name].budgets)
        with budgets._database.transaction() as connection:
            row = connection.execute(
                "SELECT state FROM charge WHERE key LIKE ?", (f"train/{job}/%",)
            ).fetchone()
        return "" if row is None else str(row[0])


@dataclass
class _Told:
    """A party, and what happens before it is asked."""

    party: Party
    before: Callable[[Request], None]

    def handle(self, request: Request) -> Reply:
        self.before(request)
        return self.party.handle(request)


@pytest.fixture
def world(hub: HubHome, nodes: dict[str, NodeHome]) -> World:
    """Nodes that take part in nothing without a grant."""
    strict = {
        name: NodeHome(node.path, node.config.model_copy(update={"require_grants": True}))
        for name, node in nodes.items()
    }
    return World(hub, strict, {})


def _failure(reply: Reply) -> tuple[str, str]:
    assert reply.failure is not None
    return reply.failure.code, reply.failure.message


def test_a_run_under_a_grant_is_done_and_charged(world: World) -> None:
    kept = world.grant()
    job, events = world.run()
    assert events[-1]["status"] == "done", events[-1]
    for name in NAMES:
        assert world.state_of(name, job) == "committed"
        assert SqliteBudgets(world.nodes[name].budgets).used(kept.signed.id, "train").runs == 1
        assert any("permitted under grant" in line for line in world.notes[name])


def test_the_third_of_two_runs_is_refused_with_its_repair(world: World) -> None:
    world.grant()
    for _ in range(2):
        assert world.run()[1][-1]["status"] == "done"
    _, events = world.run()
    end = events[-1]
    assert (end["status"], end["exit_code"], end["code"]) == ("failed", 4, "G-31")
    assert "all runs of the grant are used up" in end["message"]
    assert "propose a new grant with permissions.train.runs = 1" in end["message"]
    refused = [event for event in events if event.get("status") == "refused"]
    assert {event["organisation"] for event in refused} == set(NAMES)
    assert {event["code"] for event in refused} == {"G-31"}


OTHER_STUDIES = {
    "another dataset": (('dataset = "people"', 'dataset = "animals"'), "G-00"),
    "another label": (('label = "rich"', 'label = "age2"'), "G-15"),
    "another column": (('name = "age"', 'name = "height"'), "G-15"),
    "another purpose": (("dpv:PublicBenefit", "dpv:CreditChecking"), "G-16"),
    "another operator": (('operator = "east"', 'operator = "west"'), "G-00"),
    "no operator": (('operator = "east"\n', ""), "G-41"),
    "no purpose": (('purpose = "dpv:PublicBenefit"', ""), "G-41"),
    "one round more": (("rounds = 2", "rounds = 3"), "G-24"),
    "another model": (('kind = "logistic"', 'kind = "mlp"\nhidden = [4]'), "G-22"),
}


@pytest.mark.parametrize("case", OTHER_STUDIES)
def test_every_holder_refuses_another_study_on_its_own(world: World, case: str) -> None:
    (before, after), code = OTHER_STUDIES[case]
    assert before in GRANTED
    world.grant()
    for name in NAMES:
        party = world.party(name)
        assert _failure(world.set_up(party, GRANTED.replace(before, after)))[0] == code
        assert world.state_of(name, "job-1") == ""


OTHER_GRANTS: dict[str, tuple[dict[str, Any], str]] = {
    "over": ({"not_after": "2021-01-01T00:00:00Z"}, "G-04"),
    "not yet": ({"not_before": "2119-01-01T00:00:00Z"}, "G-03"),
    "more contributors": (
        {"permissions": {"train": {**GRANT["permissions"]["train"], "k": 4}}},
        "G-23",
    ),
    "with epsilon": (
        {"permissions": {"train": {**GRANT["permissions"]["train"], "epsilon_micro": 10}}},
        "G-41",
    ),
    "another action": ({"permissions": {"score": {"rows": 1, "runs": 1}}}, "G-21"),
    "another schema": ({"dataset": {**GRANT["dataset"], "schema_digest": "e" * 64}}, "G-14"),
}


@pytest.mark.parametrize("case", OTHER_GRANTS)
def test_every_holder_refuses_under_another_grant_on_its_own(world: World, case: str) -> None:
    changes, code = OTHER_GRANTS[case]
    world.grant(**changes)
    for name in NAMES:
        assert _failure(world.set_up(world.party(name)))[0] == code


def test_every_holder_refuses_a_grant_that_lacks_a_signature(world: World) -> None:
    homes = [home for home in world.nodes.values() if home.config.id != "west"]
    kept = grants.propose(homes[0], json.dumps(GRANT), "grant.yaml")
    for home in homes[1:]:
        kept = grants.sign(home, kept.signed.envelope)
    for name in NAMES:
        grants.add(world.nodes[name], kept.signed.envelope)
        code, message = _failure(world.set_up(world.party(name)))
        assert code == "G-01"
        assert "have west sign the grant" in message


def test_every_holder_refuses_without_a_grant(world: World) -> None:
    for name in NAMES:
        assert _failure(world.set_up(world.party(name)))[0] == "G-00"


def test_data_is_not_read_without_a_permit(world: World) -> None:
    world.grant()
    read: list[str] = []
    party = world.party("north")
    party._seat = replace(party._seat, read=lambda study: read.append(study.name))  # type: ignore[arg-type,return-value]
    world.set_up(party, GRANTED.replace("rounds = 2", "rounds = 3"))
    assert read == []


def test_a_node_that_switched_grants_off_says_so(hub: HubHome, nodes: dict[str, NodeHome]) -> None:
    world = World(hub, nodes, {})
    assert world.set_up(world.party("north")).failure is None
    assert any("requires no grants" in line for line in world.notes["north"])


# ------------------------------------------------------------------------- charge and crash


def test_a_run_given_up_before_anything_left_is_given_back(world: World) -> None:
    kept = world.grant()
    party = world.party("north")
    assert world.set_up(party).failure is None
    assert world.state_of("north", "job-1") == "reserved"
    party.handle(Request("close", {"job": "job-1", "status": "failed"}))
    assert world.state_of("north", "job-1") == "released"
    assert SqliteBudgets(world.nodes["north"].budgets).used(kept.signed.id, "train").runs == 0


def test_a_crash_leaves_the_run_charged_and_the_party_goes_on(world: World) -> None:
    kept = world.grant()
    assert world.set_up(world.party("north")).failure is None
    again = world.party("north")
    assert world.set_up(again).failure is None
    assert SqliteBudgets(world.nodes["north"].budgets).used(kept.signed.id, "train").runs == 1
    # Set up before the crash, closed after it: nobody knows what had left, so it stays charged.
    world.party("north").handle(Request("close", {"job": "job-1", "status": "failed"}))
    assert world.state_of("north", "job-1") == "reserved"


def test_closing_after_a_restart_takes_nothing_back_that_was_final(world: World) -> None:
    world.grant()
    job, events = world.run()
    assert events[-1]["status"] == "done"
    again = world.party("north")
    assert world.set_up(again, job=job).failure is None
    assert again.handle(Request("close", {"job": job, "status": "done"})).failure is None
    assert world.state_of("north", job) == "committed"


def test_another_study_under_an_old_name_is_not_run(world: World) -> None:
    kept = world.grant()
    party = world.party("north")
    budgets = SqliteBudgets(world.nodes["north"].budgets)
    assert world.set_up(party).failure is None
    # Forgotten as after a finished run, with its charge final.
    party._jobs["job-1"].leave.begin()
    party.handle(Request("close", {"job": "job-1", "status": "done"}))
    # Another study has another order, and the name is taken by the first.
    assert _failure(world.set_up(party, GRANTED.replace("seed = 7", "seed = 8")))[0] == "G-55"
    assert budgets.used(kept.signed.id, "train").runs == 1


def test_what_is_found_in_the_data_is_not_free(world: World) -> None:
    """A hub that sends study after study pays a run for each answer about a column's content."""
    world.grant()
    probe = GRANTED.replace('categories = ["desk", "field"]', 'categories = ["desk", "moor"]')
    assert _failure(world.set_up(world.party("north"), probe))[0] == "F-202"
    assert world.state_of("north", "job-1") == "reserved"


# ------------------------------------------------------------------------------ revocation


def test_a_revoked_party_is_left_out_and_the_others_go_on(world: World) -> None:
    kept = world.grant()
    done = False

    def revoke_in_round_one(request: Request) -> None:
        nonlocal done
        if not done and request.kind == "contribute" and request.blobs.get("model"):
            done = True
            grants.revoke(world.nodes["north"], kept.signed.id, "no longer needed")

    _, events = world.run(before=revoke_in_round_one)
    refusals = [event for event in events if event["event"] == "refusal"]
    assert refusals[0]["organisation"] == "north"
    assert refusals[0]["code"] == "G-02"
    last = [event for event in events if event["event"] == "round"][-1]
    assert "north" not in last["contributors"]
    assert events[-1]["status"] == "done"


def test_a_revocation_known_to_all_ends_the_run(world: World) -> None:
    kept = world.grant()
    done = False

    def revoke_everywhere(request: Request) -> None:
        nonlocal done
        if not done and request.kind == "contribute" and request.blobs.get("model"):
            done = True
            _, data = grants.revoke(world.hub, kept.signed.id, "no longer needed")
            for node in world.nodes.values():
                grants.add(node, data)

    study = re.sub(r"(?m)^(setup|train|submit|decrypt) = \d+", r"\1 = 0.5", GRANTED)
    _, events = world.run(study, before=revoke_everywhere)
    assert events[-1]["status"] == "failed"
    assert not [e for e in events if e["event"] == "round" and e["round"] > 0]


def test_the_hub_ends_a_run_whose_grant_was_revoked_there(world: World) -> None:
    kept = world.grant()

    def revoke_at_the_hub(request: Request) -> None:
        if request.kind == "contribute" and request.blobs.get("model"):
            grants.revoke(world.hub, kept.signed.id, "no longer needed")

    _, events = world.run(before=revoke_at_the_hub)
    assert [event["round"] for event in events if event["event"] == "round"] == [0, 1]
    assert events[-1]["status"] == "stopped"


def test_the_hub_ends_a_run_of_a_member_that_was_revoked(world: World) -> None:
    world.grant()
    done = False

    def revoke_the_member(request: Request) -> None:
        nonlocal done
        if not done and request.kind == "contribute" and request.blobs.get("model"):
            done = True
            rosters.revoke(world.hub, "north", "left")

    _, events = world.run(before=revoke_the_member)
    assert [event["round"] for event in events if event["event"] == "round"] == [0, 1]
    assert events[-1]["status"] == "stopped"


def test_a_second_grant_keeps_a_run_going(world: World) -> None:
    kept = world.grant(title="First")
    world.grant(title="Second")

    def revoke_one(request: Request) -> None:
        if request.kind == "contribute" and request.blobs.get("model"):
            grants.revoke(world.hub, kept.signed.id, "no longer needed")

    assert world.run(before=revoke_one)[1][-1]["status"] == "done"


def test_long_training_stops_within_a_second_of_the_revocation(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second of its own: what a busy machine gives to others is not counted."""
    kept = world.grant()
    study = GRANTED.replace("steps = 5", "steps = 100000").replace("batch = 32", "batch = 80")
    party = world.party("north")
    assert world.set_up(party, study).failure is None
    request = _train_request(world, study)
    replies: list[Reply] = []
    thread = threading.Thread(target=lambda: replies.append(party.handle(request)))
    begun, revoked, watch = threading.Event(), threading.Event(), Leave.watch

    def watched(leave: Leave) -> None:
        # Its first step waits for the revocation, or it could have ended before.
        begun.set()
        assert revoked.wait(60)
        watch(leave)

    monkeypatch.setattr(Leave, "watch", watched)
    thread.start()
    assert begun.wait(60)
    grants.revoke(world.nodes["north"], kept.signed.id, "no longer needed")
    began = time.process_time()
    revoked.set()
    thread.join(100)
    took = time.process_time() - began
    assert _failure(replies[0])[0] == "G-02"
    assert took < 1.0


def _train_request(world: World, study: str) -> Request:
    """Return a request to train round 1 from the beginning."""
    parsed = parse_study(study, "study.toml")
    roster = world.hub.roster()
    key = Keyring(world.hub.paillier).fitting(2048, 3, parsed.key.holders)
    terms, model = agree(parsed, "job-1", roster, key, NAMES)
    standardisation = {"mean": [50.0], "scale": [20.0]}
    blob = encode_parameters(np.zeros(model.initial(1).size))
    manifest = RoundManifest(
        job="job-1",
        study=terms.study,
        round=1,
        attempt=1,
        purpose="train",
        key=terms.key.public.fingerprint,
        layout=terms.layouts["train"].digest,
        contributors=4,
        quorum=3,
        model=model_digest(blob, standardisation),
    )
    head = {
        "job": "job-1",
        "manifest": sign(manifest, world.hub.authority_key, HUB).decode(),
        "standardisation": standardisation,
    }
    return Request("contribute", head, {"model": blob})
