"""Pulling what a message carries, and nothing else.

Flower stores a message as a tree of objects (message, dictionary of records, record, chunks) and
its readers ask for each. The upper two say what the message's head and our form of messages say
already, so one request takes the place of three.
"""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING, Any, Final

from flwr.app import Error, RecordDict
from flwr.app.message import make_message
from flwr.common.constant import ErrorCode
from flwr.common.serde import message_from_proto
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest
from flwr.proto.runtime_pb2 import PullAppMessagesRequest
from flwr.supercore.inflatable.inflatable_object import iterate_object_tree
from flwr.supercore.inflatable.inflatable_protobuf_utils import make_pull_object_fn_protobuf
from flwr.supercore.inflatable.inflatable_utils import (
    ObjectPullError,
    inflate_object_from_contents,
    pull_objects,
)
from flwr.superlink.grid.http_grid import HttpGrid
from google.protobuf.message import DecodeError

from federated.frames import MAX_FRAME_BYTES
from federated.runtime.messages import RECORD
from federated.runtime.patience import PATIENCE
from fusion.errors import MessageInvalid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from flwr.app import Message
    from flwr.proto.message_pb2 import ObjectTree
    from flwr.serverapp import Grid


MAX_PARTS: Final = 1024
"""Flower cuts arrays into chunks of 5 MiB; a frame has at most 1 GiB."""
_OVERHEAD_BYTES: Final = 4096


def pull_content(
    tree: ObjectTree, pull_object: Callable[[str], bytes], *, seconds: float
) -> RecordDict:
    """Return a message's content.

    Args:
        tree: The message's objects.
        pull_object: Gets one object.
        seconds: How long to wait for objects that are still being uploaded.

    Raises:
        MessageInvalid: The message does not have exactly one record.
        flwr.supercore.inflatable.inflatable_utils.ObjectPullError: The objects did not come.
    """
    if len(tree.children) != 1 or len(tree.children[0].children) != 1:
        msg = "A message does not carry exactly one record."
        raise MessageInvalid(msg)
    record = tree.children[0].children[0]
    parts = [
        part.object_id for part in itertools.islice(iterate_object_tree(record), MAX_PARTS + 1)
    ]
    if len(parts) > MAX_PARTS:
        msg = "A message is cut into too many parts."
        raise MessageInvalid(msg)
    contents = pull_objects(parts, _bounded(pull_object), max_time=seconds, **PATIENCE)
    try:
        inflated: Any = inflate_object_from_contents(record.object_id, contents)
        return RecordDict({RECORD: inflated})
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, DecodeError) as error:
        msg = f"A message's content is not what it says ({type(error).__name__})."
        raise MessageInvalid(msg) from error


def _bounded(pull_object: Callable[[str], bytes]) -> Callable[[str], bytes]:
    """Return ``pull_object`` that refuses to go on beyond the size of any frame."""
    lock, pulled = threading.Lock(), 0

    def pull(object_id: str) -> bytes:
        nonlocal pulled
        data = pull_object(object_id)
        with lock:
            pulled += len(data)
            if pulled > MAX_FRAME_BYTES + MAX_PARTS * _OVERHEAD_BYTES:
                msg = "A message is larger than any frame."
                raise MessageInvalid(msg)
        return data

    return pull


def pull_replies(grid: Grid, identifiers: Sequence[str], *, seconds: float) -> Iterable[Message]:
    """Return the replies to these messages that have come; each is returned once.

    Over Flower's HTTP grid only the records are asked for; any other grid does it its own way.
    """
    if not isinstance(grid, HttpGrid):
        yield from grid.pull_messages(identifiers)
        return
    client, run_id = grid._runtime_client, grid.run.run_id  # noqa: SLF001 - see contract.py
    pull_object = make_pull_object_fn_protobuf(client.PullObject, grid.node, run_id)
    answer = client.PullMessages(PullAppMessagesRequest(message_ids=identifiers))
    for proto, tree in zip(answer.messages_list, answer.message_object_trees, strict=True):
        head = message_from_proto(proto)
        if head.has_error():
            yield head
            continue
        try:
            content = pull_content(tree, pull_object, seconds=seconds)
        except (ObjectPullError, MessageInvalid) as error:
            unavailable = Error(ErrorCode.UNKNOWN, f"The reply can't be read: {error}")
            yield make_message(head.metadata, error=unavailable)
            continue
        client.ConfirmMessageReceived(
            ConfirmMessageReceivedRequest(
                node=grid.node, run_id=run_id, message_object_id=proto.metadata.message_id
            )
        )
        yield make_message(head.metadata, content)
