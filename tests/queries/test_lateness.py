"""Late answers at the service: ended, counted, told to the owner; then nothing is run any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusion.errors import WorkCancelled
from fusion.services import engines
from sandbox.attached import attached
from sandbox.lateness import asker_of
from tests.queries.world import ANALYST, OTHER, POLICY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusion.ports import Stop
    from sandbox.dialects import Name
    from sandbox.query import Compiled
    from sandbox.selection import Selection
    from sandbox.sources import Found
    from tests.queries.world import Up

TOTAL = "select count(*) as n from persons"


class Endless:
    """A :class:`sandbox.sources.Source` whose work ends when it is told to, and not before."""

    dialect: Name = "duckdb"

    def __init__(self) -> None:
        self.run_for: list[str] = []

    def check(self) -> None:
        """Tables that do not change."""

    def stand_by(self, compiled: Compiled, stop: Stop) -> None:
        """Nothing to wait for."""

    def replenish(self, compiled: Compiled) -> None:
        """Nothing was used up."""

    def run(
        self,
        compiled: Compiled,  # noqa: ARG002 - as the port has it
        selections: Sequence[Selection],  # noqa: ARG002
        *,
        caller: str,
        stop: Stop,
        seconds: float,  # noqa: ARG002
    ) -> Found:
        self.run_for.append(caller)
        while not stop.wait(60):
            pass
        raise WorkCancelled

    def close(self) -> None:
        """Nothing to let go of."""


def test_late_answers_are_ended_counted_and_told_and_then_nothing_is_run(up: Up) -> None:
    pooled = f"{POLICY}pools: [[{ANALYST}, {OTHER}]]\n"
    owner, policy = up.world.owner, pooled + "time: {late: 3}\n"
    up.world.attached = engines.queries().attach_policy(
        owner, policy, "policy.yaml", "belated", None
    )
    up.world.grant("belated")
    found = attached(owner, "belated")
    assert found is not None
    source = Endless()
    up.service._sources["belated"] = (found.revision, source)
    said = len(up.said)
    # Steps of 0.25, 0.5 and 1 s end without an answer.
    assert up.refused(TOTAL, dataset="belated", seconds=1).code == "F-010"
    told = [line for line in up.said[said:] if "late answers" in line]
    assert len(told) == 3
    assert "3 of 3" in told[-1]
    assert source.run_for == [ANALYST]
    # Who is in one pool with it has no more.
    asker = asker_of("belated", found.policy, OTHER)
    month = up.service._clock.now().strftime("%Y-%m")
    assert up.service._late._store.known(asker, month, "")[0] == 3
    # Whatever it is, and whichever revision: nothing is run, and no run is charged.
    charged = up.service._left(ANALYST, "belated")
    assert [each.late for each in charged] == [0]
    assert up.refused("select sex from persons group by sex", dataset="belated").code == "Q-25"
    assert source.run_for == [ANALYST]
    assert up.service._left(ANALYST, "belated") == charged
    # The owner may let there be more.
    engines.queries().attach_policy(owner, pooled, "policy.yaml", "belated", None)
    assert up.ask(TOTAL, dataset="belated").rows == [[1200]]
