"""Flower's Grid in this process: messages go through the real ClientApps and codecs."""

from __future__ import annotations

import itertools
from base64 import b64encode
from typing import TYPE_CHECKING

from flwr.app import Context, Message, RecordDict
from flwr.proto.node_pb2 import NodeInfo
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity

from federated.client_app import app_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from flwr.supercore.run import Run

    from federated.cohort import Answering
    from fusion.types import OrgId


class InProcessGrid(Grid):
    """One node for each party, numbered from 1."""

    def __init__(self, parties: dict[OrgId, Answering]) -> None:
        self.keys = {org: b64encode(org.encode()).decode() for org in parties}
        self._nodes = {
            number: (org, app_for(party, org))
            for number, (org, party) in enumerate(parties.items(), start=1)
        }
        self._numbers = itertools.count(1)
        self._replies: dict[str, Message] = {}

    def get_nodes(self) -> Iterable[NodeInfo]:
        return [
            NodeInfo(node_id=number, public_key=org.encode())
            for number, (org, _) in self._nodes.items()
        ]

    def get_node_ids(self) -> Iterable[int]:
        return list(self._nodes)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        identifiers = []
        for message in messages:
            identifier = f"message-{next(self._numbers)}"
            message.metadata.__dict__["_message_id"] = identifier
            _, app = self._nodes[message.metadata.dst_node_id]
            context = Context(
                run_id=1,
                node_id=message.metadata.dst_node_id,
                node_config={},
                state=RecordDict(),
                run_config={},
            )
            self._replies[identifier] = app(message, context)
            identifiers.append(identifier)
        return identifiers

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return [self._replies.pop(name) for name in message_ids if name in self._replies]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        del timeout
        return self.pull_messages(self.push_messages(messages))

    def create_message(self, *_: object, **__: object) -> Message:
        message = "deprecated by Flower"
        raise TypeError(message)

    def set_run(self, run: object) -> None:
        del run

    @property
    def run(self) -> Run:
        message = "there is no run here"
        raise TypeError(message)


def with_task_identity() -> Iterator[None]:
    """Set what Flower wants to be set before a message can be made; put back what was."""
    before = (TaskIdentity._task_id, TaskIdentity._run_id, TaskIdentity._node_id)
    TaskIdentity.task_id = TaskIdentity.run_id = TaskIdentity.node_id = 1
    yield
    TaskIdentity._task_id, TaskIdentity._run_id, TaskIdentity._node_id = before
