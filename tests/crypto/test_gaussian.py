"""The sampler against the exact distribution, in all ranges of sigma and by its parts."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fusion.crypto import gaussian
from fusion.crypto.gaussian import MAX_SIGMA, discrete_gaussian
from fusion.errors import InputInvalid

DRAWS = 400_000
UNLIKELY = 9.0
"""Standard deviations: a right sampler fails such a test less than once in a million runs."""
BEYOND = 5.7
"""The same of chi-square, as :func:`chi_square` tells it: once in ten million runs."""


def pmf(sigma: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the integers within twelve sigma, and their exact probabilities."""
    values = np.arange(-12 * sigma, 12 * sigma + 1)
    weights = np.exp(-(values.astype(float) ** 2) / (2.0 * sigma**2))
    return values, weights / weights.sum()


def chi_square(observed: np.ndarray, expected: np.ndarray) -> float:
    """Return how many standard deviations a normal number as unlikely is above its mean."""
    order = np.argsort(expected)
    groups = np.maximum(np.cumsum(expected[order]) // 20, 0).astype(int)
    seen = np.bincount(groups, observed[order])
    wanted = np.bincount(groups, expected[order])
    used = wanted > 0
    statistic = float(((seen[used] - wanted[used]) ** 2 / wanted[used]).sum())
    freedom = int(used.sum()) - 1
    # Wilson and Hilferty: the cube root of chi-squared is nearly normal, also where freedom is
    # small and its own deviation says little of how likely it is.
    spread = 2 / (9 * freedom)
    return float(((statistic / freedom) ** (1 / 3) - (1 - spread)) / math.sqrt(spread))


@pytest.mark.parametrize("sigma", [1, 2, 3, 10, 77])
def test_draws_have_the_exact_probabilities(sigma: int) -> None:
    values, probabilities = pmf(sigma)
    drawn = discrete_gaussian(sigma, DRAWS)
    assert np.abs(drawn).max() <= 12 * sigma
    counts = np.bincount(drawn + 12 * sigma, minlength=len(values))
    assert chi_square(counts, probabilities * DRAWS) < BEYOND


@pytest.mark.parametrize("sigma", [1, 5, 1000, 65_537, MAX_SIGMA])
def test_draws_have_the_exact_moments(sigma: int) -> None:
    """Mean, variance, fourth moment and how often beyond two sigma, of a large sample."""
    drawn = discrete_gaussian(sigma, DRAWS).astype(float)
    if sigma <= 1000:
        values, probabilities = pmf(sigma)
        wanted = [float((values.astype(float) ** power) @ probabilities) for power in (2, 4, 8)]
    else:  # as a continuous one, to far below what a sample of this size can tell
        wanted = [sigma**2, 3.0 * sigma**4, 105.0 * sigma**8]
    second, fourth, eighth = wanted
    root = math.sqrt(DRAWS)
    assert abs(drawn.mean()) < UNLIKELY * math.sqrt(second) / root
    assert abs((drawn**2).mean() - second) < UNLIKELY * math.sqrt(fourth - second**2) / root
    assert abs((drawn**4).mean() - fourth) < UNLIKELY * math.sqrt(eighth - fourth**2) / root


def test_low_bits_of_a_wide_gaussian_are_uniform() -> None:
    """What a rounded float would get wrong first."""
    drawn = discrete_gaussian(1 << 20, DRAWS)
    counts = np.bincount(drawn & 255, minlength=256)
    assert chi_square(counts, np.full(256, DRAWS / 256)) < BEYOND


def test_neighbouring_draws_are_independent() -> None:
    """Also where batches meet."""
    drawn = discrete_gaussian(1000, DRAWS).astype(float)
    for lag in (1, 2, 1 << 16):
        correlation = (drawn[:-lag] * drawn[lag:]).mean() / 1000.0**2
        assert abs(correlation) < UNLIKELY / math.sqrt(DRAWS - lag)


@pytest.mark.parametrize(("a", "b"), [(0, 1), (1, 1), (1, 2), (3, 7), (1 << 50, 3 << 50)])
def test_a_coin_shows_heads_with_probability_exp_minus_gamma(a: int, b: int) -> None:
    count = 200_000
    tops, bottoms = np.full(count, a, np.uint64), np.full(count, b, np.uint64)
    heads = int(gaussian._exp_coin(tops, bottoms).sum())
    p = math.exp(-a / b)
    assert abs(heads - count * p) <= UNLIKELY * math.sqrt(count * p * (1 - p))


@pytest.mark.parametrize("n", [1, 2, 3, 10, (1 << 63) + 1])
def test_integers_below_are_uniform(n: int) -> None:
    """The largest needs that the incomplete copy below 2^64 is drawn again, half of the time."""
    count = 60_000
    drawn = gaussian._below(np.full(count, n, np.uint64))
    assert all(int(value) < n for value in drawn.tolist())
    groups = min(n, 10)
    counts = np.bincount([int(value) * groups // n for value in drawn.tolist()], minlength=groups)
    if groups > 1:
        assert chi_square(counts, np.full(groups, count / groups)) < BEYOND


def test_two_draws_differ_and_none_is_none() -> None:
    assert (discrete_gaussian(1000, 64) != discrete_gaussian(1000, 64)).any()
    assert discrete_gaussian(5, 0).size == 0


@pytest.mark.parametrize(("sigma", "size"), [(0, 1), (-1, 1), (MAX_SIGMA + 1, 1), (1, -1)])
def test_what_is_no_gaussian_is_refused(sigma: int, size: int) -> None:
    with pytest.raises(InputInvalid):
        discrete_gaussian(sigma, size)
