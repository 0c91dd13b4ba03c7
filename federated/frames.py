"""A head and blobs as one run of bytes: what travels in a message, whatever carries it.

``BNYM`` | version 1 | length of the head, 4 bytes, big-endian | head | blobs, one after the other.
The head is canonical JSON and lists name and size of each blob under ``blobs``; lengths are checked
before anything is taken apart.

One run of bytes, because a transport may ask and answer once for every object in a message.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

from fusion.errors import MessageInvalid
from fusion.wire import canonical

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_FRAME_BYTES: Final = 1 << 30
MAX_HEAD_BYTES: Final = 4 << 20
MAX_BLOBS: Final = 4096
_PREFIX: Final = struct.Struct(">4sBI")
_MAGIC: Final = b"BNYM"
_VERSION: Final = 1


def write_frame(document: Mapping[str, Any], blobs: Mapping[str, bytes]) -> bytes:
    """Return ``document`` and ``blobs`` as one frame.

    Raises:
        MessageInvalid: The document has no canonical form, or uses the key ``blobs``.
    """
    if "blobs" in document:
        msg = "A message's head may not use the key 'blobs'."
        raise MessageInvalid(msg)
    sizes = [[name, len(blob)] for name, blob in blobs.items()]
    head = canonical.encode({**document, "blobs": sizes})
    return b"".join([_PREFIX.pack(_MAGIC, _VERSION, len(head)), head, *blobs.values()])


def read_frame(data: bytes) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Take a frame apart.

    Raises:
        MessageInvalid: Too large, cut short, of another form, or with bytes left over.
    """
    if not _PREFIX.size <= len(data) <= MAX_FRAME_BYTES:
        msg = "A message is empty or too large."
        raise MessageInvalid(msg)
    magic, version, size = _PREFIX.unpack_from(data)
    if (magic, version) != (_MAGIC, _VERSION) or size > min(MAX_HEAD_BYTES, len(data)):
        msg = "A message is not of the form this release speaks."
        raise MessageInvalid(msg, hint="Run the same release at the hub and at every node.")
    start = _PREFIX.size + size
    document = canonical.decode(data[_PREFIX.size : start], limit=MAX_HEAD_BYTES)
    if not isinstance(document, dict):
        msg = "The head of a message is no object."
        raise MessageInvalid(msg)
    return document, _blobs(document.pop("blobs", None), data, start)


def _blobs(sizes: object, data: bytes, start: int) -> dict[str, bytes]:
    """Cut the blobs out."""
    blobs: dict[str, bytes] = {}
    if not isinstance(sizes, list) or len(sizes) > MAX_BLOBS:
        msg = "A message does not list its blobs, or has too many."
        raise MessageInvalid(msg)
    for entry in sizes:
        match entry:
            case [str(name), int(size)] if (
                not isinstance(size, bool) and 0 <= size <= len(data) - start and name not in blobs
            ):
                blobs[name] = data[start : start + size]
                start += size
            case _:
                msg = "A message lists a blob that it does not have."
                raise MessageInvalid(msg)
    if start != len(data):
        msg = "A message has bytes left over."
        raise MessageInvalid(msg)
    return blobs
