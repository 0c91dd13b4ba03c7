"""The strategy over Flower's Grid gives the engine's model, and refuses to be half used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, MetricRecord

from federated.run import Run
from federated.runtime.grid import Bells
from federated.strategies.secure_averaging import SecureAveraging
from federated.terms import agree
from fusion.errors import InputInvalid, Refused
from fusion.link.bell import Bell
from fusion.services.clock import SystemClock
from fusion.stores.memory import MemoryJournal
from tests.federation import NAMES, Federation, federation
from tests.strategy.grid import InProcessGrid, with_task_identity

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from federated.cohort import Cohort
    from federated.rounds import RoundEngine
    from tests.keys import Dealt


@pytest.fixture(autouse=True)
def _task_identity() -> Iterator[None]:
    yield from with_task_identity()


def _strategy(made: Federation, folder: Path) -> tuple[SecureAveraging, InProcessGrid]:
    grid = InProcessGrid(dict(made.parties))

    def run_of(cohort: Cohort) -> Run:
        terms, model = agree(made.study, "by-strategy", made.roster, made.key, NAMES)
        return Run(
            study=made.study,
            terms=terms,
            model=model,
            authority=made.hub,
            cohort=cohort,
            journal=MemoryJournal(),
            clock=SystemClock(),
            notary=made.notary(),
            emit=made.events.append,  # type: ignore[arg-type]
            pause=lambda _: None,
        )

    bells = Bells(*(Bell(folder / name) for name in ("requests", "replies", "restarts")))
    strategy = SecureAveraging(
        run_of=run_of, fleet_keys=grid.keys, clock=SystemClock(), bells=bells
    )
    return strategy, grid


def test_it_gives_the_model_of_the_engine(tmp_path: Path, dealt: Dealt) -> None:
    made = federation(tmp_path, dealt)
    strategy, grid = _strategy(made, tmp_path)
    judged: list[tuple[int, list[str]]] = []

    def judge(number: int, arrays: ArrayRecord) -> MetricRecord:
        judged.append((number, list(arrays)))
        return MetricRecord({"own": 0.5})

    result = strategy.start(grid, ArrayRecord(), num_rounds=made.study.rounds, evaluate_fn=judge)
    # Once, with the final model; nobody but the parties sees any in between.
    assert judged == [(2, list(result.arrays))]
    assert result.evaluate_metrics_serverapp == {2: MetricRecord({"own": 0.5})}
    assert all(party.asked[-1] == "close" for party in made.parties.values())
    flat = np.concatenate([array.numpy().ravel() for array in result.arrays.values()])
    engine: RoundEngine = federation(tmp_path, dealt).run()
    assert flat.tolist() == engine.run().tolist()
    assert sorted(result.evaluate_metrics_clientapp) == [0, 1, 2]
    assert result.evaluate_metrics_clientapp[2]["auc"] == made.of("metrics")[-1]["auc"]


@pytest.mark.parametrize(
    "words",
    [
        {"num_rounds": 7},
        {"initial_arrays": ArrayRecord([np.zeros(3)])},
        {"train_config": ConfigRecord({"lr": 0.1})},
        {"evaluate_config": ConfigRecord({"x": 1})},
    ],
)
def test_what_contradicts_the_study_is_refused(
    tmp_path: Path, dealt: Dealt, words: dict[str, Any]
) -> None:
    made = federation(tmp_path, dealt)
    strategy, grid = _strategy(made, tmp_path)
    with pytest.raises(InputInvalid):
        strategy.start(grid, **{"initial_arrays": ArrayRecord(), **words})
    assert all(not party.asked for party in made.parties.values())


def test_flowers_own_loop_is_refused(tmp_path: Path, dealt: Dealt) -> None:
    strategy, grid = _strategy(federation(tmp_path, dealt), tmp_path)
    arrays, config = ArrayRecord(), ConfigRecord()
    with pytest.raises(Refused):
        strategy.configure_train(1, arrays, config, grid)
    with pytest.raises(Refused):
        strategy.aggregate_train(1, [])
    with pytest.raises(Refused):
        strategy.configure_evaluate(1, arrays, config, grid)
    with pytest.raises(Refused):
        strategy.aggregate_evaluate(1, [])


def test_a_party_that_is_away_is_left_out_over_the_grid_as_well(
    tmp_path: Path, dealt: Dealt
) -> None:
    made = federation(tmp_path, dealt)
    away = made.parties[NAMES[0]]
    away.away = lambda request: request.kind == "contribute"
    strategy, grid = _strategy(made, tmp_path)
    strategy.start(grid, ArrayRecord())
    assert all(NAMES[0] not in event["contributors"] for event in made.of("round"))
    assert {event["organisation"] for event in made.of("refusal")} == {NAMES[0]}
