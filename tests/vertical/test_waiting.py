"""For how long a hub waits for parties that are late, or still work when others have ended."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from federated.cohort import InProcessCohort
from federated.vertical.align_run import AlignmentCoordinator
from federated.vertical.coordinator import JointRun
from federated.vertical.standings import Heard, Standing
from federated.vertical.tally import Tally
from fusion.alignment.study import parse_study
from fusion.errors import PartySilent
from tests.aligning.world import BANK, GOV, study_text
from tests.sandbox.late_node import Scripted

if TYPE_CHECKING:
    from pathlib import Path

WORKS = Standing(
    state="aligning", attempt=1, step=0, rows=None, bytes=0, aligning=0, part="", quality=None,
    told="", failure=None, marks=(),
)  # fmt: skip
DONE = replace(WORKS, state="done")


class Looked:
    """A hub's look at two parties, whenever a test says."""

    def __init__(self, folder: Path) -> None:
        self.clock = Scripted()
        run = JointRun(
            job="job-1",
            study=parse_study(study_text(patience=60.0), "study.toml"),
            order=None,
            cohort=InProcessCohort({}),
            clock=self.clock,
            pause=print,
            emit=print,
            stopping=lambda: False,
            next_attempt=lambda: 1,
            began=print,
            tally=Tally(folder / "sent.json"),
        )
        self._coordinator = AlignmentCoordinator(run)

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
