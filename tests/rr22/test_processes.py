"""A node that is killed in the middle of RR22: the run ends by name, and is not begun anew."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.aligning.test_processes import Run
from tests.aligning.world import BANK, GOV, node_process
from tests.rr22.offering import rr22_text

if TYPE_CHECKING:
    from tests.aligning.world import World


@pytest.mark.soak
@pytest.mark.parametrize("victim", [BANK, GOV])
def test_a_node_that_is_killed_ends_the_run(world: World, victim: str) -> None:
    other = BANK if victim == GOV else GOV
    with world.serving(other):
        with node_process(world, victim, "die", "1") as process:
            run = Run(world, rr22_text(patience=40.0))
            assert process.wait(30) == -signal.SIGKILL
        assert run.kept(victim)
        with node_process(world, victim):
            record = run.end()
    assert (record["status"], record["code"]) == ("failed", "A-21")
    for name in (victim, other):
        assert run.rows(name) is None
        assert not run.kept(name)
