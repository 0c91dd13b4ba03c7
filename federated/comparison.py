"""A finished run against its alternatives, where all tables lie on one machine: the demonstration.

Replays each round in the clear from what the journal kept, so that the error that encryption and
fixed point brought in is measured and not believed.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from federated.baselines import alone, evaluate, mean_update, pooled, prepare_all
from federated.data import Standardiser
from federated.models.registry import build
from federated.parameters import decode_parameters, draw_of
from federated.tables import read_columns
from fusion.errors import InputInvalid
from fusion.stores.journal import SqliteJournal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from federated.data import Prepared
    from federated.study import Study


def compare(study: Study, tables: Mapping[str, Path], journal: Path) -> dict[str, Any]:
    """Return each organisation's own model, the joint one, the pooled one, and the error.

    Returns:
        ``organisations`` with ``id``, ``rows`` and ``auc_alone``; ``auc`` with ``joint`` and
        ``pooled``, all on the union of the hold-outs; ``max_abs_error_vs_plain``: the largest
        difference of any coordinate of any round's mean update from the one computed in the clear;
        not of a private run.

    Raises:
        InputInvalid: The run has not finished a round.
    """
    states = list(SqliteJournal(journal).rounds())
    if len(states) < 2:
        msg = "The run has not finished a round."
        raise InputInvalid(msg)
    loaded = {str(org): read_columns(study, tables[org]) for org in study.organisations}
    data = prepare_all(study, loaded)
    last = states[-1][1]
    joint = _parameters(study, last["parameters"])
    standardiser = Standardiser.from_json(last["standardisation"])
    return {
        "organisations": [
            {"id": org, "rows": table.rows, "auc_alone": alone(study, org, data)}
            for org, table in loaded.items()
        ],
        "auc": {
            "joint": evaluate(study, joint, standardiser, data),
            "pooled": pooled(study, data),
        },
        # With noise, the difference is the noise.
        **({} if study.privacy else {"max_abs_error_vs_plain": _error(study, data, states)}),
    }


def _error(
    study: Study, data: Mapping[str, Prepared], states: list[tuple[int, Mapping[str, Any]]]
) -> float:
    """Return the largest difference of a round's mean update from the one in the clear."""
    worst = 0.0
    for (_, before), (number, after) in itertools.pairwise(states):
        plain = mean_update(
            study,
            _parameters(study, before["parameters"]),
            Standardiser.from_json(before["standardisation"]),
            {org: data[org] for org in after["contributors"]},
            draw_of(number, after["attempt"]),
        )
        worst = max(worst, float(np.abs(_parameters(study, after["mean"]) - plain).max()))
    return worst


def _parameters(study: Study, stored: bytes) -> NDArray[np.float64]:
    return decode_parameters(stored, build(study, study.features).initial(study.seed).size)
