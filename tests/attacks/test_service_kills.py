"""kill -9 of a service under eight analysts: no budget overspent, nothing out unwritten."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from fusion.ledger import entry as entries
from fusion.ledger.entry import decode
from fusion.ledger.verify import Expectations
from fusion.services import engines
from fusion.services.audit import audit_whole
from fusion.services.ledger import Book
from fusion.services.storage import open_budgets
from sandbox import ledgers, runner
from sandbox.attached import attached
from sandbox.history.predicates import key_of
from sandbox.selection import definitions_of
from tests.attacks.service_process import ANALYSTS, DATASET
from tests.queries.world import ANALYST, POLICY, World, make_world

if TYPE_CHECKING:
    from sandbox.history.state import State

ROOT: Final = Path(__file__).parents[2]


def _killed(folder: Path, runs: int, kills: int, milliseconds: int) -> None:
    """Kill so often; runs have to be left even if each kill costs all analysts one."""
    world = make_world(folder / "world", (DATASET,))
    # A busy machine is not what is looked at here.
    engines.queries().attach_policy(
        world.owner, POLICY + "time: {late: 100000}\n", "policy.yaml", DATASET, None
    )
    grant = world.grant(runs=runs, rows=100_000)
    out = folder / "said"
    words = ["-m", "tests.attacks.service_process", str(world.owner.path), str(out)]
    done = subprocess.run(
        [sys.executable, *words, str(kills), str(milliseconds)], cwd=ROOT, check=False, timeout=900
    )
    assert done.returncode == 0
    said = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    given = [each for each in said if "rows" in each]
    _check_log(world, grant, runs, given)
    _check_history(world, given)
    # Somebody was answered before and after, and somebody was refused for the budget; what was
    # refused else was so before it was charged.
    assert given
    assert {each.get("refused") for each in said} - {None, "F-010", "Q-28"} == {"G-31"}


def _check_log(world: World, grant: str, runs: int, given: list[dict[str, Any]]) -> None:
    budgets = open_budgets(world.owner)
    used = budgets.used(grant, "query").runs
    budgets.close()
    # Spent to the last one, and not beyond; a kill costs the asker a run, never the owner one.
    assert len(given) <= used == runs
    with Book(world.owner) as book:
        bundle = book.bundle()
    audit_whole(bundle, Expectations(witnessed=False), ())
    found = [decode(data) for data in bundle.entries]
    answered = [each for each in found if isinstance(each, entries.QueryAnswered)]
    charged = {each.reservation for each in found if isinstance(each, entries.BudgetMoved)}
    assert {each.reservation for each in answered} <= charged
    assert len(answered) <= runs
    assert {each["digest"] for each in given} <= {each.result for each in answered}


def _check_history(world: World, given: list[dict[str, Any]]) -> None:
    found = attached(world.owner, DATASET)
    assert found is not None
    history = ledgers.history_of(world.owner, found)
    try:
        assert history.verify() == 1
        state, _ = history.opened(ledgers.scope_of(found, ANALYST))
        assert state.leverage.h.max() <= 1 / found.policy.release.k + 1e-9
    finally:
        history.close()
    shown = [each for each in given if each["rows"] != [[None, None]]]
    assert shown
    for each in shown:
        prepared = runner.prepare(each["statement"], found, bytes(32))
        _check_decided(prepared, state)


def _check_decided(prepared: runner.Prepared, state: State) -> None:
    """Whatever was shown is on disk as released."""
    definitions = definitions_of(prepared.attached.policy)
    for (selection,) in prepared.selections:
        key = key_of(definitions.form(selection.predicate(())))
        assert (key, selection.measure) in state.released


@pytest.mark.timeout(600)
def test_six_kills_overspend_nothing(tmp_path: Path) -> None:
    _killed(tmp_path, runs=6 * ANALYSTS + 20, kills=6, milliseconds=900)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_eighty_kills_overspend_nothing(tmp_path: Path) -> None:
    _killed(tmp_path, runs=80 * ANALYSTS + 100, kills=80, milliseconds=900)
