"""Signed envelopes: who signed, what kind, these very bytes; one signature and no more."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.crypto.signing import SigningKey
from fusion.errors import FusionError, MessageInvalid, SignatureInvalid, UnknownOrganisation
from fusion.wire import canonical, envelope

A, B = SigningKey.from_bytes(bytes([1]) * 32), SigningKey.from_bytes(bytes([2]) * 32)
KEYS = {"a.example": A.public, "b.example": B.public}
TYPE = "application/vnd.fusion.test/1+json"
SIGNED = envelope.sign({"n": 1, "who": "a"}, TYPE, A, "a.example")


def _open(data: bytes) -> tuple[str, dict[str, Any]]:
    return envelope.open_signed(data, TYPE, KEYS)


def _changed(**parts: object) -> bytes:
    return canonical.encode({**json.loads(SIGNED), **parts})


@given(st.dictionaries(st.text(max_size=8), st.integers(-99, 99) | st.text(max_size=8), max_size=5))
def test_what_was_signed_is_what_is_read(payload: dict[str, Any]) -> None:
    data = envelope.sign(payload, TYPE, B, "b.example")
    assert _open(data) == ("b.example", payload)
    assert envelope.signer(data) == "b.example"


@given(st.integers(0, 8 * len(SIGNED) - 1))
def test_no_flipped_bit_goes_unnoticed(bit: int) -> None:
    changed = bytearray(SIGNED)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(FusionError):
        _open(bytes(changed))


@given(st.binary(max_size=100))
def test_junk_is_refused(junk: bytes) -> None:
    with pytest.raises(MessageInvalid):
        _open(junk)


def test_one_kind_of_statement_is_not_another() -> None:
    with pytest.raises(MessageInvalid, match="is expected here"):
        envelope.open_signed(SIGNED, "application/vnd.fusion.other/1+json", KEYS)


def test_the_type_is_part_of_what_is_signed() -> None:
    other = "application/vnd.fusion.other/1+json"
    with pytest.raises(SignatureInvalid):
        envelope.open_signed(_changed(payloadType=other), other, KEYS)


def test_a_signature_does_not_move_to_another_payload() -> None:
    payload = base64.b64encode(canonical.encode({"n": 2, "who": "a"})).decode()
    with pytest.raises(SignatureInvalid):
        _open(_changed(payload=payload))


def test_a_statement_can_not_be_passed_off_as_anothers() -> None:
    signature = json.loads(SIGNED)["signatures"][0]
    with pytest.raises(SignatureInvalid):
        _open(_changed(signatures=[{**signature, "keyid": "b.example"}]))


def test_a_stranger_may_not_sign() -> None:
    with pytest.raises(UnknownOrganisation, match=r"c\.example"):
        _open(envelope.sign({}, TYPE, A, "c.example"))


@pytest.mark.parametrize("count", [0, 2])
def test_there_is_exactly_one_signature(count: int) -> None:
    signature = json.loads(SIGNED)["signatures"][0]
    with pytest.raises(MessageInvalid):
        _open(_changed(signatures=[signature] * count))


@pytest.mark.parametrize(
    "part",
    [
        {"extra": 1},
        {"payload": 1},
        {"payload": "not base64"},
        {"payload": json.loads(SIGNED)["payload"] + "\n"},
        {"payload": json.loads(SIGNED)["payload"].rstrip("=") + "===="},
        {"signatures": {}},
        {"signatures": [{"keyid": "a.example"}]},
        {"signatures": [{**json.loads(SIGNED)["signatures"][0], "cert": "x"}]},
    ],
)
def test_an_envelope_has_one_shape(part: dict[str, Any]) -> None:
    with pytest.raises(MessageInvalid):
        _open(_changed(**part))


def _signed_bytes(payload: bytes) -> bytes:
    """An envelope whose payload is not what our own signer would write."""
    kind = TYPE.encode()
    pae = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
    return canonical.encode(
        {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": TYPE,
            "signatures": [
                {"keyid": "a.example", "sig": base64.b64encode(A.sign(pae)).decode()},
            ],
        }
    )


def test_the_format_is_dsse() -> None:
    assert _open(_signed_bytes(b'{"n":1}')) == ("a.example", {"n": 1})


@pytest.mark.parametrize(
    "payload", [b'{"eps":1,"eps":100}', b'{"n": 1}', b"[]", b"7", b"", b"\xff"]
)
def test_a_signed_payload_is_still_refused_if_it_can_be_read_in_two_ways(payload: bytes) -> None:
    with pytest.raises(MessageInvalid):
        _open(_signed_bytes(payload))


def test_size_is_looked_at_first() -> None:
    with pytest.raises(MessageInvalid, match="limit"):
        envelope.open_signed(SIGNED, TYPE, KEYS, limit=len(SIGNED) - 1)
    envelope.open_signed(SIGNED, TYPE, KEYS, limit=len(SIGNED))
