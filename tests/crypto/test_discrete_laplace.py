"""The noise has the distribution it says, exactly as far as a test can tell, and is integers."""

from __future__ import annotations

import ast
import inspect
import math
from collections import Counter

import pytest

from fusion.crypto import discrete_laplace as module
from fusion.crypto.discrete_laplace import discrete_laplace

SAMPLES = 20_000
# A fair test of this size exceeds it once in a hundred million runs.
BEYOND = 5.7


def _probability(x: int, epsilon: float) -> float:
    return math.tanh(epsilon / 2) * math.exp(-epsilon * abs(x))


@pytest.mark.parametrize(("s", "t"), [(1, 1), (1, 2), (3, 2), (5, 1), (300_000, 1_000_000)])
def test_every_value_is_as_frequent_as_it_should_be(s: int, t: int) -> None:
    counts = Counter(discrete_laplace(s, t) for _ in range(SAMPLES))
    expected = {
        x: SAMPLES * _probability(x, s / t)
        for x in range(-200, 201)
        if SAMPLES * _probability(x, s / t) >= 5
    }
    rest = SAMPLES - sum(expected.values())
    others = SAMPLES - sum(counts[x] for x in expected)
    statistic = sum((counts[x] - e) ** 2 / e for x, e in expected.items())
    freedom = len(expected) - 1
    if rest >= 5:
        statistic += (others - rest) ** 2 / rest
        freedom += 1
    # Wilson and Hilferty: the cube root of chi-squared is nearly normal.
    score = ((statistic / freedom) ** (1 / 3) - 1 + 2 / (9 * freedom)) / math.sqrt(
        2 / (9 * freedom)
    )
    assert score < BEYOND


@pytest.mark.parametrize("epsilon_micro", [10_000, 100_000, 1_000_000])
def test_mean_and_variance_are_right(epsilon_micro: int) -> None:
    samples = [discrete_laplace(epsilon_micro, 1_000_000) for _ in range(SAMPLES)]
    ratio = math.exp(-epsilon_micro / 1_000_000)
    variance = 2 * ratio / (1 - ratio) ** 2
    mean = sum(samples) / SAMPLES
    assert abs(mean) < BEYOND * math.sqrt(variance / SAMPLES)
    found = sum(x * x for x in samples) / SAMPLES
    # The fourth moment of a Laplace distribution is 6 times its variance squared, or near it.
    assert abs(found - variance) < BEYOND * math.sqrt(
        6 * variance**2 / SAMPLES + variance / SAMPLES
    )


def test_neighbours_differ_by_no_more_than_epsilon() -> None:
    """A count and its neighbour: every output is at most e^epsilon times as likely."""
    epsilon = 0.5
    one = Counter(discrete_laplace(1, 2) for _ in range(SAMPLES))
    other = Counter(1 + discrete_laplace(1, 2) for _ in range(SAMPLES))
    for x in range(-4, 6):
        expected = SAMPLES * _probability(x, epsilon)
        # Twice the standard error of both counts and then some.
        slack = BEYOND * math.sqrt(expected + SAMPLES * _probability(x - 1, epsilon)) * 2
        assert one[x] <= math.exp(epsilon) * other[x] + slack
        assert other[x] <= math.exp(epsilon) * one[x] + slack


def test_it_computes_with_integers_only() -> None:
    tree = ast.parse(inspect.getsource(module))
    for node in ast.walk(tree):
        assert not (isinstance(node, ast.Constant) and isinstance(node.value, float))
        assert not isinstance(node, ast.Div)
    assert "math" not in vars(module)


@pytest.mark.parametrize(("s", "t"), [(0, 1), (1, 0), (-1, 2)])
def test_a_scale_is_positive(s: int, t: int) -> None:
    with pytest.raises(ValueError, match="positive"):
        discrete_laplace(s, t)
