"""A query that the compiler should never have let through: it ends, and the node goes on."""

from __future__ import annotations

import logging
import re
import time
from typing import TYPE_CHECKING

import pytest

from fusion.services import engines
from sandbox.limits import KILL_SECONDS
from sandbox.scans import Steps
from tests.queries.world import POLICY

if TYPE_CHECKING:
    from tests.queries.world import Up

TOTAL = "select count(*) as n from persons"
SECONDS = 2
ENDLESS = {
    # DuckDB can't be interrupted in it.
    "computes": "SELECT CAST(levenshtein(repeat('x', 900000), repeat('y', 900000)) AS INTEGER) "
    "AS e",
    "allocates": "SELECT CAST(len(list(concat(a.range, b.range))) AS INTEGER) AS e "
    "FROM range(1000000000) AS a, range(1000000000) AS b",
}


@pytest.mark.parametrize("name", ENDLESS)
def test_a_query_without_end_is_killed_and_the_next_is_answered(
    up: Up, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    policy = POLICY + "time: {late: 1000}\n"
    up.world.attached = engines.queries().attach_policy(
        up.world.owner, policy, "policy.yaml", "endless", None
    )
    up.world.grant("endless", title=f"Endless: {name}")
    # A machine that is busy with others for a moment is given another one; a fault comes each time.
    for left in reversed(range(5)):
        caplog.clear()
        # Each has a name of its own: what was late once may take as long again.
        statement = f"select count(*) as {name}{left} from persons"
        with monkeypatch.context() as patched, caplog.at_level(logging.WARNING, "banyan.isolation"):
            patched.setattr(Steps, "_select", lambda *_: ENDLESS[name])
            patched.setattr(Steps, "_direct", lambda *_: None)  # the engine is what does not end
            failed = up.refused(statement, dataset="endless", seconds=SECONDS)
            told = _told(caplog)
        assert failed.code == "F-010"
        (passed,) = re.findall(r"after (\d+\.\d\d) s", told)
        if float(passed) <= SECONDS + KILL_SECONDS:
            break
        assert left, passed
    assert up.ask(TOTAL, dataset="endless").rows == [[1200]]


def _told(caplog: pytest.LogCaptureFixture) -> str:
    """Return what the owner is told when the worker is gone, which is after the answer has left."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        for each in caplog.records:
            if each.name == "banyan.isolation":
                return each.getMessage()
        time.sleep(0.02)
    message = "the worker is not gone"
    raise AssertionError(message)
