"""Encrypted vectors: what is read back, what may be added, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.crypto.paillier import threshold, vectors
from fusion.crypto.paillier.packing import Layout, Tensor, unpack
from fusion.errors import MessageInvalid

if TYPE_CHECKING:
    from fusion.crypto.paillier.vectors import EncryptedVector
    from tests.keys import Dealt

BINDING = bytes(range(32))
SLOTS = np.arange(200, dtype=np.uint64)


def _layout(contributors: int = 3, clip: float = 1.0) -> Layout:
    tensors = (Tensor(name="w", size=200, kind="real", clip=clip),)
    return Layout(tensors=tensors, value_bits=24, contributors=contributors, key_bits=2048)


def _parse(dealt: Dealt, data: bytes, binding: bytes = BINDING) -> EncryptedVector:
    return vectors.parse(dealt.key.public, _layout(), data, binding=binding)


@pytest.fixture(scope="module")
def wire(dealt: Dealt) -> bytes:
    return vectors.encrypt(dealt.key.public, _layout(), BINDING, SLOTS).to_bytes()


def test_a_vector_survives_the_wire(dealt: Dealt, wire: bytes) -> None:
    assert _parse(dealt, wire).to_bytes() == wire


def test_the_sum_decrypts_slot_by_slot(dealt: Dealt, wire: bytes) -> None:
    other = vectors.encrypt(dealt.key.public, _layout(), BINDING, SLOTS * np.uint64(7))
    total = vectors.add([_parse(dealt, wire), other])
    partials = {i: threshold.partial(dealt.key, dealt.shares[i - 1], total.rows) for i in (2, 3, 4)}
    opened = threshold.combine(dealt.key, partials, total.rows)
    assert total.contributions == 2
    assert unpack(_layout(), opened).tolist() == (SLOTS * np.uint64(8)).tolist()


@given(position=st.integers(0, 126), bit=st.integers(0, 7))
@settings(max_examples=40)
def test_a_flipped_bit_of_the_header_is_refused(
    dealt: Dealt, wire: bytes, position: int, bit: int
) -> None:
    changed = bytearray(wire)
    changed[position] ^= 1 << bit
    with pytest.raises(MessageInvalid):
        _parse(dealt, bytes(changed))


@given(junk=st.binary(max_size=200))
def test_junk_is_refused(dealt: Dealt, junk: bytes) -> None:
    with pytest.raises(MessageInvalid):
        _parse(dealt, junk)


def test_another_round_layout_or_length_is_refused(dealt: Dealt, wire: bytes) -> None:
    key = dealt.key.public
    with pytest.raises(MessageInvalid):
        _parse(dealt, wire, binding=b"x" * 32)
    with pytest.raises(MessageInvalid):
        _parse(dealt, wire[:-1])
    for layout in (_layout(contributors=2), _layout(clip=2.0)):
        with pytest.raises(MessageInvalid):
            vectors.parse(key, layout, wire, binding=BINDING)
    with pytest.raises(MessageInvalid):
        vectors.parse(key, _layout(), wire, binding=BINDING, randomiser="full")


@pytest.mark.parametrize("value", ["zero", "one", "prime", "square"])
def test_a_value_that_is_no_ciphertext_is_refused(dealt: Dealt, wire: bytes, value: str) -> None:
    key = dealt.key.public
    number = {
        "zero": 0,
        "one": 1,
        "prime": dealt.primes[0],
        "square": key.modulus**2,
    }[value]
    width = key.ciphertext_bytes
    changed = wire[: len(wire) - width] + number.to_bytes(width, "little")
    with pytest.raises(MessageInvalid):
        _parse(dealt, changed)


def test_vectors_of_different_rounds_can_not_be_added(dealt: Dealt, wire: bytes) -> None:
    other = vectors.encrypt(dealt.key.public, _layout(), b"o" * 32, SLOTS)
    with pytest.raises(MessageInvalid):
        vectors.add([_parse(dealt, wire), other])
    with pytest.raises(MessageInvalid):
        vectors.add([])


def test_more_contributions_than_the_guard_bits_hold_are_refused(dealt: Dealt, wire: bytes) -> None:
    one = _parse(dealt, wire)
    assert vectors.add([one, one, one]).contributions == 3
    with pytest.raises(MessageInvalid, match="guard bits"):
        vectors.add([one] * 4)
    with pytest.raises(MessageInvalid, match="guard bits"):
        vectors.add([vectors.add([one, one]), vectors.add([one, one])])
