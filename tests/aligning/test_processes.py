"""Alignments between processes: killed, frozen, lying; and what passes the hub."""

from __future__ import annotations

import json
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest

from fusion.errors import FusionError, PartyFailed
from fusion.services.align_jobs import Job, jobs
from tests.aligning.world import BANK, COMMON, GOV, KEYS, make_world, node_process, study_text
from tests.link.wire import hub_process, tapped

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fusion.services.aligning import Result
    from tests.aligning.world import World


class Ordered:
    """An alignment that is ordered, and waited for in a thread."""

    def __init__(self, world: World, text: str) -> None:
        self.result: Result | None = None
        self.error: FusionError | None = None
        self._thread = threading.Thread(target=self._run, args=(world, text))
        self._thread.start()

    def _run(self, world: World, text: str) -> None:
        try:
            self.result = world.align(text)
        except FusionError as error:
            self.error = error

    def end(self, seconds: float = 60.0) -> None:
        self._thread.join(seconds)
        assert not self._thread.is_alive(), "it hangs"


def _nothing_partial(world: World) -> None:
    """No job that failed has shown anything of its outcome."""
    for name in (BANK, GOV):
        for job in jobs(world.nodes[name]):
            assert not (job.path / "session.sealed").exists()
            if job.state.status == "failed":
                assert job.state.common is None
                assert not (job.path / "rows.json").exists()


@pytest.mark.parametrize(
    ("victim", "number"),
    [
        (GOV, 1),
        pytest.param(BANK, 2, marks=pytest.mark.soak),
        pytest.param(GOV, 2, marks=pytest.mark.soak),
        pytest.param(BANK, 1, marks=pytest.mark.soak),
    ],
)
def test_a_party_that_is_killed_goes_on_when_it_is_up_again(
    world: World, victim: str, number: int
) -> None:
    other = BANK if victim == GOV else GOV
    with world.serving(other):
        with node_process(world.nodes[victim], "die", str(number)) as process:
            ordered = Ordered(world, study_text(outcome="both", patience=40.0))
            assert process.wait(30) == -signal.SIGKILL
        (job,) = [each for each in jobs(world.nodes[victim]) if each.state.status == "running"]
        assert (job.path / "session.sealed").exists()
        # The same set, in another order of rows.
        turned = KEYS[victim][::-1]
        world.table(victim, turned)
        with node_process(world.nodes[victim]):
            ordered.end()
    assert ordered.error is None
    assert ordered.result is not None
    assert ordered.result.document()["common"] == COMMON
    job = Job(world.nodes[victim], ordered.result.job)
    assert job.state.common == COMMON
    rows = json.loads((job.path / "rows.json").read_bytes())["rows"]
    assert {turned[row] for row in rows} == set(KEYS[BANK]) & set(KEYS[GOV])
    _nothing_partial(world)


@pytest.mark.soak
@pytest.mark.parametrize("outcome", ["both", "size"])
def test_a_party_that_is_killed_when_its_peer_has_ended_has_its_outcome(
    world: World, outcome: str
) -> None:
    with world.serving(GOV):
        with node_process(world.nodes[BANK], "late", "0") as process:
            ordered = Ordered(world, study_text(outcome=outcome, patience=40.0))
            assert process.wait(30) == -signal.SIGKILL
        (job,) = [each for each in jobs(world.nodes[BANK]) if each.state.status == "running"]
        assert (job.path / "outcome.sealed").exists()
        assert not (job.path / "rows.json").exists()
        with node_process(world.nodes[BANK]):
            ordered.end()
    assert ordered.error is None
    assert job.state.common == COMMON
    assert (job.path / "rows.json").exists() == (outcome == "both")
    assert not (job.path / "outcome.sealed").exists()


@pytest.mark.parametrize("victim", [GOV, pytest.param(BANK, marks=pytest.mark.soak)])
def test_a_party_that_is_frozen_is_named(world: World, victim: str) -> None:
    other = BANK if victim == GOV else GOV
    with world.serving(other), node_process(world.nodes[victim], "freeze", "1") as process:
        ordered = Ordered(world, study_text(patience=3.0))
        until = time.monotonic() + 40
        while not (found := _silent(world, other)) and time.monotonic() < until:
            time.sleep(0.1)
        assert found, "the other side hangs"
        assert found[0].state.refusal is not None
        assert found[0].state.refusal.code == "F-604"
        assert victim in found[0].state.refusal.message
        process.send_signal(signal.SIGCONT)
        ordered.end()
        assert ordered.result is None
        assert isinstance(ordered.error, PartyFailed)
    _nothing_partial_at(world, other)


def _silent(world: World, name: str) -> list[Job]:
    return [
        job
        for job in jobs(world.nodes[name])
        if job.state.status == "failed" and job.state.refusal and job.state.refusal.code == "F-604"
    ]


def _nothing_partial_at(world: World, name: str) -> None:
    for job in jobs(world.nodes[name]):
        assert not (job.path / "session.sealed").exists()
        assert job.state.status == "done" or job.state.common is None


@pytest.mark.soak
@pytest.mark.parametrize("number", ["1", "0"])
def test_a_party_that_lies_ends_it_by_name(world: World, number: str) -> None:
    with world.serving(BANK), node_process(world.nodes[GOV], "lie", number):
        ordered = Ordered(world, study_text(outcome="both"))
        ordered.end()
    assert isinstance(ordered.error, PartyFailed)
    assert ordered.error.code.startswith("A-")
    _nothing_partial_at(world, BANK)


@pytest.fixture
def wired(tmp_path: Path) -> Iterator[tuple[World, bytearray]]:
    """A federation whose hub is a process behind a wire that keeps what passes."""
    found = make_world(tmp_path / "world")
    with hub_process(found.hub.path) as served, tapped(served.port) as tap:
        found.at(tap.port)
        for owner in (BANK, GOV):
            found.grant(owner)
        yield found, tap.seen


def test_no_identifier_passes_the_hub(wired: tuple[World, bytearray]) -> None:
    world, seen = wired
    with world.serving(BANK, GOV):
        result = world.align(study_text(outcome="both"))
    assert result.document()["common"] == COMMON
    assert len(seen) > 10_000
    for key in (*KEYS[BANK], *KEYS[GOV]):
        assert key.encode() not in seen
    # Nor a masked item: the conversation is within the TLS of the two.
    assert b'"kind":"masked"' not in seen
    assert b"fusion.alignment" not in seen
