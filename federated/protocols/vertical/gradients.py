"""Losses of boosting, and their gradients as integers that a field of known width holds.

With 23 fraction bits a gradient of the logistic loss keeps more digits than a float32. Every sum is
a sum of integers, so it does not depend on who added what in which order: that is why the parties'
trees are exactly those of the pooled table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from federated import seeds
from federated.protocols.vertical import label_range
from fusion.errors import DataInvalid, InputInvalid

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]

Objective = Literal["logistic", "squared"]

FRACTION_BITS: Final = 23
ONE: Final = 1 << FRACTION_BITS
LARGEST_RESIDUAL: Final = 4.0
"""Bound of a squared loss's gradient, in units of the label's largest distance from its mean."""

MAX_ROWS: Final = 1 << 24
"""A float64 counts exactly to 2^53, and a sum of gradients stays below."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Goss:
    """Gradient-based one-side sampling (Ke et al., LightGBM, NIPS 2017, section 3).

    Attributes:
        top: Share of the rows that is kept for the size of its gradients.
        other: Share that is drawn of the rest, and weighed up for it.
    """

    top: float
    other: float

    def __post_init__(self) -> None:
        """Refuse shares that are none.

        Raises:
            InputInvalid: Not above 0, or more than all rows together.
        """
        if not (0 < self.top < 1 and 0 < self.other < 1 and self.top + self.other <= 1):
            raise InputInvalid("The two shares of GOSS are above 0 and at most 1 together.")

    @property
    def weight(self) -> float:
        """What a drawn row's gradient is multiplied with."""
        return (1 - self.top) / self.other


@dataclass(frozen=True, slots=True)
class Fields:
    """Widths that hold a sum of gradients and one of hessians over all rows.

    Attributes:
        gradient_bits: Two's complement.
        hessian_bits: Never negative.
    """

    gradient_bits: int
    hessian_bits: int

    @property
    def bits(self) -> int:
        """Of the pair."""
        return self.gradient_bits + self.hessian_bits


def bounds(objective: Objective, weight: float = 1.0) -> tuple[int, int]:
    """Return the largest gradient and hessian that a row can have, as integers.

    Args:
        objective: The loss.
        weight: The largest weight of a row.
    """
    gradient, hessian = (1.0, 0.25) if objective == "logistic" else (LARGEST_RESIDUAL, 1.0)
    return int(np.ceil(gradient * weight * ONE)), int(np.ceil(hessian * weight * ONE))


def fields(objective: Objective, rows: int, weight: float = 1.0) -> Fields:
    """Return widths in which no sum over ``rows`` rows can overflow.

    Raises:
        InputInvalid: More rows than sums are exact for.
    """
    if not 0 < rows <= MAX_ROWS:
        raise InputInvalid(f"Boosting takes 1 to {MAX_ROWS} rows.")
    gradient, hessian = bounds(objective, weight)
    return Fields((gradient * rows).bit_length() + 1, (hessian * rows).bit_length())


class Loss:
    """A loss on the scale of scores, and its labels.

    Attributes:
        objective: Which.
        scale: What a score of 1 is on the scale of the labels; 1 for the logistic loss.
        start: Score of every row before the first tree.
    """

    def __init__(self, objective: Objective, labels: Floats, training: Bools) -> None:
        """Take labels, and learn scale and start from the training rows.

        Raises:
            DataInvalid: Not numbers, not 0 and 1 where they have to be, or all the same.
        """
        known = labels[training]
        label_range.check(labels, known)
        self.objective = objective
        mean = float(known.mean())
        if objective == "logistic":
            if not np.isin(labels, (0.0, 1.0)).all():
                raise DataInvalid(
                    "The label of a logistic loss is 0 or 1.",
                    hint="Name the value that counts as 1: `positive`.",
                )
            self.scale, self.start = 1.0, float(np.log(mean / (1 - mean)))
            self._labels = labels
        else:
            self.scale = float(np.abs(known - mean).max())
            self.start = 0.0
            self._labels = (labels - mean) / self.scale
        self.mean = mean

    def gradients(self, scores: Floats, rows: Ints, weights: Floats | None = None) -> Ints:
        """Return ``(len(rows), 2)``: gradient and hessian of each row, as integers.

        Args:
            scores: Of all rows.
            rows: Whose.
            weights: Of these rows; all 1 if left out.
        """
        y, s = self._labels[rows], scores[rows]
        if self.objective == "logistic":
            p = 1.0 / (1.0 + np.exp(-s))
            pair = np.stack([p - y, p * (1.0 - p)], axis=1)
        else:
            residual = np.clip(s - y, -LARGEST_RESIDUAL, LARGEST_RESIDUAL)
            pair = np.stack([residual, np.ones(len(rows))], axis=1)
        if weights is not None:
            pair = pair * weights[:, None]
        found = np.rint(pair * ONE).astype(np.int64)
        found[:, 1] = np.maximum(found[:, 1], 1)
        return found

    def loss(self, scores: Floats, rows: Ints) -> float:
        """Return the mean loss of some rows."""
        y, s = self._labels[rows], scores[rows]
        if self.objective == "logistic":
            return float(np.mean(np.logaddexp(0.0, s) - y * s))
        return float(np.mean((s - y) ** 2) / 2)

    def outputs(self, scores: Floats) -> Floats:
        """Return probabilities, or values on the scale of the label."""
        return outputs(self.objective, self.scale, self.mean, scores)


def outputs(objective: Objective, scale: float, mean: float, scores: Floats) -> Floats:
    """Return probabilities, or values on the scale of the label.

    Args:
        objective: The loss.
        scale: What a score of 1 is on the scale of the labels.
        mean: Of the labels.
        scores: Of rows.
    """
    if objective == "logistic":
        return np.asarray(1.0 / (1.0 + np.exp(-scores)))
    return scores * scale + mean


def sample(
    goss: Goss | None, gradients: Ints, rows: Ints, seed: int, tree: int
) -> tuple[Ints, Floats | None]:
    """Choose the rows of a tree; return them in ascending order, with their weights.

    Args:
        goss: How; all rows if None.
        gradients: Of ``rows``, before weighing.
        rows: The training rows, ascending.
        seed: The label party's own.
        tree: Which tree.
    """
    if goss is None:
        return rows, None
    count = len(rows)
    top = max(1, round(goss.top * count))
    order = np.argsort(-np.abs(gradients[:, 0]), kind="stable")
    rest = order[top:]
    drawn = min(len(rest), max(1, round(goss.other * count)))
    chosen = seeds.generator("goss", seed, tree).choice(rest, drawn, replace=False)
    weights = np.zeros(count)
    weights[order[:top]] = 1.0
    weights[chosen] = goss.weight
    kept = np.flatnonzero(weights)
    return rows[kept], weights[kept]
