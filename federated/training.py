"""What an organisation does in a round: mini-batch gradient steps from the model that came in.

With ``proximal`` above zero the steps are FedProx (Li et al., MLSys 2020): a pull towards the
incoming model, against drift where organisations differ. Pure; repeatable from the study's seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from federated.layouts import LOSS_CAP
from federated.seeds import generator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from federated.models.registry import Model
    from federated.study import Study

    Floats = NDArray[np.float64]


DIVERGED: Final = 1e6
"""What a coordinate of a diverged update counts as; beyond every clip."""


@dataclass(frozen=True, slots=True, eq=False)
class LocalUpdate:
    """What a round of local training gave.

    Attributes:
        delta: New parameters minus incoming ones.
        loss_sum: Log-loss of the incoming model on the training rows, each row at most 16.
        rows: Number of training rows.
    """

    delta: Floats
    loss_sum: float
    rows: int


def train_local(
    study: Study,
    model: Model,
    params: Floats,
    x: Floats,
    y: Floats,
    *,
    round_number: int,
    org: str,
    watch: Callable[[], None] = lambda: None,
) -> LocalUpdate:
    """Train from ``params`` on standardised rows.

    ``watch`` is called before each step, and ends the training by raising.

    An update that diverged is returned with its coordinates at :data:`DIVERGED`, which the secure
    sum clips and counts: a refusal would tell the hub, which chose the start, about the data.
    """
    new = params.copy()
    local = study.local
    with np.errstate(over="ignore", invalid="ignore"):
        for rows in batches(study, len(y), round_number, org):
            watch()
            _, gradient = model.loss_and_gradient(new, x[rows], y[rows])
            if local.proximal:
                gradient = gradient + local.proximal * (new - params)
            new -= local.learning_rate * gradient
        delta = np.nan_to_num(new - params, nan=DIVERGED, posinf=DIVERGED, neginf=-DIVERGED)
    loss = capped_loss(model.scores(params, x), y)
    return LocalUpdate(delta, loss, len(y))


def capped_loss(scores: Floats, y: Floats) -> float:
    """Return the summed log-loss, each row at most 16."""
    right = np.where(y > 0.0, scores, 1.0 - scores)
    return float(np.minimum(-np.log(np.maximum(right, 1e-300)), LOSS_CAP).sum())


def batches(study: Study, rows: int, round_number: int, org: str) -> Iterator[NDArray[np.int64]]:
    """Yield the rows of each step: shuffled passes over the data, cut into batches."""
    random = generator("batches", study.seed, org, round_number)
    size = min(study.local.batch, rows)
    order, start = random.permutation(rows), 0
    for _ in range(study.local.steps):
        if start + size > rows:
            order, start = random.permutation(rows), 0
        yield order[start : start + size]
        start += size
