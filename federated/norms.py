"""How long an update may be: what each organisation keeps to, and what the mean is checked against.

The secure sum bounds coordinates. With ``max_norm`` in the study each organisation also scales its
update to that length (L2), before it is weighted by its rows; the mean of such updates is no
longer, whoever takes part, so a longer one shows that somebody did not. It bounds what a round can
do to the model, not in which direction. Pure.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from fusion.errors import SumDisputed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from federated.study import Study
    from fusion.crypto.paillier.packing import Layout


def bounded(study: Study, delta: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return an update, scaled down to the study's length if it is longer."""
    limit = study.aggregation.max_norm
    length = float(np.linalg.norm(delta))
    return delta if limit is None or length <= limit else delta * (limit / length)


def check_mean(
    study: Study, layout: Layout, mean: NDArray[np.float64], rows: float, contributors: int
) -> None:
    """Refuse a mean update that updates of the study's length can't have.

    Args:
        study: The study.
        layout: Of the sum; its steps round each contribution.
        mean: Summed weighted updates, over the summed rows.
        rows: Rows of all contributors.
        contributors: Contributions in the sum.

    Raises:
        SumDisputed: It is longer.
    """
    limit = study.aggregation.max_norm
    if limit is None:
        return
    # Each coordinate of each contribution is rounded to half a step at most.
    rounding = contributors * layout.step(layout.tensors[0]) / 2.0
    rounding *= math.sqrt(mean.size) * study.max_rows / max(rows, 1.0)
    length = float(np.linalg.norm(mean))
    if length > (limit + rounding) * (1.0 + 1e-9):
        msg = (
            f"The mean update was not applied: its length is {length:.6g}, and that of updates "
            f"within `max_norm` at most {limit + rounding:.6g}. Some contribution is longer."
        )
        raise SumDisputed(msg, hint="A sum does not show whose: ask the organisations.")
