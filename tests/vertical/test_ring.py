"""Fixed point in shares: truncation, functions of a hidden argument, hidden products."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federated.protocols.vertical import ring
from federated.protocols.vertical.linear_dealing import Cross, correlated
from federated.protocols.vertical.permutations import Stream, system_words, uniform_permutation
from federated.protocols.vertical.ring import Cut

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Words = NDArray[np.uint64]


def shared(words: Words) -> tuple[Words, Words]:
    first = system_words(*words.shape)
    return first, words - first


@given(
    values=st.lists(st.integers(-(2**62) + 1, 2**62 - 1), min_size=1, max_size=50),
    bits=st.integers(1, 61),
)
@settings(max_examples=60, deadline=None)
def test_truncation_is_right_to_one_unit_for_every_number(values: list[int], bits: int) -> None:
    words = np.array(values, np.int64).view(np.uint64)
    mask = system_words(len(words))
    halves = zip(shared(mask), *map(shared, ring.cut_values(mask, bits)), strict=True)
    cuts = [Cut(*each) for each in halves]
    shares = shared(words)
    opened = ring.masked(shares[0], cuts[0], first=True)
    opened = opened + ring.masked(shares[1], cuts[1], first=False)
    total = ring.truncated(opened, cuts[0], bits, first=True)
    total = total + ring.truncated(opened, cuts[1], bits, first=False)
    wanted = np.array(values, np.int64) >> bits
    assert (np.abs(total.view(np.int64) - wanted) <= 1).all()


@pytest.mark.parametrize(
    ("series", "function", "most"),
    [
        (ring.sigmoid(), lambda z: 1 / (1 + np.exp(-z)), 8e-4),
        (ring.exponential(), np.exp, 3e-3),
    ],
)
def test_a_series_is_as_near_as_it_says(
    series: ring.Series, function: Callable[[Any], Any], most: float
) -> None:
    z = np.linspace(series.low, series.high, 9973)
    error = np.abs(series.at(z) - function(z)).max()
    assert error <= most
    assert error <= 1.05 * series.error


@pytest.mark.parametrize("series", [ring.sigmoid(), ring.exponential()])
def test_shares_of_a_function_add_up_to_its_series(series: ring.Series) -> None:
    z = np.linspace(series.low, series.high, 2000)
    bits, wave_bits, coefficient_bits = 34, 14, 14
    mask = system_words(len(z))
    dealt = shared(ring.fixed(series.waves(mask, bits), wave_bits))
    opened = ring.fixed(z, bits) + mask
    opened &= np.uint64((1 << series.modulus_bits(bits)) - 1)
    total = sum(series.share(opened, each, bits, coefficient_bits) for each in dealt)
    found = ring.real(np.asarray(total), wave_bits + coefficient_bits) + series.constant
    assert np.abs(found - series.at(z)).max() < 2e-2
    assert np.abs(found - series.at(z)).mean() < 2e-3


def test_a_hidden_matrix_times_a_hidden_vector() -> None:
    matrix, vector, residuals = system_words(40, 5), system_words(5), system_words(40)
    blind = system_words(40, 5)
    cross = Cross.draw(Stream(bytes(32)), 40, 5)
    scores, sums = correlated(blind, cross)
    # The matrix holder knows matrix and vector - mask; the other matrix - blind and the mask.
    mine = ring.forward(matrix, vector - cross.vector) + scores
    theirs = ring.forward(matrix - blind, cross.vector) + cross.scores
    assert np.array_equal(mine + theirs, ring.forward(matrix, vector))
    mine = ring.backward(matrix, residuals - cross.residuals) + sums
    theirs = ring.backward(matrix - blind, cross.residuals) + cross.sums
    assert np.array_equal(mine + theirs, ring.backward(matrix, residuals))


def test_permutations_are_permutations_and_differ() -> None:
    found = {tuple(uniform_permutation(6)) for _ in range(200)}
    assert all(sorted(each) == list(range(6)) for each in found)
    assert len(found) > 100
    first, again = Stream(bytes(32)), Stream(bytes(32))
    assert np.array_equal(first.permutation(1000), again.permutation(1000))
    assert not np.array_equal(first.permutation(1000), again.words(1000))
