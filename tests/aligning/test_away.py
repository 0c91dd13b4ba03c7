"""Alignments with a party whose node is not up, is stopped, or goes down."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from federated.cohort import Request
from federated.seats import seat_of, vertical_seat_of
from federated.vertical import coordinator
from federated.vertical.keeping import TRIED, SealedKeeping
from federated.vertical.party import VerticalParty
from fusion.alignment.study import parse_study
from fusion.errors import EnvironmentUnfit
from fusion.ledger.entry import BudgetMoved, decode
from fusion.services import align_results, earlier_runs, grants
from fusion.services.conversing import Talk
from fusion.services.grants import folder_of
from fusion.services.ledger import Book
from tests.aligning.world import BANK, COMMON, COMMON_OF_ALL, GOV, TAX, study_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.aligning.world import World


def test_a_party_whose_node_is_down_is_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coordinator, "SETUP_SECONDS", 0.5)
    job = world.job(study_text())
    with world.serving(BANK):
        found = world.work(job)
    assert (found["code"], found["exit_code"]) == ("F-604", 6)
    assert GOV in found["message"]
    # Nothing has left the bank: it was not a run.
    assert earlier_runs.earlier(world.nodes[BANK], GOV, besides="") == []


@pytest.mark.parametrize("parties", [(BANK, GOV), (BANK, GOV, TAX)])
def test_a_node_that_is_stopped_and_started_goes_on(world: World, parties: tuple[str, ...]) -> None:
    """Its owner stops it while it waits for others: what it had begun is kept."""
    job = world.job(study_text(parties))
    stopped: list[set[str]] = []
    with world.serving(*parties) as found:

        def restart(name: str, request: Request) -> None:
            # In the moment before the last party begins, the others have begun.
            if name != parties[-1] or request.kind != "begin" or stopped:
                return
            kept = world.nodes[GOV if len(parties) > 2 else BANK].path / "jobs" / job.name
            _until(lambda: any(kept.glob("align-*")))
            victim = kept.parent.parent.name
            party = world.parties[victim]
            assert isinstance(party, VerticalParty)
            party.close()
            stopped.append({path.name for path in kept.glob("align-*")})
            world.start(victim, found[victim])

        record = world.work(job, restart)
    assert record["status"] == "done", (record["message"], world.said)
    assert stopped
    assert len(record["attempts"]) == 2
    sizes = align_results.sizes_of(world.nodes[BANK], record)
    assert sizes["common"] == (COMMON if len(parties) == 2 else COMMON_OF_ALL)
    for name in parties:
        assert not (world.nodes[name].path / "jobs" / job.name).exists()
    runs = earlier_runs.earlier(world.nodes[BANK], GOV, besides="")
    assert [run.job for run in runs].count(job.name) == 1


def test_a_run_that_is_stopped_at_the_hub_ends_at_every_party(world: World) -> None:
    job = world.job(study_text(patience=60.0))

    def stop(name: str, request: Request) -> None:
        if (name, request.kind) == (GOV, "begin"):
            job.stop_wanted.touch()

    with world.serving(BANK, GOV):
        assert world.work(job, stop)["status"] == "stopped"
        for name in (BANK, GOV):
            failure = world.parties[name].handle(Request("look", {"job": job.name})).failure
            assert failure is not None
            assert failure.code == "F-404"
    for name in (BANK, GOV):
        assert not (world.nodes[name].path / "jobs" / job.name).exists()


def test_a_revocation_ends_what_is_under_way_within_a_second(world: World) -> None:
    node, text = world.nodes[BANK], study_text(patience=600.0)
    with world.serving(BANK) as found:
        # Its part has begun, and waits for a party that is not there.
        party = world.parties[BANK]
        job = "job-00000000000b"
        study = parse_study(text, "study.toml").canonical().decode()
        head = {"job": job, "study": study, "order": world.order(text)[1].decode()}
        assert party.handle(Request("prepare", head)).failure is None
        assert party.handle(Request("begin", {"job": job, "attempt": 1})).failure is None
        talks = found[BANK].conversations
        _until(lambda: talks.find(f"{job}.align", 1, GOV) is not None)
        talk = talks.find(f"{job}.align", 1, GOV)
        assert isinstance(talk, Talk)
        assert not talk.ended
        for kept in folder_of(node).all():
            if kept.signed.grant.assigners == (BANK,):
                grants.revoke(node, kept.signed.id, "over")
        # From here on nothing is taken, made or sent; how often is looked is in tests/conversing.
        _until(lambda: talk.ended)
        look = Request("look", {"job": job})
        _until(lambda: party.handle(look).head["standing"]["state"] == "failed")
        failure = party.handle(look).head["standing"]["failure"]
        assert (failure["code"], failure["kind"]) == ("G-02", "final")
        party.handle(Request("leave", {"job": job, "status": "failed"}))
        assert not (node.path / "jobs" / job).exists()
    world.grant(BANK, runs=51)  # another grant: one that was revoked stays so


def test_what_is_kept_of_a_job_that_nobody_goes_on_with_is_removed(world: World) -> None:
    node = world.nodes[TAX]
    for age, job in ((31, "job-00000000000c"), (29, "job-00000000000d")):
        keeping = SealedKeeping(node, job)
        keeping.put("align-ring", b"a scalar")
        then = time.time() - age * 86_400
        for path in (node.path / "jobs" / job / "align-ring.sealed", node.path / "jobs" / job):
            os.utime(path, (then, then))
    with world.serving(BANK, GOV, TAX):
        world.align(study_text((BANK, GOV, TAX)))
    assert SealedKeeping(node, "job-00000000000c").names() == []
    assert SealedKeeping(node, "job-00000000000d").names() == ["align-ring"]
    assert any("job-00000000000c" in said for said in world.said[TAX])
    SealedKeeping(node, "job-00000000000d").clear()


def test_a_job_that_was_left_is_not_agreed_to_again(world: World) -> None:
    """What counted its attempts is gone with the rest: it would begin anew under one charge."""
    node, job = world.nodes[BANK], "job-0000000000c1"
    with world.serving(BANK) as found:
        head = _head(world, job)
        assert world.parties[BANK].handle(Request("prepare", head)).failure is None
        SealedKeeping(node, job).put(TRIED, b"24")
        folder = node.path / "jobs" / job
        then = time.time() - 31 * 86_400
        for path in (folder / f"{TRIED}.sealed", folder):
            os.utime(path, (then, then))
        world.start(BANK, found[BANK])
        failure = world.parties[BANK].handle(Request("prepare", head)).failure
        assert failure is not None
        assert "has ended" in failure.message
        assert not folder.exists()


def test_a_run_of_which_something_left_stays_one_though_its_state_is_gone(world: World) -> None:
    node, job = world.nodes[BANK], "job-0000000000c2"
    kept = node.path / "jobs" / job
    with world.serving(BANK) as found:
        head = _head(world, job)
        party = world.parties[BANK]
        assert party.handle(Request("prepare", head)).failure is None
        assert party.handle(Request("begin", {"job": job, "attempt": 1})).failure is None
        _until(lambda: earlier_runs.was_committed(node, GOV, job))
        assert isinstance(party, VerticalParty)
        party.close()
        shutil.rmtree(kept)
        party = world.start(BANK, found[BANK])
        assert party.handle(Request("prepare", head)).failure is None
        party.handle(Request("leave", {"job": job, "status": "failed"}))
    runs = earlier_runs.earlier(node, GOV, besides="")
    assert job in {run.job for run in runs}


class _Stuck(SealedKeeping):
    """On a disk from which nothing can be removed."""

    def clear(self) -> None:
        raise EnvironmentUnfit("It can't be removed.")


def test_a_job_is_over_before_what_it_counted_is_gone(world: World) -> None:
    node, job = world.nodes[BANK], "job-0000000000c3"
    with world.serving(BANK) as found:
        head, connection = _head(world, job), found[BANK]
        seat = vertical_seat_of(
            node, seat_of(node, lambda _: None, connection.link), connection.conversations
        )
        stuck = VerticalParty(replace(seat, keeping=lambda name: _Stuck(node, name)))
        assert stuck.handle(Request("prepare", head)).failure is None
        failure = stuck.handle(Request("leave", {"job": job, "status": "failed"})).failure
        assert failure is not None
        assert failure.code == "F-300"
        failure = world.parties[BANK].handle(Request("prepare", head)).failure
        assert failure is not None
        assert "has ended" in failure.message


def test_a_table_that_can_not_be_prepared_costs_no_run(world: World) -> None:
    node, job = world.nodes[BANK], "job-0000000000c4"
    table = node.config.data["people"]
    whole = table.read_text("utf-8")
    with world.serving(BANK):
        head = _head(world, job, duplicates="refuse")
        world.table(BANK, ["k00001", "k00001"])
        with Book(node) as book:
            before = book.ledger.size()
        try:
            failure = world.parties[BANK].handle(Request("prepare", head)).failure
        finally:
            table.write_text(whole, "utf-8")
    assert failure is not None
    assert failure.code == "F-202"
    assert failure.message == f"The table of {BANK} does not fit the study; its own log says more."
    assert any("A-10" in note or "more than one row" in note for note in world.said[BANK])
    with Book(node) as book:
        logged = [decode(data) for data in book.ledger.entries(before, book.ledger.size())]
    moves = [each for each in logged if isinstance(each, BudgetMoved)]
    assert [each.move for each in moves] == ["reserved", "released"]


def _head(world: World, job: str, duplicates: str = "first") -> dict[str, str]:
    """What a party is asked to agree to, of the bank and the registry."""
    text = study_text(patience=60.0).replace('"first"', f'"{duplicates}"')
    return {
        "job": job,
        "study": parse_study(text, "study.toml").canonical().decode(),
        "order": world.order(text)[1].decode(),
    }


def _until(found: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not found():
        assert time.monotonic() < until
        time.sleep(0.02)
