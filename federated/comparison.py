"""A finished run against its alternatives, where all tables lie on one machine: the demonstration.

Replays each round in the clear from what the journal kept, so that the error that encryption and
fixed point brought in is measured and not believed.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from federated.baselines import alone, evaluate, pooled
from federated.data import Standardiser, prepare
from federated.models.registry import build
from federated.parameters import decode_parameters
from federated.training import train_local
from fusion.connectors.files import read_table
from fusion.errors import InputInvalid
from fusion.stores.journal import SqliteJournal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from federated.data import Prepared
    from federated.models.registry import Model
    from federated.study import Study


def compare(study: Study, tables: Mapping[str, Path], journal: Path) -> dict[str, Any]:
    """Return each organisation's own model, the joint one, the pooled one, and the error.

    Returns:
        ``organisations`` with ``id``, ``rows`` and ``auc_alone``; ``auc`` with ``joint`` and
        ``pooled``, all on the union of the hold-outs; ``max_abs_error_vs_plain``: the largest
        difference of any coordinate of any round's mean update from the one computed in the clear.

    Raises:
        InputInvalid: The run has not finished a round.
    """
    columns = [*(column.name for column in study.columns), study.label]
    loaded = {org: read_table(tables[org], columns) for org in study.organisations}
    states = list(SqliteJournal(journal).rounds())
    if len(states) < 2:
        msg = "The run has not finished a round."
        raise InputInvalid(msg)
    data = {org: prepare(study, table) for org, table in loaded.items()}
    model = build(study, next(iter(data.values())).train_x.shape[1])
    size = model.initial(study.seed).size
    last = states[-1][1]
    joint = decode_parameters(last["parameters"], size)
    standardiser = Standardiser.from_json(last["standardisation"])
    return {
        "organisations": [
            {"id": org, "rows": table.rows, "auc_alone": alone(study, org, loaded)}
            for org, table in loaded.items()
        ],
        "auc": {
            "joint": evaluate(study, joint, standardiser, loaded),
            "pooled": pooled(study, loaded),
        },
        "max_abs_error_vs_plain": _error(study, model, data, states),
    }


def _error(
    study: Study,
    model: Model,
    data: Mapping[str, Prepared],
    states: list[tuple[int, Mapping[str, Any]]],
) -> float:
    worst = 0.0
    for (_, before), (number, after) in itertools.pairwise(states):
        params = decode_parameters(before["parameters"], model.initial(study.seed).size)
        plain = _plain_mean(study, model, data, params, number, after)
        mean = decode_parameters(after["mean"], params.size)
        worst = max(worst, float(np.abs(mean - plain).max()))
    return worst


def _plain_mean(
    study: Study,
    model: Model,
    data: Mapping[str, Prepared],
    params: NDArray[np.float64],
    number: int,
    state: Mapping[str, Any],
) -> NDArray[np.float64]:
    """Compute a round's mean update in the clear, clipped as the round was."""
    standardiser = Standardiser.from_json(state["standardisation"])
    clip = study.aggregation.clip
    total, rows = np.zeros_like(params), 0.0
    for org in state["contributors"]:
        own = data[org]
        update = train_local(
            study, model, params, standardiser.apply(own.train_x), own.train_y,
            round_number=number, org=org,
        )  # fmt: skip
        total += np.clip(update.delta * (update.rows / study.max_rows), -clip, clip)
        rows += update.rows
    return total * (study.max_rows / rows)
