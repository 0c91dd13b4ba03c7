"""For how long a hub waits for parties that are late, or still work when others have ended."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import pytest

from federated.cohort import Failure, InProcessCohort, Reply, Request
from federated.vertical.align_run import AlignmentCoordinator
from federated.vertical.coordinator import MAX_ATTEMPTS, UNKNOWN, JointRun
from federated.vertical.standings import Heard, Standing
from federated.vertical.tally import Tally
from fusion.alignment.study import parse_study
from fusion.errors import PartySilent
from fusion.types import OrgId
from tests.aligning.world import BANK, GOV, study_text
from tests.sandbox.late_node import Scripted

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from federated.cohort import Answering

WORKS = Standing(
    state="aligning", attempt=1, step=0, rows=None, bytes=0, aligning=0, part="", quality=None,
    told="", failure=None, marks=(),
)  # fmt: skip
DONE = replace(WORKS, state="done")
BEFORE = replace(DONE, attempt=0)


class Looked:
    """A hub's look at two parties, whenever a test says."""

    def __init__(self, folder: Path, parties: dict[OrgId, Answering] | None = None) -> None:
        self.clock = Scripted()
        run = JointRun(
            job="job-1",
            study=parse_study(study_text(patience=60.0), "study.toml"),
            order=None,
            cohort=InProcessCohort(parties or {}),
            clock=self.clock,
            pause=self._pause,
            emit=print,
            stopping=lambda: False,
            next_attempt=lambda: 1,
            began=print,
            tally=Tally(folder / "sent.json"),
        )
        self._coordinator = AlignmentCoordinator(run)
        self.work = self._coordinator.work

    def _pause(self, seconds: float) -> None:
        self.clock.wait(seconds)

    def at(self, seconds: float, **standings: Standing) -> None:
        """Hear who is named, at that time; raises as the hub's look does."""
        self.clock.passed = seconds
        for name, standing in standings.items():
            self._coordinator.heard[{"bank": BANK, "gov": GOV}[name]] = Heard(seconds, standing)
        self._coordinator._judge(1, 0.0)


def test_an_old_delay_ends_no_run(tmp_path: Path) -> None:
    """A party that was late once: the time that a step may take begins when one has ended."""
    hub = Looked(tmp_path)
    hub.at(0, bank=WORKS, gov=WORKS)
    hub.at(70, gov=WORKS)  # the bank is away from the hub for longer than patience
    for seconds in range(80, 4_000, 40):
        hub.at(seconds, bank=WORKS, gov=WORKS)
    hub.at(4_001, bank=DONE, gov=WORKS)
    hub.at(4_005, bank=DONE, gov=WORKS)
    with pytest.raises(PartySilent, match="still works 3600 s after others have ended") as raised:
        hub.at(7_700, bank=DONE, gov=WORKS)
    assert raised.value.party == GOV


def test_who_is_away_is_named_and_not_who_works(tmp_path: Path) -> None:
    hub = Looked(tmp_path)
    hub.at(0, bank=WORKS, gov=WORKS)
    for seconds in range(20, 3_660, 20):
        hub.at(seconds, gov=WORKS)
    with pytest.raises(PartySilent, match="was not heard for 3600 s while others work") as raised:
        hub.at(3_700, gov=WORKS)
    assert raised.value.party == BANK


def test_who_says_that_another_attempt_is_done_moves_no_clock(tmp_path: Path) -> None:
    hub = Looked(tmp_path)
    for seconds in range(0, 3_600, 40):
        hub.at(seconds, bank=DONE, gov=BEFORE if seconds % 80 else WORKS)
    with pytest.raises(PartySilent, match="after others have ended") as raised:
        hub.at(3_700, bank=DONE, gov=BEFORE)
    assert raised.value.party == GOV


class Says:
    """A party that stands as a test says, whatever it is asked."""

    def __init__(self, name: str, standing: Callable[[Request], Standing | None]) -> None:
        self._name, self._standing = OrgId(name), standing

    def handle(self, request: Request) -> Reply:
        """Answer."""
        found = self._standing(request)
        if found is None:
            failure = Failure(UNKNOWN, "no such job", 6)
            return Reply(self._name, failure=failure)
        return Reply(self._name, {"standing": asdict(found)})


def test_who_is_gone_and_comes_back_costs_an_attempt_each_time(tmp_path: Path) -> None:
    """It says that it works when it is asked to take part, and that it was started anew later."""
    looks = 0

    def flickers(request: Request) -> Standing | None:
        nonlocal looks
        looks += request.kind == "look"
        assert looks < 100, "for ever"
        return None if request.kind == "look" else DONE

    parties: dict[OrgId, Answering] = {
        OrgId(GOV): Says(GOV, flickers),
        OrgId(BANK): Says(BANK, lambda _: WORKS),
    }
    with pytest.raises(PartySilent, match=f"{MAX_ATTEMPTS} attempts were cut off"):
        Looked(tmp_path, parties).work()
    assert looks == MAX_ATTEMPTS
