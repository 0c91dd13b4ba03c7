"""The wire format of encrypted vectors: what is read back, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.crypto.paillier import threshold, vectors
from fusion.errors import MessageInvalid

if TYPE_CHECKING:
    from tests.keys import Dealt

BINDING = bytes(range(32))


@pytest.fixture(scope="module")
def wire(dealt: Dealt) -> bytes:
    return vectors.encrypt_packed(dealt.key.public, BINDING, [1, 2, 3], 3)


def test_a_vector_survives_the_wire(dealt: Dealt, wire: bytes) -> None:
    vector = vectors.parse(dealt.key.public, wire, binding=BINDING, count=3)
    assert vector.to_bytes() == wire


def test_the_product_decrypts_to_the_sum(dealt: Dealt, wire: bytes) -> None:
    one = vectors.parse(dealt.key.public, wire, binding=BINDING, count=3)
    other = vectors.encrypt_packed(dealt.key.public, BINDING, [10, 20, 30], 3)
    two = vectors.parse(dealt.key.public, other, binding=BINDING, count=3)
    total = vectors.product([one, two]).ciphertexts
    partials = {i: threshold.partial(dealt.key, dealt.shares[i - 1], total) for i in (2, 3, 4)}
    assert threshold.combine(dealt.key, partials, total) == [11, 22, 33]


@given(position=st.integers(0, 75), bit=st.integers(0, 7))
@settings(max_examples=30)
def test_a_flipped_bit_of_the_header_is_refused(
    dealt: Dealt, wire: bytes, position: int, bit: int
) -> None:
    changed = bytearray(wire)
    changed[position] ^= 1 << bit
    with pytest.raises(MessageInvalid):
        vectors.parse(dealt.key.public, bytes(changed), binding=BINDING, count=3)


@given(junk=st.binary(max_size=200))
def test_junk_is_refused(dealt: Dealt, junk: bytes) -> None:
    with pytest.raises(MessageInvalid):
        vectors.parse(dealt.key.public, junk, binding=BINDING, count=3)


def test_another_round_or_length_is_refused(dealt: Dealt, wire: bytes) -> None:
    with pytest.raises(MessageInvalid):
        vectors.parse(dealt.key.public, wire, binding=b"x" * 32, count=3)
    with pytest.raises(MessageInvalid):
        vectors.parse(dealt.key.public, wire, binding=BINDING, count=2)
    with pytest.raises(MessageInvalid):
        vectors.parse(dealt.key.public, wire[:-1], binding=BINDING, count=3)


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
    changed = wire[: len(wire) - width] + number.to_bytes(width, "big")
    with pytest.raises(MessageInvalid):
        vectors.parse(key, changed, binding=BINDING, count=3)


def test_a_plaintext_out_of_range_is_refused(dealt: Dealt) -> None:
    for wrong in (-1, dealt.key.public.modulus):
        with pytest.raises(MessageInvalid):
            vectors.encrypt(dealt.key.public, wrong)


def test_the_announced_count_has_to_be_given(dealt: Dealt) -> None:
    for plaintexts in ([1], [1, 2, 3]):
        with pytest.raises(MessageInvalid):
            vectors.encrypt_packed(dealt.key.public, BINDING, plaintexts, 2)


def test_vectors_of_different_rounds_can_not_be_added(dealt: Dealt, wire: bytes) -> None:
    one = vectors.parse(dealt.key.public, wire, binding=BINDING, count=3)
    other = vectors.encrypt_packed(dealt.key.public, b"o" * 32, [1, 2, 3], 3)
    two = vectors.parse(dealt.key.public, other, binding=b"o" * 32, count=3)
    with pytest.raises(MessageInvalid):
        vectors.product([one, two])
    with pytest.raises(MessageInvalid):
        vectors.product([])
