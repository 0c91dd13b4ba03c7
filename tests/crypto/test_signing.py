"""Ed25519: the standard's vector, and that nothing but the very signature verifies."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.crypto.signing import SigningKey, VerifyKey
from fusion.errors import KeyRefused, SignatureInvalid

KEY = SigningKey.from_bytes(bytes(range(32)))


def test_the_first_vector_of_rfc_8032() -> None:
    key = SigningKey.from_bytes(
        bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    )
    signature = bytes.fromhex(
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701c"
        "f9b46bd25bf5f0595bbe24655141438e7a100b"
    )
    assert key.public.hex == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert key.sign(b"") == signature
    key.public.verify(signature, b"")


@given(st.binary(max_size=200), st.integers(0, 511))
def test_one_flipped_bit_of_a_signature_is_found(message: bytes, bit: int) -> None:
    signature = bytearray(KEY.sign(message))
    KEY.public.verify(bytes(signature), message)
    signature[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SignatureInvalid):
        KEY.public.verify(bytes(signature), message)


@given(st.binary(max_size=50), st.binary(max_size=50))
def test_a_signature_is_for_one_message(message: bytes, other: bytes) -> None:
    signature = KEY.sign(message)
    if other != message:
        with pytest.raises(SignatureInvalid):
            KEY.public.verify(signature, other)


@given(st.binary(max_size=100))
def test_what_is_no_signature_is_refused(junk: bytes) -> None:
    with pytest.raises(SignatureInvalid):
        KEY.public.verify(junk, b"message")


def test_another_key_does_not_verify() -> None:
    with pytest.raises(SignatureInvalid):
        SigningKey.generate().public.verify(KEY.sign(b"m"), b"m")


def test_keys_survive_their_bytes_and_can_be_members_of_sets() -> None:
    key = SigningKey.generate()
    again = SigningKey.from_bytes(key.to_bytes())
    assert again == key
    assert {again.public} == {VerifyKey.from_hex(key.public.hex)}
    assert len({key, again, SigningKey.generate()}) == 2


def test_a_secret_key_does_not_show_itself() -> None:
    assert KEY.to_bytes().hex() not in repr(KEY)
    assert repr(KEY.to_bytes()) not in repr(KEY)


@pytest.mark.parametrize(
    "text", ["", "00", "g" * 64, "A" * 64, "0" * 63, "0" * 65, "0" * 64 + "\n"]
)
def test_a_public_key_has_one_spelling(text: str) -> None:
    with pytest.raises(KeyRefused):
        VerifyKey.from_hex(text)


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_secret_key_has_one_size(size: int) -> None:
    with pytest.raises(KeyRefused):
        SigningKey.from_bytes(bytes(size))
