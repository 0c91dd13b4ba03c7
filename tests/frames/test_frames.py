"""A frame comes apart into exactly what was put in; anything else is refused as not authentic."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from federated.frames import MAX_BLOBS, MAX_HEAD_BYTES, read_frame, write_frame
from fusion.errors import MessageInvalid
from fusion.wire import canonical

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAMES = st.text(st.characters(codec="utf-8"), max_size=8)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | _NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=3),
    max_leaves=8,
)
_HEADS = st.dictionaries(_NAMES.filter(lambda name: name != "blobs"), _JSON, max_size=4)
_BLOBS = st.dictionaries(_NAMES, st.binary(max_size=64), max_size=4)


def frame_of(head: object, rest: bytes = b"", *, prefix: bytes | None = None) -> bytes:
    """Return a frame with any head, and whatever follows it."""
    data = canonical.encode(head)
    return (prefix or struct.pack(">4sBI", b"BNYM", 1, len(data))) + data + rest


@given(head=_HEADS, blobs=_BLOBS)
def test_a_frame_gives_back_what_was_put_in(
    head: Mapping[str, Any], blobs: Mapping[str, bytes]
) -> None:
    found = read_frame(write_frame(head, blobs))
    assert found == (head, blobs)
    assert list(found[1]) == list(blobs)


def test_the_bytes_are_those_that_other_releases_read() -> None:
    frame = write_frame({"b": 1, "a": "x"}, {"second": b"\x00\x01", "first": b"", "third": b"end"})
    head = b'{"a":"x","b":1,"blobs":[["second",2],["first",0],["third",3]]}'
    assert frame == b"BNYM\x01" + len(head).to_bytes(4, "big") + head + b"\x00\x01end"


def test_a_head_may_not_take_the_place_of_the_list_of_blobs() -> None:
    with pytest.raises(MessageInvalid, match="'blobs'"):
        write_frame({"blobs": [["a", 1]]}, {})


def test_a_document_without_a_canonical_form_is_not_written() -> None:
    with pytest.raises(MessageInvalid):
        write_frame({"number": float("nan")}, {})


@given(data=st.binary(max_size=64))
@example(b"")
@example(b"BNYM")
@example(b"BNYM\x01\x00\x00\x00\x00")
@example(b"BNYM\x01\xff\xff\xff\xff")
def test_junk_is_refused(data: bytes) -> None:
    with pytest.raises(MessageInvalid):
        read_frame(data)


_FRAME = write_frame({"job": "j", "round": 3}, {"model": b"0123456789", "list": b"abcdef"})
_HEAD_END = len(_FRAME) - 16


@pytest.mark.parametrize("size", range(len(_FRAME)))
def test_a_frame_cut_short_is_refused(size: int) -> None:
    with pytest.raises(MessageInvalid):
        read_frame(_FRAME[:size])


@given(more=st.binary(min_size=1, max_size=16))
def test_bytes_left_over_are_refused(more: bytes) -> None:
    with pytest.raises(MessageInvalid):
        read_frame(_FRAME + more)


@given(at=st.integers(0, len(_FRAME) - 1), change=st.integers(1, 255))
def test_a_changed_byte_is_refused_or_is_content(at: int, change: int) -> None:
    data = bytearray(_FRAME)
    data[at] ^= change
    try:
        head, blobs = read_frame(bytes(data))
    except MessageInvalid:
        # Content is the transport's and the signatures' to protect; the frame refuses nothing there
        assert at < _HEAD_END
        return
    # Whatever is read is a frame that somebody could have written: nothing is read two ways.
    assert write_frame(head, blobs) == bytes(data)


@pytest.mark.parametrize(
    "prefix",
    [
        struct.pack(">4sBI", b"BNYN", 1, 12),
        struct.pack(">4sBI", b"BNYM", 2, 12),
        struct.pack(">4sBI", b"BNYM", 0, 12),
        struct.pack(">4sBI", b"BNYM", 1, 11),
        struct.pack(">4sBI", b"BNYM", 1, 13),
    ],
)
def test_another_form_version_or_length_is_refused(prefix: bytes) -> None:
    assert read_frame(frame_of({"blobs": []})) == ({}, {})
    with pytest.raises(MessageInvalid):
        read_frame(frame_of({"blobs": []}, prefix=prefix))


@pytest.mark.parametrize(
    "head",
    [
        pytest.param({}, id="no list"),
        pytest.param([], id="no object"),
        pytest.param("blobs", id="a text"),
        pytest.param({"blobs": {"a": 3}}, id="an object for a list"),
        pytest.param({"blobs": [["a", 4]]}, id="beyond the end"),
        pytest.param({"blobs": [["a", 2]]}, id="less than there is"),
        pytest.param({"blobs": [["a", 2], ["b", 2]]}, id="the second beyond the end"),
        pytest.param({"blobs": [["a", -1], ["b", 4]]}, id="a negative size"),
        pytest.param({"blobs": [["a", 1], ["a", 2]]}, id="a name twice"),
        pytest.param({"blobs": [["a", "3"]]}, id="a size that is a text"),
        pytest.param({"blobs": [["a", 3.5]]}, id="a size that is a fraction"),
        pytest.param({"blobs": [["a", True], ["b", 2]]}, id="a size that is a truth value"),
        pytest.param({"blobs": [["a", None]]}, id="no size"),
        pytest.param({"blobs": [["a"]]}, id="a name alone"),
        pytest.param({"blobs": [["a", 3, 0]]}, id="three values"),
        pytest.param({"blobs": [[1, 3]]}, id="a name that is a number"),
        pytest.param({"blobs": ["abc"]}, id="a text for an entry"),
        pytest.param({"blobs": None}, id="null"),
    ],
)
def test_a_list_that_does_not_fit_the_blobs_is_refused(head: object) -> None:
    assert read_frame(frame_of({"blobs": [["a", 3]]}, b"xyz")) == ({}, {"a": b"xyz"})
    with pytest.raises(MessageInvalid):
        read_frame(frame_of(head, b"xyz"))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b'{"blobs":[],"blobs":[]}', id="a key twice"),
        pytest.param(b'{ "blobs":[]}', id="not canonical"),
        pytest.param(b'{"blobs":[]', id="not JSON"),
        pytest.param(b'{"blobs":[],"x":"\xff"}', id="not UTF-8"),
        pytest.param(b'{"blobs":' + b"[" * 100 + b"]" * 100 + b"}", id="too deep"),
    ],
)
def test_a_head_that_is_not_canonical_json_is_refused(data: bytes) -> None:
    with pytest.raises(MessageInvalid):
        read_frame(struct.pack(">4sBI", b"BNYM", 1, len(data)) + data)


def test_too_many_blobs_are_refused() -> None:
    most = {str(number): b"" for number in range(MAX_BLOBS)}
    assert len(read_frame(write_frame({}, most))[1]) == MAX_BLOBS
    with pytest.raises(MessageInvalid, match="too many"):
        read_frame(write_frame({}, {**most, "one more": b""}))


def test_too_long_a_head_is_refused() -> None:
    room = MAX_HEAD_BYTES - len(canonical.encode({"blobs": [], "pad": ""}))
    assert read_frame(write_frame({"pad": "x" * room}, {}))[0] == {"pad": "x" * room}
    with pytest.raises(MessageInvalid, match="form this release speaks"):
        read_frame(write_frame({"pad": "x" * (room + 1)}, {}))
