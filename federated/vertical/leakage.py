"""The leak report of a joint model: measured by the label party, from what it has after training.

It knows which leaf each row fell into, so it knows what every feature party has seen, and plays
each of them (:mod:`~.label_leakage`). It plays whoever uses the model (:mod:`~.membership`). And it
counts leaves (:mod:`~.leaves`). What a report is held to is in :mod:`fusion.grants.leakage`. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from federated.vertical import guessing, label_leakage, leaves, membership
from federated.vertical.trained import Trained, Trees, Weights
from fusion.grants.leakage import (
    Attack,
    Caught,
    LeakReport,
    Measure,
    Membership,
    Support,
    measure,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from federated.vertical.intervals import Bounded
    from federated.vertical.membership import Family

SMALL: Final = 20
"""A leaf of fewer rows is counted as small where no limit says another number."""

_FAMILIES: Final[Mapping[str, Family]] = {
    "logistic": "logistic",
    "scorecard": "logistic",
    "linear": "squared",
    "poisson": "poisson",
}


def report(trained: Trained, model: Trees | Weights, *, small: int | None = None) -> LeakReport:
    """Measure what a model, and its training, tell.

    Args:
        trained: The model's outputs, labels and rows.
        model: What was trained.
        small: A leaf of fewer rows is counted as small.

    Returns:
        The report; :meth:`~fusion.grants.leakage.LeakReport.check` holds it to limits.

    Raises:
        DataInvalid: An output is no number.
    """
    if isinstance(model, Trees):
        return _of_trees(trained, model, small or SMALL)
    family = _FAMILIES[model.model]
    return LeakReport(
        model=model.model,
        backend=model.backend,
        rows_training=int(trained.training.sum()),
        rows_held_out=int((~trained.training).sum()),
        membership=_membership(trained, family),
        labels=tuple(
            label_leakage.by_weights(trained, model, party, trained.seed)
            for party in _guessing(trained)
        ),
        leaves=None,
        weights=tuple(Support(party=p, smallest=n) for p, n in model.supports.items()),
        rows_told=model.rows_told,
    )


def _of_trees(trained: Trained, model: Trees, small: int) -> LeakReport:
    training, samples = trained.training, model.samples(trained.training)
    return LeakReport(
        model="boosting",
        backend=model.backend,
        rows_training=int(training.sum()),
        rows_held_out=int((~training).sum()),
        membership=_membership(trained, model.loss.objective),
        labels=tuple(
            label_leakage.by_trees(trained, model, samples, index, trained.seed)
            for index in range(len(_guessing(trained)))
        ),
        leaves=leaves.leaves(
            [place for _, place in model.grown[: model.kept]],
            samples[: model.kept],
            trained.labels,
            training,
            small,
        ),
    )


def _guessing(trained: Trained) -> Sequence[str]:
    """Return the parties that are played; none where a class has too few rows."""
    enough = guessing.measurable(trained.positive, trained.training)
    return trained.parties if enough else ()


def _membership(trained: Trained, family: Family) -> Membership | None:
    """Return attacks on membership; None without rows that were held out."""
    training = trained.training
    if training.all():
        return None
    found = membership.losses(family, trained.outputs, trained.labels)
    classes = trained.labels.astype(np.int64) if family == "logistic" else None
    told = membership.advantages(found, training, classes, trained.seed)
    return Membership(
        rows_in=int(training.sum()),
        rows_out=int((~training).sum()),
        auc=_measure(membership.area(found, training)),
        attacks=tuple(
            Attack(name=name, advantage=_measure(bounded)) for name, bounded in told.items()
        ),
        caught=tuple(
            Caught(false_positives_micro=share, true_positives=_measure(bounded))
            for share, bounded in membership.caught(found, training)
        ),
    )


def _measure(bounded: Bounded) -> Measure:
    return measure(bounded.value, bounded.low, bounded.high)
