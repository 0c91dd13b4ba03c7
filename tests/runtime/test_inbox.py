"""Replies that come in parts, late, or never: nobody waits for one while others have answered."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from flwr.app import Message
from flwr.app.message import make_message, remove_content_from_message
from flwr.common.constant import ErrorCode
from flwr.common.serde import message_to_proto
from flwr.proto.message_pb2 import (
    ConfirmMessageReceivedRequest,
    ConfirmMessageReceivedResponse,
    ObjectTree,
    PullObjectRequest,
    PullObjectResponse,
)
from flwr.proto.runtime_pb2 import PullAppMessagesRequest, PullAppMessagesResponse
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree
from flwr.supercore.run import Run
from flwr.superlink.grid.http_grid import HttpGrid

from federated.cohort import Reply
from federated.runtime.inbox import Inbox
from federated.runtime.messages import MESSAGE_TYPES, decode_reply, encode_reply
from fusion.types import OrgId
from tests.strategy.grid import with_task_identity

if TYPE_CHECKING:
    from collections.abc import Iterator

A, B = OrgId("a"), OrgId("b")


@pytest.fixture(autouse=True)
def _task_identity() -> Iterator[None]:
    yield from with_task_identity()


@dataclass
class MemoryRuntime:
    """The SuperLink's runtime interface in memory, as far as replies go: each is claimed once."""

    heads: dict[str, tuple[Message, ObjectTree]] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)
    objects: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    confirmed: list[str] = field(default_factory=list)

    def announce(self, organisation: OrgId, to: str, blob: bytes) -> dict[str, bytes]:
        """Announce a reply; return what is to be uploaded."""
        content = encode_reply(Reply(organisation, {"to": to}, {"blob": blob}))
        asked = Message(content, 1, MESSAGE_TYPES["submit"], group_id="banyan")
        asked.metadata.__dict__["_message_id"] = to
        reply = Message(content, reply_to=asked)
        reply.metadata.__dict__["_message_id"] = reply.object_id
        parts = get_all_nested_objects(reply)
        self.known |= parts.keys()
        self.heads[to] = (remove_content_from_message(reply), get_object_tree(reply))
        return {name: part.deflate() for name, part in parts.items()}

    def PullMessages(self, request: PullAppMessagesRequest) -> PullAppMessagesResponse:  # noqa: N802
        found = [self.heads.pop(name) for name in request.message_ids if name in self.heads]
        return PullAppMessagesResponse(
            messages_list=[message_to_proto(head) for head, _ in found],
            message_object_trees=[tree for _, tree in found],
        )

    def PullObject(self, request: PullObjectRequest) -> PullObjectResponse:  # noqa: N802
        self.asked.append(request.object_id)
        content = self.objects.get(request.object_id, b"")
        return PullObjectResponse(
            object_found=request.object_id in self.known,
            object_available=bool(content),
            object_content=content,
        )

    def ConfirmMessageReceived(  # noqa: N802
        self, request: ConfirmMessageReceivedRequest
    ) -> ConfirmMessageReceivedResponse:
        self.confirmed.append(request.message_object_id)
        return ConfirmMessageReceivedResponse()


class Memory(HttpGrid):
    """Flower's grid over the memory."""

    def __init__(self, runtime: MemoryRuntime) -> None:
        super().__init__(token="t")
        self.runtime = runtime
        self.set_run(Run.create_empty(1))

    @property
    def _runtime_client(self) -> Any:  # noqa: ANN401 - in place of Flower's client
        return self.runtime


@pytest.fixture
def runtime() -> MemoryRuntime:
    """Nobody has replied yet."""
    return MemoryRuntime()


@pytest.fixture
def inbox(runtime: MemoryRuntime) -> Inbox:
    """Of a run over that."""
    return Inbox(Memory(runtime))


def _read(message: Message) -> tuple[str, bytes]:
    reply = decode_reply(A, message.content)
    return reply.head["to"], reply.blobs["blob"]


def test_a_reply_is_taken_when_all_of_it_is_there_and_others_before(
    runtime: MemoryRuntime, inbox: Inbox
) -> None:
    slow, quick = runtime.announce(A, "m1", b"slow"), runtime.announce(B, "m2", b"quick")
    runtime.objects |= quick
    assert [_read(each) for each in inbox.look(["m1", "m2"])] == [("m2", b"quick")]
    assert list(inbox.look(["m1"])) == []
    runtime.objects |= slow
    assert [_read(each) for each in inbox.look(["m1"])] == [("m1", b"slow")]
    assert len(runtime.confirmed) == 2
    assert list(inbox.look(["m1"])) == []


def test_a_part_that_came_is_not_asked_for_again(runtime: MemoryRuntime, inbox: Inbox) -> None:
    content = runtime.announce(A, "m1", bytes(6 * 1024 * 1024))
    largest = max(content, key=lambda name: len(content[name]))
    runtime.objects[largest] = content[largest]
    assert list(inbox.look(["m1"])) == []
    runtime.objects |= content
    assert len(list(inbox.look(["m1"]))) == 1
    assert runtime.asked.count(largest) == 1


def test_a_reply_whose_parts_nobody_knows_any_more_is_lost(
    runtime: MemoryRuntime, inbox: Inbox
) -> None:
    runtime.announce(A, "m1", b"x")
    runtime.known.clear()
    (lost,) = inbox.look(["m1"])
    assert lost.error.code == ErrorCode.MESSAGE_UNAVAILABLE
    assert runtime.confirmed == []
    assert list(inbox.look(["m1"])) == []


def test_a_reply_that_is_none_is_an_error_of_its_sender(
    runtime: MemoryRuntime, inbox: Inbox
) -> None:
    runtime.objects |= runtime.announce(A, "m1", b"x")
    head, tree = runtime.heads["m1"]
    del tree.children[:]
    runtime.heads["m1"] = (make_message(head.metadata, head.content), tree)
    (unreadable,) = inbox.look(["m1"])
    assert unreadable.error.code == ErrorCode.UNKNOWN


def test_what_is_forgotten_does_not_come(runtime: MemoryRuntime, inbox: Inbox) -> None:
    content = runtime.announce(A, "m1", b"x")
    assert list(inbox.look(["m1"])) == []
    inbox.forget(["m1", "never heard of"])
    runtime.objects |= content
    assert list(inbox.look(["m1"])) == []
