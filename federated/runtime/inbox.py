"""Replies as they come: Flower hands each out once, and often before all of it has been uploaded.

What is not there yet is kept and looked at again, so that nobody waits for one party's upload while
others answer, and none longer than its deadline: after the SuperLink was away, the rest of an
upload may never come.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from flwr.app import Error, Message
from flwr.app.message import make_message
from flwr.common.constant import ErrorCode
from flwr.common.serde import message_from_proto
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest
from flwr.proto.runtime_pb2 import PullAppMessagesRequest
from flwr.supercore.inflatable.inflatable_protobuf_utils import make_pull_object_fn_protobuf
from flwr.supercore.inflatable.inflatable_utils import ObjectPullError
from flwr.superlink.grid.http_grid import HttpGrid

from federated.runtime.contents import Upload
from fusion.errors import MessageInvalid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from flwr.serverapp import Grid

LOOK_SECONDS: Final = 0.25
"""How long one look at a reply waits for parts of it that are still being uploaded."""


class Inbox:
    """The replies to a run's messages."""

    def __init__(self, grid: Grid) -> None:
        """Look on a grid: over Flower's HTTP grid only records are asked for."""
        self._grid = grid
        self._coming: dict[str, tuple[Message, Upload]] = {}

    def look(self, identifiers: Sequence[str]) -> Iterable[Message]:
        """Return the replies to these messages that are all there; each is returned once."""
        if isinstance(self._grid, HttpGrid):
            return self._looked(self._grid, identifiers)
        return self._grid.pull_messages(identifiers)

    def forget(self, identifiers: Iterable[str]) -> None:
        """Let go of what has come of replies to these messages: nobody looks for them any more."""
        for identifier in identifiers:
            self._coming.pop(identifier, None)

    def _looked(self, grid: HttpGrid, identifiers: Sequence[str]) -> Iterator[Message]:
        client, run_id = grid._runtime_client, grid.run.run_id  # noqa: SLF001 - see contract.py
        pull = make_pull_object_fn_protobuf(client.PullObject, grid.node, run_id)
        wanted = [each for each in identifiers if each not in self._coming]
        if wanted:
            answer = client.PullMessages(PullAppMessagesRequest(message_ids=wanted))
            for proto, tree in zip(answer.messages_list, answer.message_object_trees, strict=True):
                head = message_from_proto(proto)
                if head.has_error():
                    yield head
                    continue
                to = head.metadata.reply_to_message_id
                self._coming[to] = (head, Upload(tree))
        for to in [each for each in identifiers if each in self._coming]:
            here = self._coming.get(to)
            found = None if here is None else _complete(*here, pull)
            if here is None or found is None:
                continue
            del self._coming[to]
            if not found.has_error():
                client.ConfirmMessageReceived(
                    ConfirmMessageReceivedRequest(
                        node=grid.node, run_id=run_id, message_object_id=here[1].identifier
                    )
                )
            yield found


def _complete(head: Message, upload: Upload, pull: Callable[[str], bytes]) -> Message | None:
    """Return a reply that is all there, one that can't be had or read as an error, else nothing."""
    try:
        content = upload.content(pull, seconds=LOOK_SECONDS)
    except ObjectPullError as error:
        lost = Error(ErrorCode.MESSAGE_UNAVAILABLE, f"The reply was lost: {error}")
        return make_message(head.metadata, error=lost)
    except MessageInvalid as error:
        unreadable = Error(ErrorCode.UNKNOWN, f"The reply can't be read: {error}")
        return make_message(head.metadata, error=unreadable)
    return None if content is None else make_message(head.metadata, content)
