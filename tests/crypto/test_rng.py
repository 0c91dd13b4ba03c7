"""The door to randomness: ranges and sizes."""

from __future__ import annotations

import pytest

from fusion.crypto import rng


def test_tokens_have_their_length_and_differ() -> None:
    drawn = {rng.token(16) for _ in range(50)}
    assert len(drawn) == 50
    assert {len(token) for token in drawn} == {16}


@pytest.mark.parametrize("bound", [1, 2, 3, 255, 256, 257])
def test_below_reaches_every_value_and_no_other(bound: int) -> None:
    # The chance that one of 257 values is missed in 257 * 40 draws is below 10**-14.
    assert {rng.below(bound) for _ in range(bound * 40)} == set(range(bound))


def test_bits_stay_below_their_power_and_reach_its_upper_half() -> None:
    drawn = [rng.bits(12) for _ in range(200)]
    assert all(0 <= value < 2**12 for value in drawn)
    assert any(value >= 2**11 for value in drawn)
