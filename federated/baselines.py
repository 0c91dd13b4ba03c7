"""What the joint model is measured against: each organisation alone, and all rows in one place.

Everything here needs rows of several organisations in one process: it is for simulations and the
demo, never for a federation. All models are judged by the exact AUC on the union of all hold-outs.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from federated.data import Standardiser, moments, prepare
from federated.metrics import auc
from federated.models.registry import build
from federated.norms import bounded
from federated.optimisers import make
from federated.training import train_local

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from federated.data import Prepared
    from federated.study import Study
    from fusion.connectors.files import Table

    Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class PlainRun:
    """A run of the study's schedule without encryption.

    Attributes:
        params: Of the final model.
        standardiser: From the moments of all training rows that took part.
        largest_delta: Greatest coordinate of any local update, in magnitude, before clipping.
    """

    params: Floats
    standardiser: Standardiser
    largest_delta: float


def prepare_all(study: Study, tables: Mapping[str, Table]) -> dict[str, Prepared]:
    """Prepare each organisation's table.

    Raises:
        DataInvalid: One does not fit the study; the message names no organisation.
    """
    return {organisation: prepare(study, table) for organisation, table in tables.items()}


def federate(study: Study, data: Mapping[str, Prepared]) -> PlainRun:
    """Run the study in the clear: the same rounds, batches, clip and optimiser, real arithmetic."""
    standardiser = Standardiser.from_sums(
        study, np.sum([moments(study, part.train_x) for part in data.values()], axis=0)
    )
    model = build(study, study.features)
    rows = {organisation: standardiser.apply(part.train_x) for organisation, part in data.items()}
    params, optimiser, largest = model.initial(study.seed), make(study), 0.0
    for number in range(1, study.rounds + 1):
        updates = {
            organisation: train_local(
                study, model, params, rows[organisation], part.train_y,
                round_number=number, org=organisation,
            ).delta
            for organisation, part in data.items()
        }  # fmt: skip
        largest = max(largest, *(float(np.abs(delta).max()) for delta in updates.values()), 0.0)
        params = optimiser.step(params, _weighted(study, updates, data))
    return PlainRun(params, standardiser, largest)


def mean_update(
    study: Study,
    params: Floats,
    standardiser: Standardiser,
    data: Mapping[str, Prepared],
    round_number: int,
) -> Floats:
    """Return in the clear what a round's secure sum has to give: the mean update over rows.

    Args:
        study: The study.
        params: The model that came in.
        standardiser: As in the run.
        data: Of exactly the round's contributors.
        round_number: Of the round.
    """
    model = build(study, study.features)
    updates = {
        organisation: train_local(
            study, model, params, standardiser.apply(part.train_x), part.train_y,
            round_number=round_number, org=organisation,
        ).delta
        for organisation, part in data.items()
    }  # fmt: skip
    return _weighted(study, updates, data)


def _weighted(study: Study, updates: Mapping[str, Floats], data: Mapping[str, Prepared]) -> Floats:
    """Return the mean over rows, clipped as the secure sum clips: update times share of rows."""
    clip = study.aggregation.clip
    rows = {organisation: len(part.train_y) for organisation, part in data.items()}
    weighted = [
        np.clip(bounded(study, delta) * (rows[organisation] / study.max_rows), -clip, clip)
        for organisation, delta in updates.items()
    ]
    total = np.sum(weighted, axis=0) * (study.max_rows / sum(rows.values()))
    return np.asarray(total, dtype=np.float64)


def _together(data: Mapping[str, Prepared]) -> Prepared:
    parts = list(data.values())
    return dataclasses.replace(
        parts[0],
        train_x=np.concatenate([part.train_x for part in parts]),
        train_y=np.concatenate([part.train_y for part in parts]),
    )


def evaluate(
    study: Study, params: Floats, standardiser: Standardiser, data: Mapping[str, Prepared]
) -> float | None:
    """Return the exact AUC of a model on the union of all hold-outs; None if of one class."""
    model = build(study, study.features)
    x = standardiser.apply(np.concatenate([part.holdout_x for part in data.values()]))
    return auc(model.scores(params, x), np.concatenate([part.holdout_y for part in data.values()]))


def alone(study: Study, organisation: str, data: Mapping[str, Prepared]) -> float | None:
    """Return the AUC of what one organisation learns by itself, with the study's own schedule."""
    run = federate(study, {organisation: data[organisation]})
    return evaluate(study, run.params, run.standardiser, data)


def pooled(study: Study, data: Mapping[str, Prepared]) -> float | None:
    """Return the AUC of the same model trained on all training rows in one place.

    The schedule is the study's, with batches as large as all organisations' together, so that it
    sees as many rows as they do.
    """
    together = _together(data)
    batch = study.local.batch * len(data)
    wide = dataclasses.replace(
        study,
        max_rows=max(study.max_rows, len(together.train_y)),
        local=study.local.model_copy(update={"batch": batch}),
    )
    run = federate(wide, {"pooled": together})
    return evaluate(study, run.params, run.standardiser, data)
