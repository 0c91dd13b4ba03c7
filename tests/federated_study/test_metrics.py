"""Metrics of a histogram are exact on scores rounded to its bins, however it is added up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from federated.metrics import (
    MAX_CALIBRATION_GROUPS,
    MAX_ROC_POINTS,
    auc,
    from_histogram,
    middles_of,
    score_histogram,
    shrunk,
    stretched,
)
from federated.seeds import generator
from fusion.errors import DataInvalid

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SCORED = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=2, max_size=60)
BINS = st.sampled_from([8, 16, 100, 256])


def columns(scored: list[tuple[float, bool]]) -> tuple[Floats, Floats]:
    return np.array([s for s, _ in scored]), np.array([float(y) for _, y in scored])


def rounded(scores: Floats, bins: int) -> Floats:
    return np.minimum(np.floor(scores * bins), bins - 1)


def by_pairs(scores: Floats, y: Floats) -> float:
    """The definition: how often a positive is ranked above a negative, ties counted half."""
    pairs = [(p > n) + 0.5 * (p == n) for p in scores[y > 0] for n in scores[y == 0]]
    return float(np.mean(pairs))


@given(SCORED, BINS)
def test_the_auc_of_a_histogram_is_exact_on_rounded_scores(
    scored: list[tuple[float, bool]], bins: int
) -> None:
    scores, y = columns(scored)
    assume(0 < y.sum() < len(y))
    found = from_histogram(score_histogram(scores, y, bins)).auc
    assert found == pytest.approx(auc(rounded(scores, bins), y), abs=1e-12)


@given(SCORED)
def test_auc_is_the_share_of_pairs_in_order(scored: list[tuple[float, bool]]) -> None:
    scores, y = columns(scored)
    assume(0 < y.sum() < len(y))
    assert auc(scores, y) == pytest.approx(by_pairs(scores, y), abs=1e-12)
    assert auc(-scores, y) == pytest.approx(1.0 - by_pairs(scores, y), abs=1e-12)


@given(SCORED, BINS, st.integers(0, 60))
def test_histograms_add_up(scored: list[tuple[float, bool]], bins: int, cut: int) -> None:
    scores, y = columns(scored)
    whole = score_histogram(scores, y, bins)
    parts = score_histogram(scores[:cut], y[:cut], bins) + score_histogram(
        scores[cut:], y[cut:], bins
    )
    assert (whole == parts).all()
    assert whole.sum() == len(y)
    assert whole[bins:].sum() == y.sum()


@given(SCORED, BINS)
def test_ks_is_the_greatest_distance_of_the_distributions(
    scored: list[tuple[float, bool]], bins: int
) -> None:
    scores, y = columns(scored)
    assume(0 < y.sum() < len(y))
    at = rounded(scores, bins)
    distances = [abs((at[y > 0] <= t).mean() - (at[y == 0] <= t).mean()) for t in np.unique(at)]
    found = from_histogram(score_histogram(scores, y, bins)).ks
    assert found == pytest.approx(max(distances), abs=1e-12)


@given(SCORED, BINS)
def test_curves_are_short_and_in_order(scored: list[tuple[float, bool]], bins: int) -> None:
    scores, y = columns(scored)
    metrics = from_histogram(score_histogram(scores, y, bins))
    if 0 < y.sum() < len(y):
        assert 2 <= len(metrics.roc) <= MAX_ROC_POINTS
        assert metrics.roc[0] == (0.0, 0.0)
        assert metrics.roc[-1] == pytest.approx((1.0, 1.0))
        assert list(metrics.roc) == sorted(metrics.roc)
    assert len(metrics.calibration) <= MAX_CALIBRATION_GROUPS
    assert sum(count for _, _, count in metrics.calibration) == len(y)
    assert all(0 <= rate <= 1 for _, rate, _ in metrics.calibration)
    assert 0.0 <= metrics.ece <= 1.0


def test_the_thinned_roc_keeps_the_area() -> None:
    random = generator("roc")
    y = (random.random(5000) < 0.3).astype(float)
    scores = np.clip(0.3 + 0.2 * y + 0.2 * random.normal(size=5000), 0, 1)
    metrics = from_histogram(score_histogram(scores, y, 4096))
    false, true = np.array(metrics.roc).T
    area = float(((true[1:] + true[:-1]) * np.diff(false)).sum() / 2)
    assert area == pytest.approx(metrics.auc, abs=0.002)


def test_calibrated_scores_have_a_small_calibration_error_and_shifted_ones_a_large_one() -> None:
    random = generator("calibration")
    scores = random.random(50_000)
    y = (random.random(50_000) < scores).astype(float)
    assert from_histogram(score_histogram(scores, y, 256)).ece < 0.02
    assert from_histogram(score_histogram(scores / 2, y, 256)).ece == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_one_class_has_no_order(label: float) -> None:
    scores, y = np.array([0.2, 0.8]), np.full(2, label)
    metrics = from_histogram(score_histogram(scores, y, 16))
    assert (metrics.auc, metrics.ks, metrics.roc) == (None, None, ())
    assert auc(scores, y) is None


def test_an_empty_histogram_has_no_groups() -> None:
    metrics = from_histogram(np.zeros(32))
    assert metrics.calibration == ()
    assert (metrics.auc, metrics.ece) == (None, 0.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_score_that_is_no_number_is_refused(bad: float) -> None:
    scores, y = np.array([0.5, bad]), np.array([0.0, 1.0])
    with pytest.raises(DataInvalid):
        score_histogram(scores, y, 16)
    with pytest.raises(DataInvalid):
        auc(scores, y)


@given(st.lists(st.floats(1e-12, 1 - 1e-12), min_size=2, max_size=50))
def test_stretched_scores_keep_their_order_and_come_back(scores: list[float]) -> None:
    ordered = np.sort(np.array(scores))
    wide = stretched(ordered)
    assert (np.diff(wide) >= 0).all()
    assert wide.min() >= 0
    assert wide.max() <= 1
    inside = (ordered > 4e-4) & (ordered < 1 - 4e-4)
    assert np.allclose(shrunk(wide)[inside], ordered[inside], rtol=1e-9)


def test_the_ends_of_all_scores_can_be_stretched() -> None:
    assert stretched(np.array([0.0, 0.5, 1.0])).tolist() == [0.0, 0.5, 1.0]


def test_calibration_is_by_the_score_that_a_bin_stands_for() -> None:
    random = generator("stretched")
    scores = random.beta(0.4, 2.0, 40_000)
    y = (random.random(40_000) < scores).astype(np.float64)
    histogram = score_histogram(stretched(scores), y, 64)
    made = from_histogram(histogram, shrunk(middles_of(64)))
    assert made.ece < 0.02
    assert made.auc == pytest.approx(auc(scores, y), abs=2e-3)
    assert from_histogram(histogram).ece > 0.1
