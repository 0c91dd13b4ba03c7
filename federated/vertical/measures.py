"""What a vertical model is judged by: AUC for a class, R² for numbers, deviance for counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from federated.metrics import auc

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

AUC, R2, DEVIANCE = "auc", "r2", "deviance explained"
METRICS: Final = {
    "logistic": AUC,
    "squared": R2,
    "linear": R2,
    "poisson": DEVIANCE,
    "scorecard": AUC,
}
"""By loss or family."""


def measure(
    metric: str, outputs: Floats, labels: Floats, training: Bools
) -> dict[str, float | None]:
    """Return the measure of a model on rows to train and to judge; None where it is not defined.

    That is so where there are no rows, where they are of one class (AUC), or where all have the
    same label (the others).

    Args:
        metric: One of :data:`METRICS`.
        outputs: Means, of all rows.
        labels: Likewise.
        training: Which rows train.
    """
    found: dict[str, float | None] = {}
    for name, rows in (("train", training), ("test", ~training)):
        found[name] = _measured(metric, outputs[rows], labels[rows]) if rows.any() else None
    return found


def _measured(metric: str, outputs: Floats, labels: Floats) -> float | None:
    if metric == AUC:
        return auc(outputs, labels)
    mean = np.full(len(labels), labels.mean())
    loss = _deviance if metric == DEVIANCE else _squares
    without = loss(mean, labels)
    return 1.0 - loss(outputs, labels) / without if without else None


def _squares(outputs: Floats, labels: Floats) -> float:
    return float(((labels - outputs) ** 2).sum())


def _deviance(outputs: Floats, labels: Floats) -> float:
    safe = np.maximum(outputs, 1e-9)
    terms = np.where(labels > 0, labels * np.log(np.maximum(labels, 1e-9) / safe), 0.0)
    return float(2 * (terms - labels + outputs).sum())
