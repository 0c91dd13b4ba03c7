"""The SuperLink's fleet interface in memory: one node, runs with a bundle, messages in and out."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from flwr.app import Message
from flwr.app.message import make_message, remove_content_from_message
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    ActivateNodeResponse,
    DeactivateNodeRequest,
    PullMessagesRequest,
    PullMessagesResponse,
    PushMessagesRequest,
    PushMessagesResponse,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest, SendNodeHeartbeatResponse
from flwr.proto.message_pb2 import (
    ConfirmMessageReceivedResponse,
    ObjectTree,
    PullObjectResponse,
    PushObjectResponse,
)
from flwr.proto.run_pb2 import GetRunRequest, GetRunResponse, Run
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    iterate_object_tree,
)

from federated.runtime.contents import pull_content
from federated.runtime.messages import MESSAGE_TYPES, decode_reply, encode_request, fresh_nonce
from fusion.types import OrgId

if TYPE_CHECKING:
    from federated.cohort import Reply, Request

NODE = 7
OURS = "0" * 64


class MemoryFleet:
    """:class:`federated.runtime.fleet.Fleet`; what is pushed is taken when it is whole."""

    def __init__(self) -> None:
        self.bundles: dict[int, str] = {}
        self.log: list[str] = []
        self.replies: list[tuple[int, Reply | str]] = []
        self.beats = 0
        self.changed = threading.Condition()
        self._queue: deque[tuple[Message, ObjectTree]] = deque()
        self._objects: dict[str, bytes] = {}
        self._pushing: list[tuple[Any, ObjectTree, set[str]]] = []

    def send(self, run: int, request: Request, *, uploaded: bool = True) -> None:
        """Have the hub send a request; without its content, if it ends in the middle of that."""
        content = encode_request(request, fresh_nonce())
        message = Message(content, NODE, MESSAGE_TYPES[request.kind], group_id="banyan")
        message.metadata.__dict__["_run_id"] = run
        message.metadata.__dict__["_message_id"] = message.object_id
        with self.changed:
            for name, part in get_all_nested_objects(message).items():
                self._objects[name] = part.deflate() if uploaded else b""
            self._queue.append((remove_content_from_message(message), get_object_tree(message)))

    def wait(self, what: str, *, seconds: float = 100.0) -> None:
        """Wait until something is in the log."""
        with self.changed:
            assert self.changed.wait_for(lambda: what in self.log, seconds), (what, self.log)

    def _say(self, what: str) -> None:
        with self.changed:
            self.log.append(what)
            self.changed.notify_all()

    def ActivateNode(self, request: ActivateNodeRequest) -> ActivateNodeResponse:  # noqa: N802
        assert request.public_key
        self._say("activate")
        return ActivateNodeResponse(node_id=NODE)

    def DeactivateNode(self, request: DeactivateNodeRequest) -> object:  # noqa: N802
        assert request.node_id == NODE
        self._say("deactivate")
        return None

    def SendNodeHeartbeat(  # noqa: N802
        self, request: SendNodeHeartbeatRequest
    ) -> SendNodeHeartbeatResponse:
        assert request.node.node_id == NODE
        with self.changed:
            self.beats += 1
            self.changed.notify_all()
        return SendNodeHeartbeatResponse(success=True)

    def PullMessages(self, request: PullMessagesRequest) -> PullMessagesResponse:  # noqa: N802
        assert request.node.node_id == NODE
        with self.changed:
            if not self._queue:
                return PullMessagesResponse()
            head, tree = self._queue.popleft()
        return PullMessagesResponse(
            messages_list=[message_to_proto(head)], message_object_trees=[tree]
        )

    def GetRun(self, request: GetRunRequest) -> GetRunResponse:  # noqa: N802
        bundle = self.bundles.get(request.run_id, OURS)
        return GetRunResponse(run=Run(run_id=request.run_id, fab_hash=bundle))

    def PullObject(self, request: Any) -> PullObjectResponse:  # noqa: ANN401, N802
        self._say("object")
        with self.changed:
            content = self._objects.get(request.object_id, b"")
        return PullObjectResponse(
            object_found=request.object_id in self._objects,
            object_available=bool(content),
            object_content=content,
        )

    def ConfirmMessageReceived(self, request: Any) -> ConfirmMessageReceivedResponse:  # noqa: ANN401, N802
        assert request.message_object_id in self._objects
        return ConfirmMessageReceivedResponse()

    def PushMessages(self, request: PushMessagesRequest) -> PushMessagesResponse:  # noqa: N802
        (proto,), (tree,) = request.messages_list, request.message_object_trees
        names = [part.object_id for part in iterate_object_tree(tree)]
        with self.changed:
            self._pushing.append((proto, tree, set(names)))
        return PushMessagesResponse(objects_to_push=names, session_id="session")

    def PushObject(self, request: Any) -> PushObjectResponse:  # noqa: ANN401, N802
        with self.changed:
            self._objects[request.object_id] = request.object_content
            whole = [each for each in self._pushing if each[2] <= self._objects.keys()]
            self._pushing = [each for each in self._pushing if each not in whole]
        for proto, tree, _ in whole:
            self._take(message_from_proto(proto), tree)
        return PushObjectResponse(stored=True)

    def _take(self, head: Message, tree: ObjectTree) -> None:
        if head.has_error():
            reply: Reply | str = head.error.reason or ""
        else:
            content = pull_content(tree, self._objects.__getitem__, seconds=5.0)
            message = make_message(head.metadata, content)
            reply = decode_reply(OrgId("north"), message.content)
        self.replies.append((request_run(head), reply))
        self._say("reply")

    def close(self) -> None:
        self._say("close")


def request_run(head: Message) -> int:
    """Return the run that a reply is for."""
    return int(head.metadata.run_id)
