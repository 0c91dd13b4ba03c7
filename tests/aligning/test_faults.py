"""Whole alignments, of every outcome and in a ring, with a fault at any message that parties send.

Parties are those of nodes, with their grants, logs and folders; a hub begins attempts; between the
parties is a network in memory (``tests/vertical/study_faults.py`` has what may happen in it).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from federated.seats import seat_of, vertical_seat_of
from federated.vertical.party import VerticalParty
from fusion.services import align_results
from tests.aligning.world import BANK, GOV, KEYS, TAX, make_world, study_text
from tests.conversing.network import network
from tests.vertical.study_faults import ENDS, EVERY, LIES, Fault, Faulty

if TYPE_CHECKING:
    from collections.abc import Iterator

    from federated.cohort import Request
    from tests.aligning.world import World
    from tests.conversing.network import Network

RUNS = {
    "one": (BANK, GOV),
    "both": (BANK, GOV),
    "size": (BANK, GOV),
    "ring, one": (BANK, GOV, TAX),
    "ring, size": (BANK, GOV, TAX),
}


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Three nodes with grants for as many runs as there are faults."""
    found = make_world(tmp_path_factory.mktemp("faults") / "world")
    for owner in (BANK, GOV, TAX):
        found.grant(owner, runs=100_000)
    return found


def _start(world: World, net: Network, name: str) -> None:
    note = world.said.setdefault(name, []).append
    node = world.nodes[name]
    world.parties[name] = VerticalParty(vertical_seat_of(node, seat_of(node, note), net.join(name)))


def _run(world: World, what: str, faulty: Faulty) -> None:
    """Do an alignment to its end; check how it ended, and what was released.

    Raises:
        AssertionError: It ended without a name, or with a result that is not right.
    """
    parties, fault = RUNS[what], faulty.fault
    patience = 2.0 if fault is not None and fault.what in ENDS else 30.0
    job = world.job(study_text(parties, outcome=what.rpartition(" ")[2], patience=patience))
    with network(faulty) as net:
        for name in parties:
            _start(world, net, name)

        def back(name: str, request: Request) -> None:
            """Have who was gone, or stood still, started anew before the next attempt."""
            if not faulty.happened or request.kind != "prepare" or faulty.fault is None:
                return
            if faulty.fault.what in ENDS and name == parties[0]:
                sender, faulty.fault = faulty.fault.sender, None
                party = world.parties[sender]
                assert isinstance(party, VerticalParty)
                party.close()
                _start(world, net, sender)

        try:
            record = world.work(job, back)
        finally:
            for name in parties:
                party = world.parties.pop(name)
                assert isinstance(party, VerticalParty)
                party.close()
    if fault is None or fault.what not in LIES:
        assert record["status"] == "done", (fault, record["message"])
    elif record["status"] != "done":
        assert record["code"] not in {"", "F-000"}, (fault, record)
    _released(world, what, job.name, record["status"] == "done")
    for name in parties:  # whatever it was, nothing of it is left
        assert not (world.nodes[name].path / "jobs" / job.name).exists()


def _released(world: World, what: str, job: str, done: bool) -> None:
    """Check that whoever has rows has those that are common, and all of them at a good end."""
    parties = RUNS[what]
    common = set.intersection(*(set(KEYS[name]) for name in parties))
    learn = {"one": {BANK}, "both": {BANK, GOV}, "size": set()}[what.rpartition(" ")[2]]
    for name in parties:
        file = align_results.path_of(world.nodes[name], job) / "rows.json"
        assert file.exists() <= (name in learn)
        if not file.exists():
            assert not done or name not in learn
            continue
        rows = json.loads(file.read_text("utf-8"))["rows"]
        assert {KEYS[name][row] for row in rows} == common


def _faults(world: World, what: str) -> Iterator[Fault]:
    """Yield every fault at every message of an alignment, which is done once without any."""
    faulty = Faulty()
    _run(world, what, faulty)
    assert len(faulty.sent) >= len(RUNS[what])
    for (sender, peer), count in sorted(faulty.sent.items()):
        for number in range(count):
            for each in EVERY:
                yield Fault(sender, peer, number, each)


@pytest.mark.parametrize(
    ("what", "every"),
    [
        ("both", 19),
        *(
            pytest.param(what, 1, marks=[pytest.mark.soak, pytest.mark.timeout(3600)])
            for what in RUNS
        ),
    ],
)
def test_an_alignment_goes_on_or_ends_by_name(people: World, what: str, every: int) -> None:
    happened = 0
    for fault in list(_faults(people, what))[::every]:
        faulty = Faulty(fault)
        _run(people, what, faulty)
        happened += faulty.happened
    assert happened
