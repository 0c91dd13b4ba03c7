"""Labels that a model can be learned of: of several values, in a unit that has squares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from fusion.errors import DataInvalid

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LARGEST: Final = 1e100
"""Squares of labels beyond it, or of distances below its inverse, are beyond a double."""


def check(labels: Floats, training: Floats) -> None:
    """Refuse labels that nothing can be learned of, whatever the model.

    Args:
        labels: Of all rows.
        training: Of those that train.

    Raises:
        DataInvalid: A label is not finite, all that train are the same, or the unit is too small or
            too large.
    """
    if not np.isfinite(labels).all():
        raise DataInvalid(
            "The label needs numbers in every row.", hint="Leave rows without a label out."
        )
    if not len(training) or training.min() == training.max():
        raise DataInvalid(
            "The label has one value only in the rows that train.",
            hint="More common rows, or a smaller share of rows that judge, may have others.",
        )
    spread = float(training.max() / 2 - training.min() / 2)
    if float(np.abs(labels).max()) > LARGEST or spread < 1 / LARGEST:
        raise DataInvalid(
            f"The label's numbers are beyond {LARGEST:.0e}, or closer together than "
            f"{1 / LARGEST:.0e}.",
            hint="Write it in another unit: multiply it so that its numbers are nearer to 1.",
        )
