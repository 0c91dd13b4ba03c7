"""Alignments between processes: killed, frozen, lying; and what passes the hub."""

from __future__ import annotations

import json
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest

from federated.vertical import coordinator
from fusion.services import align_results
from tests.aligning.world import (
    BANK,
    COMMON,
    COMMON_OF_ALL,
    GOV,
    KEYS,
    TAX,
    make_world,
    node_process,
    study_text,
)
from tests.link.wire import hub_process, tapped

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from federated.jobs import JobFolder
    from tests.aligning.world import World


class Run:
    """An alignment that the hub runs, in a thread."""

    def __init__(self, world: World, text: str) -> None:
        self.world = world
        self.job: JobFolder = world.job(text)
        self.record: dict[str, Any] = {}
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        self.record = self.world.work(self.job)

    def end(self, seconds: float = 200.0) -> dict[str, Any]:
        """Wait for its end; return its record. Whatever it came to, no state of it is left."""
        self._thread.join(seconds)
        assert not self._thread.is_alive(), "it hangs"
        return self.record

    def kept(self, name: str) -> set[str]:
        """What a party keeps of it, by name."""
        folder = self.world.nodes[name].path / "jobs" / self.job.name
        return {path.name for path in folder.glob("align-*")}

    def common(self) -> int | None:
        """Return what the bank was told."""
        found: int | None = align_results.sizes_of(self.world.nodes[BANK], self.record)["common"]
        return found

    def rows(self, name: str) -> list[int] | None:
        """Return which rows a party has as common, if it has any."""
        path = align_results.path_of(self.world.nodes[name], self.job.name) / "rows.json"
        return json.loads(path.read_bytes())["rows"] if path.exists() else None


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
        with node_process(world, victim, "die", str(number)) as process:
            run = Run(world, study_text(outcome="both", patience=60.0))
            assert process.wait(100) == -signal.SIGKILL
        assert run.kept(victim)
        # The same set, in another order of rows.
        turned = KEYS[victim][::-1]
        world.table(victim, turned)
        with node_process(world, victim):
            record = run.end()
    assert record["status"] == "done", record["message"]
    assert len(record["attempts"]) == 2
    assert run.common() == COMMON
    rows = run.rows(victim)
    assert rows is not None
    assert {turned[row] for row in rows} == set(KEYS[BANK]) & set(KEYS[GOV])
    assert not run.kept(victim)
    world.table(victim, KEYS[victim])


@pytest.mark.soak
@pytest.mark.parametrize(("victim", "number"), [(BANK, 2), (GOV, 1), (TAX, 2)])
def test_a_party_of_a_ring_that_is_killed_goes_on(world: World, victim: str, number: int) -> None:
    others = [name for name in (BANK, GOV, TAX) if name != victim]
    with world.serving(*others):
        with node_process(world, victim, "die", str(number)) as process:
            run = Run(world, study_text((BANK, GOV, TAX), patience=60.0))
            assert process.wait(100) == -signal.SIGKILL
        kept = run.kept(victim)
        # All that it had taken, also the last, which it had not acknowledged yet.
        assert len([name for name in kept if name != "align-ring.sealed"]) == number
        with node_process(world, victim):
            record = run.end()
    assert record["status"] == "done", record["message"]
    assert len(record["attempts"]) == 2
    assert run.common() == COMMON_OF_ALL


@pytest.mark.soak
@pytest.mark.parametrize("outcome", ["both", "size"])
def test_a_party_that_is_killed_when_its_peer_has_ended_has_its_outcome(
    world: World, outcome: str
) -> None:
    with world.serving(GOV):
        with node_process(world, BANK, "late", "0") as process:
            run = Run(world, study_text(outcome=outcome, patience=60.0))
            assert process.wait(100) == -signal.SIGKILL
        assert run.kept(BANK)
        assert run.rows(BANK) is None
        with node_process(world, BANK):
            record = run.end()
    assert record["status"] == "done", record["message"]
    assert run.common() == COMMON
    assert (run.rows(BANK) is None) == (outcome == "size")


@pytest.mark.parametrize("victim", [GOV, pytest.param(BANK, marks=pytest.mark.soak)])
def test_a_party_that_is_frozen_is_named(
    world: World, victim: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coordinator, "BACK_SECONDS", 3.0)
    other = BANK if victim == GOV else GOV
    with world.serving(other), node_process(world, victim, "freeze", "1") as process:
        run = Run(world, study_text(patience=3.0))
        record = run.end()
        process.send_signal(signal.SIGCONT)
    assert (record["status"], record["code"]) == ("failed", "F-604")
    assert victim in record["message"]
    assert not run.kept(other)
    assert run.rows(other) is None


@pytest.mark.soak
@pytest.mark.parametrize("number", ["1", "0"])
def test_a_party_that_lies_ends_it_by_name(world: World, number: str) -> None:
    with world.serving(BANK), node_process(world, GOV, "lie", number):
        run = Run(world, study_text(outcome="both"))
        record = run.end()
    assert record["status"] == "failed"
    assert record["code"].startswith("A-")
    assert len(record["attempts"]) == 1
    assert not run.kept(BANK)
    assert run.rows(BANK) is None


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
    assert result["common"] == COMMON
    assert len(seen) > 10_000
    for key in (*KEYS[BANK], *KEYS[GOV]):
        assert key.encode() not in seen
    # Nor a masked item: the conversation is within the TLS of the two.
    assert b'"kind":"masked"' not in seen
    assert b"fusion.alignment" not in seen
