"""Whatever bytes arrive, parsing gives the vector they spell or refuses; nothing else happens."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.crypto.paillier import vectors
from fusion.crypto.paillier.packing import Layout, Tensor
from fusion.errors import MessageInvalid
from tests.vectors.known import known

KEY = known(2048).public
BINDING = bytes(range(32))


def _layout(degree: int) -> Layout:
    tensors = (Tensor(name="w", size=300, kind="real"),)
    return Layout(tensors=tensors, value_bits=24, contributors=4, key_bits=2048, degree=degree)


@lru_cache
def _wire(degree: int) -> bytes:
    slots = np.arange(300, dtype=np.uint64)
    return vectors.encrypt(KEY, _layout(degree), BINDING, slots).to_bytes()


def _holds(degree: int, data: bytes) -> None:
    """Check that ``data`` is read faithfully or refused."""
    try:
        read = vectors.parse(KEY, _layout(degree), data, binding=BINDING)
    except MessageInvalid:
        return
    assert read.to_bytes() == data
    assert read.contributions == 1


@pytest.mark.parametrize("degree", [1, 2])
@given(changes=st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 255)), max_size=6))
@settings(max_examples=150)
def test_flipped_bytes(degree: int, changes: list[tuple[int, int]]) -> None:
    data = bytearray(_wire(degree))
    for position, mask in changes:
        data[position % len(data)] ^= mask
    _holds(degree, bytes(data))


@pytest.mark.parametrize("degree", [1, 2])
@given(data=st.data())
@settings(max_examples=150)
def test_pieces_cut_out_repeated_and_put_in(degree: int, data: st.DataObject) -> None:
    wire = _wire(degree)
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(wire))] * 2)))
    inserted = data.draw(st.binary(max_size=40) | st.just(wire[start:end]))
    where = data.draw(st.integers(0, len(wire)))
    _holds(degree, wire[:start] + wire[end:])
    _holds(degree, wire[:where] + inserted + wire[where:])
    _holds(degree, wire[:start] + bytes(end - start) + wire[end:])


@pytest.mark.parametrize("degree", [1, 2])
@given(body=st.binary(min_size=1, max_size=64), fill=st.integers(0, 255))
@settings(max_examples=100)
def test_a_right_header_with_any_body(degree: int, body: bytes, fill: int) -> None:
    wire = _wire(degree)
    head = len(vectors.header(KEY, _layout(degree), BINDING, "djn-half", 1))
    length = len(wire) - head
    _holds(degree, wire[:head] + (body * (length // len(body) + 1))[:length])
    _holds(degree, wire[:head] + bytes([fill]) * length)


@given(junk=st.binary(max_size=4096))
def test_junk(junk: bytes) -> None:
    with pytest.raises(MessageInvalid):
        vectors.parse(KEY, _layout(1), junk, binding=BINDING)
