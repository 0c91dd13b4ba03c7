"""Bounds of rates are exact, and those of areas are DeLong's."""

from __future__ import annotations

import math

import numpy as np
import pytest

from federated import metrics, seeds
from federated.vertical import intervals
from fusion.errors import DataInvalid


def tail(hits: int, of: int, p: float) -> float:
    """Return how likely at most so many hits are."""
    return sum(math.comb(of, i) * p**i * (1 - p) ** (of - i) for i in range(hits + 1))


@pytest.mark.parametrize(("hits", "of"), [(0, 5), (1, 5), (5, 5), (3, 40), (39, 40), (250, 700)])
def test_a_rate_has_the_bounds_of_clopper_and_pearson(hits: int, of: int) -> None:
    found = intervals.rate(hits, of)
    assert found.value == hits / of
    if hits < of:
        assert tail(hits, of, found.high) == pytest.approx(0.025, rel=1e-6)
    else:
        assert found.high == 1
    if hits:
        assert 1 - tail(hits - 1, of, found.low) == pytest.approx(0.025, rel=1e-6)
    else:
        assert found.low == 0


def test_many_trials_take_no_longer() -> None:
    found = intervals.rate(600_000, 1_000_000)
    assert found.high - found.low == pytest.approx(2 * 1.96 * math.sqrt(0.24e-6), rel=0.01)


def test_a_difference_holds_both_rates() -> None:
    found = intervals.difference((30, 100), (10, 100))
    assert found.value == pytest.approx(0.2)
    one, two = intervals.rate(30, 100, 0.975), intervals.rate(10, 100, 0.975)
    assert (found.low, found.high) == (one.low - two.high, one.high - two.low)


def test_an_area_is_the_exact_one_with_ties_and_covers() -> None:
    draw = seeds.generator("tests-intervals")
    covered = 0
    for _ in range(200):
        positive = draw.random(120) < 0.4
        scores = np.round(draw.normal(size=120) + positive, 1)
        found = intervals.area(scores, positive)
        assert found.value == pytest.approx(metrics.auc(scores, positive.astype(float)))
        truth = 0.7602  # of two normal distributions one deviation apart
        covered += found.low <= truth <= found.high
    assert 180 <= covered <= 199


def test_a_gain_over_itself_is_nothing_and_over_chance_is_the_area_less_a_half() -> None:
    draw = seeds.generator("tests-gain")
    positive = draw.random(500) < 0.5
    scores = draw.normal(size=500) + positive
    same = intervals.gain(scores, scores, positive)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    chance = intervals.gain(scores, np.zeros(500), positive)
    area = intervals.area(scores, positive)
    assert chance.value == pytest.approx(area.value - 0.5)
    assert chance.high - chance.low == pytest.approx(area.high - area.low)


def test_an_area_needs_both_classes_and_numbers() -> None:
    with pytest.raises(DataInvalid):
        intervals.area(np.ones(3), np.ones(3, bool))
    with pytest.raises(DataInvalid):
        intervals.area(np.array([1.0, np.nan]), np.array([True, False]))
