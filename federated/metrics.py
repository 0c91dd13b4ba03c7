"""How good scores are: exactly, or from a histogram that a secure sum can carry. Pure.

Organisations count their scores a bin and a class; the counts add up, and AUC, KS and calibration
of the union follow from them. A histogram's AUC is the exact AUC of scores rounded to bins.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from fusion.errors import DataInvalid

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MAX_ROC_POINTS: Final = 64
MAX_CALIBRATION_GROUPS: Final = 20
_LARGEST_LOGIT: Final = 8.0


@dataclass(frozen=True, slots=True)
class Metrics:
    """Quality of a model on rows it was not trained on.

    Attributes:
        auc: Area under the ROC curve, ties counted half; None where a class is missing.
        ks: Greatest distance between the two classes' score distributions; None likewise.
        ece: Expected calibration error: mean |mean score - rate| over groups, weighted by rows.
        roc: Points (false positive rate, true positive rate), from (0, 0) to (1, 1); none where a
            class is missing.
        calibration: A group of scores each: mean score, rate of positives, rows.
    """

    auc: float | None
    ks: float | None
    ece: float
    roc: tuple[tuple[float, float], ...]
    calibration: tuple[tuple[float, float, float], ...]


def auc(scores: Floats, y: Floats) -> float | None:
    """Return the exact area under the ROC curve, ties counted half; None where a class is missing.

    It is the share of pairs of two classes that are in order: without pairs there is none, and
    0.5 would say that scores are no better than chance.

    Raises:
        DataInvalid: A score is not a number.
    """
    if not np.isfinite(scores).all():
        raise DataInvalid("A score is not a number.")
    positive, negative = np.sort(scores[y > 0]), np.sort(scores[y <= 0])
    if not len(positive) or not len(negative):
        return None
    below = np.searchsorted(negative, positive, side="left")
    tied = np.searchsorted(negative, positive, side="right") - below
    return float((below.sum() + 0.5 * tied.sum()) / (len(positive) * len(negative)))


def score_histogram(scores: Floats, y: Floats, bins: int) -> Floats:
    """Return counts of negatives a bin, then of positives a bin (size ``2 * bins``).

    Raises:
        DataInvalid: A score is not a number.
    """
    if not np.isfinite(scores).all():
        raise DataInvalid("A score is not a number.")
    index = np.clip((scores * bins).astype(np.int64), 0, bins - 1)
    return np.bincount(index + bins * (y > 0), minlength=2 * bins).astype(np.float64)


def stretched(scores: Floats) -> Floats:
    """Return scores stretched at both ends, in order and within [0, 1]: their logits, up to 8.

    Where noise forbids many bins, these are where the scores are.
    """
    with np.errstate(divide="ignore"):
        logits = np.log(scores) - np.log1p(-scores)
    return np.clip(logits / (2 * _LARGEST_LOGIT) + 0.5, 0.0, 1.0)


def shrunk(stretches: Floats) -> Floats:
    """Return the scores that :func:`stretched` maps to these."""
    return 1.0 / (1.0 + np.exp((0.5 - stretches) * 2 * _LARGEST_LOGIT))


def middles_of(bins: int) -> Floats:
    """Return the middle of each of equally wide bins of [0, 1]."""
    return np.asarray((np.arange(bins) + 0.5) / bins)


def from_histogram(histogram: Floats, middles: Floats | None = None) -> Metrics:
    """Return the quality that a (summed) histogram shows.

    Args:
        histogram: Negatives a bin, then positives a bin.
        middles: The score that each bin stands for; equally wide bins if left out.
    """
    negative, positive = np.split(np.asarray(histogram, dtype=np.float64), 2)
    if middles is None:
        middles = middles_of(len(negative))
    calibration = _calibration(negative, positive, middles)
    rows = sum(count for _, _, count in calibration)
    error = sum(count * abs(mean - rate) for mean, rate, count in calibration)
    ece = error / rows if rows else 0.0
    if not negative.sum() or not positive.sum():
        return Metrics(None, None, ece, (), calibration)
    # From the highest bin down: what a falling threshold lets through.
    false = np.concatenate([[0.0], np.cumsum(negative[::-1]) / negative.sum()])
    true = np.concatenate([[0.0], np.cumsum(positive[::-1]) / positive.sum()])
    area = float(((true[1:] + true[:-1]) * np.diff(false)).sum() / 2.0)
    ks = float(np.abs(true - false).max())
    return Metrics(area, ks, ece, _thin(false, true), calibration)


def _thin(false: Floats, true: Floats) -> tuple[tuple[float, float], ...]:
    """Return at most 64 points of a curve: its ends, and what lies evenly along it."""
    along = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(false)) + np.abs(np.diff(true)))])
    wanted = np.linspace(0.0, along[-1], MAX_ROC_POINTS)
    picked = np.unique(np.searchsorted(along, wanted).clip(0, len(along) - 1))
    picked = np.unique(np.concatenate([[0], picked[: MAX_ROC_POINTS - 2], [len(along) - 1]]))
    return tuple((float(false[i]), float(true[i])) for i in picked)


def _calibration(
    negative: Floats, positive: Floats, middles: Floats
) -> tuple[tuple[float, float, float], ...]:
    """Return mean score, rate and rows of up to 20 groups of neighbouring bins."""
    bins = len(negative)
    edges = np.unique(np.linspace(0, bins, min(MAX_CALIBRATION_GROUPS, bins) + 1).astype(int))
    groups = []
    for low, high in itertools.pairwise(edges):
        rows = negative[low:high] + positive[low:high]
        count = float(rows.sum())
        if count:
            mean = float(rows @ middles[low:high]) / count
            groups.append((mean, float(positive[low:high].sum()) / count, count))
    return tuple(groups)
