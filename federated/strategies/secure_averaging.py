"""``SecureAveraging``: plug the round engine into a Flower ServerApp as a strategy.

::

    strategy = SecureAveraging(run_of=lambda cohort: Run(study=..., cohort=cohort, ...),
                               fleet_keys={...}, clock=SystemClock(), bells=bells_of(hub))
    result = strategy.start(grid, ArrayRecord(), num_rounds=study.rounds)

Only ``start`` is of use: Flower's own loop of train and evaluate has no place for a list, a
submission and an opening, so the hooks of that loop refuse.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from flwr.app import Array, ArrayRecord, MetricRecord
from flwr.serverapp.strategy import Result, Strategy

from federated.rounds import RoundEngine
from federated.runtime.grid import Bells, GridCohort
from federated.runtime.patience import shorten
from fusion.errors import InputInvalid, Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from flwr.app import ConfigRecord, Message
    from flwr.serverapp import Grid
    from numpy.typing import NDArray

    from federated.cohort import Cohort
    from federated.models.registry import Model
    from federated.run import Run
    from fusion.ports import Clock
    from fusion.types import OrgId


class SecureAveraging(Strategy):
    """Securely summed federated training; the study says how."""

    def __init__(
        self,
        *,
        run_of: Callable[[Cohort], Run],
        fleet_keys: Mapping[OrgId, str],
        clock: Clock,
        bells: Bells,
    ) -> None:
        """Take everything but the grid.

        Args:
            run_of: Makes the run over a cohort.
            fleet_keys: Each organisation's key on the fleet interface, from the roster.
            clock: Time.
            bells: The hub's, see :func:`federated.runtime.grid.bells_of`.
        """
        self._run_of = run_of
        self._fleet_keys = fleet_keys
        self._clock = clock
        self._bells = bells

    def start(
        self,
        grid: Grid,
        initial_arrays: ArrayRecord,
        num_rounds: int = 0,
        timeout: float = 0.0,
        train_config: ConfigRecord | None = None,
        evaluate_config: ConfigRecord | None = None,
        evaluate_fn: Callable[[int, ArrayRecord], MetricRecord | None] | None = None,
    ) -> Result:
        """Run the study.

        Args:
            grid: Flower's grid.
            initial_arrays: Has to be empty: the study's seed says where all start.
            num_rounds: The study's number of rounds, or 0.
            timeout: Unused; the study has a deadline for each phase.
            train_config: Has to be empty; the study says how to train.
            evaluate_config: Has to be empty.
            evaluate_fn: Called with the final model, if given.

        Returns:
            The model, and loss, AUC, KS and calibration error of each round.

        Raises:
            InputInvalid: Something contradicts the study that the parties agreed to.
            FusionError: Whatever stopped the run.
        """
        del timeout
        shorten()
        run = self._run_of(GridCohort(grid, self._fleet_keys, self._clock, self._bells))
        if initial_arrays or train_config or evaluate_config:
            msg = "Start, training and evaluation are set by the study that the parties agreed to."
            raise InputInvalid(msg, hint="Pass an empty ArrayRecord and no configuration.")
        if num_rounds not in {0, run.study.rounds}:
            msg = f"The parties agreed to {run.study.rounds} rounds, not to {num_rounds}."
            raise InputInvalid(msg, hint="Change `rounds` in the study.")
        result = Result()
        engine = RoundEngine(_listening(run, result))
        parameters = engine.run()
        engine.close("done")
        result.arrays = _arrays(run.model, parameters)
        if evaluate_fn is not None:
            judged = evaluate_fn(run.study.rounds, result.arrays)
            if judged is not None:
                result.evaluate_metrics_serverapp[run.study.rounds] = judged
        return result

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Refuse: rounds are run by :meth:`start` as a whole."""
        del server_round, arrays, config, grid
        _refuse()

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Refuse: no reply can be aggregated before it is listed, submitted and opened."""
        del server_round, replies
        _refuse()

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Refuse: metrics travel in the same sum as the updates."""
        del server_round, arrays, config, grid
        _refuse()

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """Refuse: metrics travel in the same sum as the updates."""
        del server_round, replies
        _refuse()

    def summary(self) -> None:
        """Say nothing: the run's events say what happens."""


def _refuse() -> NoReturn:
    msg = "SecureAveraging runs whole rounds of its own."
    raise Refused(msg, hint="Call start().")


def _listening(run: Run, result: Result) -> Run:
    """Return the run, with its metrics also written to ``result``."""

    def emit(event: Mapping[str, Any]) -> None:
        run.emit(event)
        if event["event"] == "metrics":
            known = {name: event[name] for name in ("loss", "auc", "ks", "ece")}
            result.evaluate_metrics_clientapp[event["round"]] = MetricRecord(
                {name: value for name, value in known.items() if value is not None}
            )

    return replace(run, emit=emit)


def _arrays(model: Model, parameters: NDArray[np.float64]) -> ArrayRecord:
    arrays, start = {}, 0
    for name, shape in model.shapes:
        size = int(np.prod(shape))
        arrays[name] = Array(parameters[start : start + size].reshape(shape))
        start += size
    return ArrayRecord(arrays)
