"""What all parties of a generalised linear model agree on, and what follows from it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from federated.protocols.vertical import label_range
from federated.protocols.vertical.ring import HEADROOM_BITS, Series, exponential, sigmoid
from fusion.errors import DataInvalid, InputInvalid

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

Family = Literal["logistic", "linear", "poisson"]

DATA_BITS: Final = 14
"""Fraction bits of the design matrix, whose entries are below 16."""

WEIGHT_BITS: Final = 20
WAVE_BITS: Final = 14
SCORE_BITS: Final = DATA_BITS + WEIGHT_BITS
STEP_BITS: Final = 16
"""Fraction bits of the public factors of a step."""

MAX_EPOCHS: Final = 1000
MAX_ROWS: Final = 1 << 20
_RATIO_BITS: Final = {"logistic": 1, "linear": 2, "poisson": 6}
"""A sum of entries times residuals is below 2 to this, times the number of rows: entries of a
whitened column have a mean square of at most 1, and so have residuals of a logistic model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearTerms:
    """A generalised linear model and how it is trained.

    Attributes:
        family: The model.
        rows: Training rows, aligned, in one order.
        epochs: Steps; each uses all rows.
        learning_rate: 1 is the largest step that is safe for any data.
        momentum: Of the heavy ball (Polyak 1964).
        l2: Ridge penalty on whitened weights, for the mean loss.
    """

    family: Family
    rows: int
    epochs: int = 30
    learning_rate: float = 1.0
    momentum: float = 0.7
    l2: float = 1e-4

    def __post_init__(self) -> None:
        """Refuse what can't be trained.

        Raises:
            InputInvalid: A value out of its range.
        """
        ranges = {
            "rows": (2 <= self.rows <= MAX_ROWS, f"from 2 to {MAX_ROWS}"),
            "epochs": (1 <= self.epochs <= MAX_EPOCHS, f"from 1 to {MAX_EPOCHS}"),
            "learning rate": (0 < self.learning_rate <= 4, "above 0, and at most 4"),
            "momentum": (0 <= self.momentum < 1, "from 0 to below 1"),
            "l2": (0 <= self.l2 <= 1, "from 0 to 1"),
        }
        for name, (fine, span) in ranges.items():
            if not fine:
                raise InputInvalid(
                    f"The value of {name!r} is out of its range.", hint=f"It is {span}."
                )

    @property
    def series(self) -> Series | None:
        """How the mean is computed from the score; None where they are the same."""
        match self.family:
            case "logistic":
                return sigmoid()
            case "poisson":
                return exponential()
            case "linear":
                return None

    @property
    def row_bits(self) -> int:
        """Bits of the number of rows."""
        return math.ceil(math.log2(self.rows))

    @property
    def residual_bits(self) -> int:
        """Fraction bits of a residual: as many as leave room for a sum over all rows."""
        spare = HEADROOM_BITS - 1 - _RATIO_BITS[self.family]
        return min(28, spare - DATA_BITS - self.row_bits)

    @property
    def gradient_cut(self) -> int:
        """Bits to drop from a sum over rows, for a mean with :data:`WEIGHT_BITS`."""
        return DATA_BITS + self.residual_bits + self.row_bits - WEIGHT_BITS

    def step(self, parties: int) -> tuple[int, int, int]:
        """Return public factors, with :data:`STEP_BITS`, of gradient, weights and momentum.

        Args:
            parties: All of them: no direction of the joint design is steeper than this many times
                that of one party's whitened block.
        """
        curvature = {"logistic": 0.25, "linear": 1.0, "poisson": 2.0}[self.family]
        size = self.learning_rate / (curvature * parties + self.l2)
        mean = size * 2.0**self.row_bits / self.rows
        one = float(1 << STEP_BITS)
        return round(mean * one), round(size * self.l2 * one), round(self.momentum * one)


@dataclass(frozen=True, slots=True)
class Target:
    """What the label becomes on the scale that is trained on.

    Attributes:
        family: The model.
        offset: Score of every row at the start.
        scale: What 1 is on the scale of the label: of a linear score, of a Poisson mean; else 1.
        values: Of the training rows.
    """

    family: Family
    offset: float
    scale: float
    values: Floats

    @classmethod
    def of(cls, family: Family, labels: Floats) -> Target:
        """Learn the scale.

        Raises:
            DataInvalid: Labels that the family can't have.
        """
        label_range.check(labels, labels)
        mean = float(labels.mean())
        if family == "linear":
            scale = float(labels.std())
            return cls(family, mean / scale, scale, (labels - mean) / scale)
        if family == "logistic":
            if not np.isin(labels, (0.0, 1.0)).all():
                raise DataInvalid(
                    "The label of a logistic model is 0 or 1.",
                    hint="Name the value that counts as 1: `positive`.",
                )
            return cls(family, math.log(mean / (1 - mean)), 1.0, labels)
        if (labels < 0).any():
            raise DataInvalid(
                "The label of a Poisson model is a count or a rate: no number below 0.",
                hint="Use the model `linear` for other numbers.",
            )
        # In units of their mean, so that the size of a step does not depend on it.
        return cls(family, 0.0, mean, labels / mean)

    def outputs(self, scores: Floats) -> Floats:
        """Return means on the scale of the label, from scores without the offset."""
        z = scores + self.offset
        if self.family == "linear":
            return z * self.scale
        with np.errstate(over="ignore"):  # a mean of 0, or one that whoever uses it refuses
            if self.family == "logistic":
                return np.asarray(1.0 / (1.0 + np.exp(-z)))
            return np.asarray(np.exp(z) * self.scale)
