"""Checkpoints: their exact bytes, who signed them, and what is no checkpoint."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.crypto.signing import SigningKey
from fusion.errors import MessageInvalid, SignatureInvalid
from fusion.ledger.checkpoint import Checkpoint, parse

ORIGIN = "hub.example/log"
LOG = SigningKey.from_bytes(bytes(range(32)))
WITNESSES = {f"w{i}.example": SigningKey.from_bytes(bytes([i]) * 32) for i in range(1, 5)}
KEYS = {name: key.public for name, key in WITNESSES.items()}
HEAD = Checkpoint(origin=ORIGIN, size=42, root=bytes(range(32))).signed(LOG)


def _cosigned(count: int, time: int = 1_700_000_000) -> Checkpoint:
    checkpoint = HEAD
    for name, key in list(WITNESSES.items())[:count]:
        checkpoint = checkpoint.cosigned(name, key, time)
    return checkpoint


# The example of the specification of cosignatures (C2SP tlog-cosignature).
EXAMPLE = """example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==
"""  # noqa: E501 -- as published


def test_the_published_example_is_read_and_written_byte_for_byte() -> None:
    checkpoint = parse(EXAMPLE.encode())
    assert checkpoint.note() == EXAMPLE.encode()
    assert (checkpoint.origin, checkpoint.size) == ("example.com/behind-the-sofa", 20852163)
    assert len(checkpoint.root) == 32
    log, witness = checkpoint.signatures
    assert len(log.data) == 4 + 64
    assert int.from_bytes(witness.data[4:12], "big") == 1679315147
    assert len(witness.data) == 4 + 8 + 64


def test_the_bytes_are_those_of_the_specification() -> None:
    text, _, lines = _cosigned(1).note().decode().partition("\n\n")
    assert text == f"{ORIGIN}\n42\n{base64.b64encode(bytes(range(32))).decode()}"
    own, witness = lines.splitlines()
    raw = base64.b64decode(own.split(" ")[2])
    public = bytes.fromhex(LOG.public.hex)
    assert raw[:4] == hashlib.sha256(ORIGIN.encode() + b"\n\x01" + public).digest()[:4]
    LOG.public.verify(raw[4:], f"{text}\n".encode())
    raw = base64.b64decode(witness.split(" ")[2])
    name, key = "w1.example", WITNESSES["w1.example"].public
    identifier = hashlib.sha256(name.encode() + b"\n\x04" + bytes.fromhex(key.hex)).digest()[:4]
    assert raw[:12] == identifier + (1_700_000_000).to_bytes(8, "big")
    key.verify(raw[12:], f"cosignature/v1\ntime 1700000000\n{text}\n".encode())


def test_what_was_written_is_read_and_verified() -> None:
    checkpoint = parse(_cosigned(3).note())
    assert checkpoint == _cosigned(3)
    checkpoint.verify_log(LOG.public)
    assert checkpoint.verify_witness("w2.example", KEYS["w2.example"]) == 1_700_000_000
    assert len(checkpoint.verify_quorum(KEYS, 3)) == 3


def test_too_few_cosignatures_are_no_quorum_and_one_witness_counts_once() -> None:
    checkpoint = _cosigned(2)
    name, key = next(iter(WITNESSES.items()))
    again = checkpoint.cosigned(name, key, 1_700_000_001)
    for few in (checkpoint, again):
        with pytest.raises(SignatureInvalid, match="2 witnesses"):
            few.verify_quorum(KEYS, 3)


def test_a_signature_under_another_checkpoint_name_or_key_is_none() -> None:
    checkpoint = _cosigned(1)
    other = Checkpoint(
        origin=ORIGIN, size=43, root=bytes(range(32)), signatures=checkpoint.signatures
    )
    for wrong in (other, Checkpoint(origin=ORIGIN, size=42, root=bytes(range(32)))):
        with pytest.raises(SignatureInvalid):
            wrong.verify_log(LOG.public)
        with pytest.raises(SignatureInvalid):
            wrong.verify_witness("w1.example", KEYS["w1.example"])
    with pytest.raises(SignatureInvalid):
        checkpoint.verify_log(KEYS["w1.example"])
    with pytest.raises(SignatureInvalid):
        checkpoint.verify_witness("w2.example", KEYS["w1.example"])


def _verify_all(note: bytes) -> None:
    checkpoint = parse(note)
    checkpoint.verify_log(LOG.public)
    checkpoint.verify_quorum({name: KEYS[name] for name in ("w1.example", "w2.example")}, 2)


@given(place=st.integers(0, len(_cosigned(2).note()) - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_is_noticed(place: int, bit: int) -> None:
    note = bytearray(_cosigned(2).note())
    note[place] ^= 1 << bit
    with pytest.raises((MessageInvalid, SignatureInvalid)):
        _verify_all(bytes(note))


@pytest.mark.parametrize(
    "note",
    [
        b"",
        b"\xff\n1\n\n",
        b"origin\n1\n",
        b"origin\n01\n" + base64.b64encode(bytes(32)) + b"\n\n",
        b"origin\n-1\n" + base64.b64encode(bytes(32)) + b"\n\n",
        b"or igin\n1\n" + base64.b64encode(bytes(32)) + b"\n\n",
        b"origin\n1\n" + base64.b64encode(bytes(31)) + b"\n\n",
        b"origin\n1\n" + base64.b64encode(bytes(32)) + b"\nextension\n\n",
        b"origin\n1\n" + base64.b64encode(bytes(32)) + b"\n\n- name AAAA\n",
        b"origin\n1\n" + base64.b64encode(bytes(32)) + b"\n\nnonsense",
        b"x" * 70_000,
    ],
)
def test_what_is_no_checkpoint_is_refused(note: bytes) -> None:
    with pytest.raises(MessageInvalid):
        parse(note)
