"""What a message carries may be anything: it is read within bounds, or refused by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict
from flwr.proto.message_pb2 import ObjectTree
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_id,
    get_object_tree,
    iterate_object_tree,
)

from federated.cohort import Request
from federated.runtime import contents
from federated.runtime.messages import RECORD, decode_request, encode_request, fresh_nonce
from fusion.errors import MessageInvalid
from tests.strategy.grid import with_task_identity

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@pytest.fixture(autouse=True)
def _task_identity() -> Iterator[None]:
    yield from with_task_identity()


def _pull(objects: Mapping[str, bytes], record: str, parts: int = 0) -> RecordDict:
    leaves = [ObjectTree(object_id=f"part-{number}") for number in range(parts)]
    tree = ObjectTree(
        object_id="message",
        children=[
            ObjectTree(
                object_id="records", children=[ObjectTree(object_id=record, children=leaves)]
            )
        ],
    )
    return contents.pull_content(tree, objects.__getitem__, seconds=5.0)


def test_a_request_is_read_from_its_record_alone() -> None:
    sent = Request("submit", {"job": "j", "n": 1.5}, {"vector": b"\0\1\2"})
    record = encode_request(sent, fresh_nonce())[RECORD]
    name = get_object_id(record.deflate())
    content = _pull({name: record.deflate()}, name)
    assert decode_request("submit", content) == sent


@pytest.mark.parametrize(
    "body",
    [
        b"ConfigRecord  4\x00\xff\xff\xff\xff",
        b"ArrayRecord  8\x00not json",
        b"Array  8\x00not json",
        MetricRecord({"a": 1}).deflate(),
        b"ArrayChunk  4\x00abcd",
        ConfigRecord({"other": 1}).deflate(),
        b"",
        b"no object at all",
    ],
)
def test_a_body_that_is_not_what_its_head_says_is_refused(body: bytes) -> None:
    name = get_object_id(body)
    with pytest.raises(MessageInvalid):
        decode_request("submit", _pull({name: body}, name))


def test_a_message_in_too_many_parts_is_refused_before_any_is_asked_for() -> None:
    with pytest.raises(MessageInvalid, match="too many"):
        _pull({}, "record", parts=contents.MAX_PARTS)


@pytest.mark.parametrize("children", [0, 2])
def test_a_message_without_exactly_one_record_is_refused(children: int) -> None:
    records = [ObjectTree(object_id=str(number)) for number in range(children)]
    tree = ObjectTree(
        object_id="message", children=[ObjectTree(object_id="records", children=records)]
    )
    with pytest.raises(MessageInvalid, match="one record"):
        contents.pull_content(tree, lambda _: b"", seconds=5.0)


@pytest.mark.parametrize("size", [10, 3 << 20])
def test_when_a_reader_has_what_it_asks_for_all_else_was_uploaded(size: int) -> None:
    """A reader confirms then, and the SuperLink drops the tree: a later upload would fail."""
    nonce = fresh_nonce()
    messages = [
        Message(
            encode_request(Request("submit", {"to": to}, {"x": bytes(size)}), nonce), 1, "query"
        )
        for to in ("same", "same", "other")
    ]
    trees = [get_object_tree(message) for message in messages]
    wanted = {name for message in messages for name in get_all_nested_objects(message)}
    uploaded: list[str] = []
    contents.push_contents(messages, lambda name, _: uploaded.append(name), wanted)
    assert set(uploaded) == wanted
    for tree in trees:
        (records,) = tree.children
        (record,) = records.children
        read = [part.object_id for part in iterate_object_tree(record)]
        complete = max(uploaded.index(name) for name in read)
        assert uploaded.index(tree.object_id) < complete
        assert uploaded.index(records.object_id) < complete


def test_only_what_the_superlink_lacks_is_uploaded() -> None:
    message = Message(encode_request(Request("hello"), fresh_nonce()), 1, "query")
    uploaded: list[str] = []
    contents.push_contents([message], lambda name, _: uploaded.append(name), {message.object_id})
    assert uploaded == [message.object_id]
