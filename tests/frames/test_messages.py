"""Requests and replies through Flower's records, small and large; foreign records are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto
from hypothesis import given
from hypothesis import strategies as st

from federated.cohort import Failure, Reply, Request
from federated.frames import write_frame
from federated.runtime.messages import (
    LARGE_BYTES,
    MESSAGE_TYPES,
    RECORD,
    decode_reply,
    decode_request,
    encode_reply,
    encode_request,
    fresh_nonce,
    kind_of,
)
from fusion.errors import MessageInvalid
from fusion.types import OrgId

if TYPE_CHECKING:
    from collections.abc import Mapping

    from federated.cohort import Kind

ORG = OrgId("north")
NONCE = fresh_nonce()
_NAMES = st.text(max_size=6)
_HEADS = st.dictionaries(_NAMES, st.text(max_size=8) | st.integers(0, 99), max_size=3)
_BLOBS = st.dictionaries(_NAMES, st.binary(max_size=32), max_size=3)


def carried(content: RecordDict) -> RecordDict:
    """Return a message's content as it comes out at the other end of the wire."""
    return recorddict_from_proto(recorddict_to_proto(content))


@pytest.mark.parametrize("kind", list(MESSAGE_TYPES))
def test_every_kind_has_a_message_type_of_its_own(kind: Kind) -> None:
    assert kind_of(MESSAGE_TYPES[kind]) == kind


@pytest.mark.parametrize("name", ["", "train", "query", "query.contribute", "system", "hello"])
def test_a_message_of_another_type_is_refused(name: str) -> None:
    with pytest.raises(MessageInvalid, match="unknown type"):
        kind_of(name)


@given(head=_HEADS, blobs=_BLOBS)
def test_a_request_arrives_as_it_was_sent(
    head: Mapping[str, Any], blobs: Mapping[str, bytes]
) -> None:
    request = Request("submit", head, blobs)
    assert decode_request("submit", carried(encode_request(request, NONCE))) == request


@given(head=_HEADS, blobs=_BLOBS)
def test_a_reply_arrives_as_it_was_sent(
    head: Mapping[str, Any], blobs: Mapping[str, bytes]
) -> None:
    reply = Reply(ORG, head, blobs)
    assert decode_reply(ORG, carried(encode_reply(reply))) == reply


def test_no_two_replies_are_the_same_bytes_even_if_they_say_the_same() -> None:
    first, second = (encode_reply(Reply(ORG))[RECORD].object_id for _ in range(2))
    assert first != second


def test_a_failure_arrives_as_it_was_sent() -> None:
    reply = Reply(ORG, failure=Failure("F-402", "It can't. Do this.", 4, "columns.age"))
    assert decode_reply(ORG, carried(encode_reply(reply))) == reply


def _frame_size(request: Request) -> int:
    return len(write_frame({"head": dict(request.head), "nonce": NONCE}, request.blobs))


@pytest.mark.parametrize("more", [0, 1, 2_500_000])
def test_a_large_message_arrives_as_it_was_sent(more: int) -> None:
    frame = _frame_size(Request("submit", {"job": "j"}, {"vector": bytes(1_000_000)}))
    # To the byte: the last that travels in a ConfigRecord, and the first that does not.
    blob = (bytes(range(256)) * 20_000)[: 1_000_000 + LARGE_BYTES - frame + more]
    request = Request("submit", {"job": "j"}, {"vector": blob})
    assert _frame_size(request) == LARGE_BYTES + more
    content = encode_request(request, NONCE)
    assert isinstance(content[RECORD], ArrayRecord if more else ConfigRecord)
    assert decode_request("submit", carried(content)) == request


def test_numpy_never_gets_a_large_message() -> None:
    content = encode_reply(Reply(ORG, blobs={"vector": bytes(LARGE_BYTES)}))
    record = content[RECORD]
    assert isinstance(record, ArrayRecord)
    with pytest.raises(TypeError, match="Unsupported serialization type"):
        record[RECORD].numpy()


def _config(value: Any) -> ConfigRecord:  # noqa: ANN401 - whatever a stranger sends
    return ConfigRecord({RECORD: value})


def _array(stype: str, data: bytes) -> ArrayRecord:
    return ArrayRecord({RECORD: Array("uint8", (len(data),), stype, data)})


_GOOD = write_frame({"head": {}}, {})
_NUMPY = Array(np.frombuffer(_GOOD, dtype=np.uint8))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(RecordDict(), id="nothing"),
        pytest.param(RecordDict({"other": _config(_GOOD)}), id="a record of another name"),
        pytest.param(
            RecordDict({RECORD: _config(_GOOD), "more": ConfigRecord()}), id="a second record"
        ),
        pytest.param(RecordDict({RECORD: ConfigRecord({"other": _GOOD})}), id="another key"),
        pytest.param(RecordDict({RECORD: _config("BNYM")}), id="a text"),
        pytest.param(RecordDict({RECORD: _config([_GOOD])}), id="a list of bytes"),
        pytest.param(RecordDict({RECORD: MetricRecord({RECORD: 1.0})}), id="a metric"),
        pytest.param(RecordDict({RECORD: ArrayRecord()}), id="no array"),
        pytest.param(RecordDict({RECORD: ArrayRecord({"other": _NUMPY})}), id="another array"),
        pytest.param(RecordDict({RECORD: ArrayRecord({RECORD: _NUMPY})}), id="numpy's type"),
        pytest.param(RecordDict({RECORD: _array("banyan.frame/2", _GOOD)}), id="another type"),
        pytest.param(RecordDict({RECORD: _array("banyan.frame/1", b"junk")}), id="junk"),
        pytest.param(RecordDict({RECORD: _config(b"")}), id="an empty frame"),
        pytest.param(RecordDict({RECORD: _config(write_frame({}, {}))}), id="no head"),
        pytest.param(RecordDict({RECORD: _config(write_frame({"head": []}, {}))}), id="a list"),
    ],
)
def test_a_foreign_record_is_refused(content: RecordDict) -> None:
    with pytest.raises(MessageInvalid):
        decode_request("hello", content)
    with pytest.raises(MessageInvalid):
        decode_reply(ORG, content)


def _failing(failure: object) -> RecordDict:
    return RecordDict({RECORD: _config(write_frame({"head": {}, "failure": failure}, {}))})


@pytest.mark.parametrize(
    "failure",
    [
        None,
        "F-402",
        [],
        {},
        {"code": "F-402", "message": "no"},
        {"code": 402, "message": "no", "exit_code": 4},
        {"code": "F-402", "message": ["no"], "exit_code": 4},
        {"code": "F-402", "message": "no", "exit_code": "4"},
    ],
)
def test_a_malformed_failure_is_refused(failure: object) -> None:
    with pytest.raises(MessageInvalid):
        decode_reply(ORG, _failing(failure))


@pytest.mark.parametrize(("given_code", "kept"), [(1, 1), (6, 6), (0, 1), (-1, 1), (130, 1)])
def test_a_failure_is_bounded_whatever_a_party_says(given_code: int, kept: int) -> None:
    failing = _failing({"code": "F" * 99, "message": "m" * 9999, "exit_code": given_code})
    assert decode_reply(ORG, failing).failure == Failure("F" * 16, "m" * 2000, kept)
