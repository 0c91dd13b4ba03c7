"""What the hub makes of decrypted private sums. Only post-processing: it costs no epsilon. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from federated.metrics import from_histogram, middles_of, shrunk
from federated.privacy.rows import moments_norm
from fusion.crypto.paillier.packing import Tensor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from federated.metrics import Metrics
    from federated.privacy.plan import Plan, Release

    Floats = NDArray[np.float64]

FEWEST_ROWS: Final = 5.0
"""Rows that each contributor counts as having at least, whatever the noise says."""


def tensor(name: str, size: int, unit: float, value_bits: int) -> Tensor:
    """Return a tensor of which one step of the fixed point reads as ``unit``."""
    # The step of a tensor is 2·clip/2^bits; multiplying by a power of two is exact.
    return Tensor(name=name, size=size, kind="real", clip=unit * 2.0 ** (value_bits - 1))


def rows_of(totals: Mapping[str, Floats], contributors: int) -> float:
    """Return a noisy count of rows, as a number to divide by."""
    return max(float(totals["rows"][0]), FEWEST_ROWS * contributors)


def read_moments(plan: Plan, totals: Mapping[str, Floats], contributors: int) -> Floats:
    """Return sums, sums of squares and rows, as :meth:`Standardiser.from_sums` takes them.

    Numbers were centred, which halves their noise; here they lie in [0, 1] again. The squares get
    two standard deviations of their noise on top: a number that hardly varies would be blown up by
    a scale that is nothing but noise.
    """
    rows = rows_of(totals, contributors)
    both = totals.get("moments", np.zeros(0))
    size = len(both) // 2
    sums, squares = both[:size], both[size:]
    noise = np.sqrt(contributors) * _relative(plan.releases["moments"]) * moments_norm(size)
    squares = np.maximum(squares, 0.0) + 2.0 * noise
    return np.concatenate([sums + 0.5 * rows, squares + sums + 0.25 * rows, [rows]])


def _relative(release: Release) -> float:
    return release.sigma / release.unit


def read_histogram(totals: Mapping[str, Floats]) -> Floats:
    """Return the counts, none below zero, with the noisy total of either class.

    Only cutting what is below zero would add rows to the emptiest bins.
    """
    return np.concatenate([_from_zero(half) for half in np.split(totals["histogram"], 2)])


def _from_zero(counts: Floats) -> Floats:
    """Return the nearest counts from 0 up with the same total (Duchi et al., ICML 2008, fig. 1)."""
    total = max(float(counts.sum()), 0.0)
    falling = np.sort(counts)[::-1]
    excess = (np.cumsum(falling) - total) / np.arange(1, len(counts) + 1)
    kept = np.flatnonzero(falling > excess)
    return np.maximum(counts - excess[kept[-1]], 0.0) if kept.size else np.zeros_like(counts)


def quality_of(totals: Mapping[str, Floats]) -> tuple[Metrics, float]:
    """Return quality and mean log-loss that the noisy histogram shows, rows at their bins' middle.

    Its bins are equally wide in the logit (:func:`federated.metrics.stretched`).
    """
    histogram = read_histogram(totals)
    negative, positive = np.split(histogram, 2)
    middles = shrunk(middles_of(len(negative)))
    rows = max(float(histogram.sum()), 1.0)
    loss = float(-(negative @ np.log1p(-middles) + positive @ np.log(middles)) / rows)
    return from_histogram(histogram, middles), loss
