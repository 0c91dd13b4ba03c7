"""Pulling what a message carries, and nothing else; pushing it so that this is enough.

Flower stores a message as a tree of objects (message, dictionary of records, record, chunks) and
its readers ask for each. The upper two say what the message's head and our form of messages say
already, so one request takes the place of three.

A reader that has the record confirms the message, and the SuperLink drops the whole tree. Flower
uploads a record before what is above it: a quick reader would have the tree dropped in the middle
of the upload, which then fails. So what readers ask for is uploaded last.
"""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING, Any, Final

from flwr.app import RecordDict
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    iterate_object_tree,
)
from flwr.supercore.inflatable.inflatable_utils import (
    ObjectPullError,
    inflate_object_from_contents,
    pull_objects,
    push_objects,
)
from google.protobuf.message import DecodeError

from federated.frames import MAX_FRAME_BYTES
from federated.runtime.messages import RECORD
from federated.runtime.patience import PATIENCE
from fusion.errors import MessageInvalid

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from collections.abc import Set as AbstractSet

    from flwr.app import Message
    from flwr.proto.message_pb2 import ObjectTree
    from flwr.supercore.inflatable.inflatable_object import InflatableObject


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


class Upload:
    """What a message carries, while it is uploaded: parts that have come are kept between looks."""

    def __init__(self, tree: ObjectTree) -> None:
        """Take the message's objects; nothing is asked for yet."""
        self.identifier = tree.object_id
        self._tree = tree
        self._parts: dict[str, bytes] = {}
        self._unknown = False

    def content(self, pull_object: Callable[[str], bytes], *, seconds: float) -> RecordDict | None:
        """Look for what has not come yet; return the content if it is all there, or nothing.

        Args:
            pull_object: Gets one object.
            seconds: How long this look waits for objects that are still being uploaded.

        Raises:
            MessageInvalid: The message does not have exactly one record.
            flwr.supercore.inflatable.inflatable_utils.ObjectPullError: An object is not known, so
                that it will not come.
        """

        def once(object_id: str) -> bytes:
            if object_id not in self._parts:
                try:
                    self._parts[object_id] = pull_object(object_id)
                except ObjectPullError:
                    self._unknown = True
                    raise
            return self._parts[object_id]

        try:
            return pull_content(self._tree, once, seconds=seconds)
        except ObjectPullError:
            if self._unknown:
                raise
            return None


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


def push_contents(
    messages: Sequence[Message],
    push_object: Callable[[str, bytes], None],
    wanted: AbstractSet[str],
) -> None:
    """Upload messages, all that readers do not ask for before anything that they do.

    Args:
        messages: What was announced to the SuperLink.
        push_object: Uploads one object.
        wanted: The objects that the SuperLink lacks.

    Raises:
        flwr.supercore.inflatable.inflatable_utils.ObjectPushError: It does not take one.
    """
    heads: dict[str, InflatableObject] = {}
    records: dict[str, InflatableObject] = {}
    for message in messages:
        tree = get_object_tree(message)
        above = {tree.object_id, *(child.object_id for child in tree.children)}
        for name, part in get_all_nested_objects(message).items():
            (heads if name in above else records)[name] = part
    for stage in (heads, records):
        push_objects(stage, push_object, object_ids_to_push=wanted & stage.keys())
