"""Sealed boxes: for one recipient, one purpose, unchanged; or not at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.crypto.sealing import SealingKey, SealingPublicKey
from fusion.errors import KeyRefused, SealBroken

KEY = SealingKey.from_bytes(bytes(range(32)))
SEALED = KEY.public.seal(b"a share", b"context")


@given(st.binary(max_size=300), st.binary(max_size=40))
def test_what_is_sealed_can_be_opened(plaintext: bytes, context: bytes) -> None:
    sealed = KEY.public.seal(plaintext, context)
    assert KEY.open(sealed, context) == plaintext
    assert len(sealed) == len(plaintext) + 48


@given(st.integers(0, 8 * len(SEALED) - 1))
def test_one_flipped_bit_is_found(bit: int) -> None:
    changed = bytearray(SEALED)
    changed[bit // 8] ^= 1 << bit % 8
    # The top bit of an X25519 coordinate is masked by the standard, but bound by the key schedule.
    with pytest.raises(SealBroken):
        KEY.open(bytes(changed), b"context")


@given(st.binary(max_size=120))
def test_what_is_no_box_is_refused(junk: bytes) -> None:
    with pytest.raises(SealBroken):
        KEY.open(junk, b"context")


@given(st.binary(max_size=20))
def test_a_box_is_for_one_context(context: bytes) -> None:
    if context != b"context":
        with pytest.raises(SealBroken):
            KEY.open(SEALED, context)


def test_a_box_is_for_one_recipient() -> None:
    with pytest.raises(SealBroken):
        SealingKey.generate().open(SEALED, b"context")


def test_two_boxes_of_one_text_differ() -> None:
    assert KEY.public.seal(b"x", b"") != KEY.public.seal(b"x", b"")


@pytest.mark.parametrize("text", ["", "0" * 63, "G" * 64, "AB" * 32])
def test_a_public_key_has_one_spelling(text: str) -> None:
    with pytest.raises(KeyRefused):
        SealingPublicKey.from_hex(text)


@pytest.mark.parametrize(
    "point",
    [
        "00" * 32,
        "01" + "00" * 31,
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    ],
)
def test_nothing_is_sealed_to_a_point_of_small_order(point: str) -> None:
    with pytest.raises(KeyRefused):
        SealingPublicKey.from_hex(point).seal(b"secret", b"context")


def test_keys_survive_their_bytes_and_do_not_show_themselves() -> None:
    key = SealingKey.generate()
    assert SealingKey.from_bytes(key.to_bytes()) == key
    assert key.to_bytes().hex() not in repr(key)
    with pytest.raises(KeyRefused):
        SealingKey.from_bytes(b"short")


def test_two_keys_agree_on_a_secret_for_each_context() -> None:
    one, other, third = (SealingKey.generate() for _ in range(3))
    agreed = one.agree(other.public, b"a")
    assert agreed == other.agree(one.public, b"a")
    assert len({agreed, one.agree(other.public, b"b"), one.agree(third.public, b"a")}) == 3
    with pytest.raises(KeyRefused, match="small order"):
        one.agree(SealingPublicKey("00" * 32), b"a")
