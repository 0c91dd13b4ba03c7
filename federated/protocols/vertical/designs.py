"""A party's columns as a design matrix that trains well: numbers, levels, whitened.

What a party does to its own columns needs nobody else. Whitening makes the covariance of its block
the identity, so how fast the joint model converges depends only on how the parties' columns
correlate with each other's, and with k parties no direction is steeper than k times the label's
curvature: the step size needs no tuning, and nothing has to be revealed to choose it. The ridge
penalty applies to weights of whitened columns, that is, to the variance a block contributes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from fusion.errors import DataInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]
    Words = NDArray[np.object_]

RARE: Final = 0.005
"""A level of fewer rows than this share joins the others of its kind."""

LARGEST: Final = 16.0
"""Entries are clipped to this many standard deviations."""

_SMALLEST_VARIANCE: Final = 1e-3
"""Directions of a block with less variance than this are left out."""
_NAMED: Final = 5
"""Columns that a message names at most."""


@dataclass(frozen=True, slots=True, eq=False)
class Design:
    """How a party's table becomes its block of the design matrix; learned on training rows.

    Attributes:
        levels: By column of words: the levels that have a column of their own.
        numbers: Columns of numbers.
        mean: Of each raw column.
        scale: Its standard deviation.
        fill: What stands in for a missing number.
        rotation: ``(raw columns, block columns)``: whitens.
        intercept: Whether the block has a column of ones.
    """

    levels: Mapping[str, tuple[str, ...]]
    numbers: tuple[str, ...]
    mean: Floats
    scale: Floats
    fill: Mapping[str, float]
    rotation: Floats
    intercept: bool

    @property
    def names(self) -> list[str]:
        """Names of the raw columns."""
        numeric = [part for name in self.numbers for part in (name, f"{name} missing")]
        return [*numeric, *(f"{c}={level}" for c, ls in self.levels.items() for level in ls)]

    def raw(self, table: Mapping[str, NDArray[np.generic]], rows: int) -> Floats:
        """Return the columns before standardising."""
        columns = []
        for name in self.numbers:
            values = np.asarray(table[name], np.float64)
            missing = np.isnan(values)
            columns += [np.where(missing, self.fill[name], values), missing.astype(np.float64)]
        for name, levels in self.levels.items():
            words = np.asarray(table[name], object)
            columns += [(words == level).astype(np.float64) for level in levels]
        return np.stack(columns, axis=1) if columns else np.empty((rows, 0))

    def standard(self, table: Mapping[str, NDArray[np.generic]], rows: int) -> Floats:
        """Return the raw columns standardised, entries within :data:`LARGEST`."""
        return _standard(self.raw(table, rows), self.mean, self.scale)

    def block(self, table: Mapping[str, NDArray[np.generic]], rows: int) -> Floats:
        """Return the block: ``(rows, columns)``, entries within :data:`LARGEST`."""
        block = np.clip(self.standard(table, rows) @ self.rotation, -LARGEST, LARGEST)
        if self.intercept:
            block = np.concatenate([np.ones((len(block), 1)), block], axis=1)
        return block

    def coefficients(self, weights: Floats) -> dict[str, float]:
        """Return weights of standardised raw columns, by name, from those of the block."""
        mine = self.rotation @ weights[int(self.intercept) :]
        return dict(zip(self.names, (float(w) for w in mine), strict=True))


def design(
    table: Mapping[str, NDArray[np.generic]],
    training: Bools,
    *,
    intercept: bool,
    party: str = "a party",
) -> Design:
    """Learn a party's design on its training rows.

    Args:
        table: Columns of numbers (NaN is missing) and of words (None is missing).
        training: Rows to learn on.
        intercept: Whether the block gets a column of ones: the label party's does.
        party: Whose table it is, for messages.

    Raises:
        DataInvalid: Nothing varies, and no intercept stands in.
    """
    levels: dict[str, tuple[str, ...]] = {}
    fill: dict[str, float] = {}
    for name, column in table.items():
        if column.dtype == object:
            words, counts = np.unique(
                [str(w) for w in column[training] if w is not None], return_counts=True
            )
            kept = counts >= max(1.0, RARE * training.sum())
            levels[name] = tuple(str(w) for w in words[kept])
        else:
            known = np.asarray(column[training], np.float64)
            known = known[~np.isnan(known)]
            fill[name] = float(_moments(known[:, None])[0][0]) if len(known) else 0.0
    numbers = tuple(fill)
    draft = Design(levels, numbers, np.zeros(0), np.ones(0), fill, np.zeros((0, 0)), intercept)
    raw = draft.raw(table, len(training))[training]
    mean, scale = _moments(raw)
    scale = np.where(scale > 0, scale, 1.0)
    rotation = _whitening(_standard(raw, mean, scale))
    if not rotation.shape[1] and not intercept:
        raise _still(list(table), party)
    return Design(levels, numbers, mean, scale, fill, rotation, intercept)


def _still(columns: list[str], party: str) -> DataInvalid:
    """Return the refusal of columns that say nothing."""
    if not columns:
        return DataInvalid(
            f"No column of {party} is there to train on.",
            hint="Bring columns beside the identifier, or leave the party out.",
        )
    named = ", ".join(columns[:_NAMED]) + (", ..." if len(columns) > _NAMED else "")
    return DataInvalid(
        f"No column of {party} varies in the rows that train: {named}.",
        hint="Bring columns whose values differ in many rows, or leave the party out.",
    )


def _moments(columns: Floats) -> tuple[Floats, Floats]:
    """Return mean and standard deviation of columns, whatever their unit.

    Squares of numbers beyond 10^154 overflow, and those below 10^-162 are 0: so numbers are divided
    by a power of two first, which changes no digit.
    """
    unit = np.ldexp(1.0, np.frexp(np.abs(columns).max(axis=0))[1] - 1)
    near = columns / unit
    return near.mean(axis=0) * unit, near.std(axis=0) * unit


def _standard(raw: Floats, mean: Floats, scale: Floats) -> Floats:
    """Return columns standardised and clipped; what overflows on the way is clipped, too."""
    with np.errstate(over="ignore"):
        return np.clip((raw - mean) / scale, -LARGEST, LARGEST)


def _whitening(standard: Floats) -> Floats:
    """Return what makes the covariance of columns the identity, for directions that vary."""
    if not standard.shape[1]:
        return np.empty((0, 0))
    values, vectors = np.linalg.eigh(standard.T @ standard / len(standard))
    kept = values > _SMALLEST_VARIANCE
    return np.asarray(vectors[:, kept] / np.sqrt(values[kept]))
