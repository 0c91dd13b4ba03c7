"""Requests and replies as Flower messages: the only file that knows record and message names.

A message is one ``ConfigRecord`` (the head, as canonical JSON) and, if there are blobs, one
``ArrayRecord`` whose arrays carry raw bytes under a type of their own: they are never handed to
numpy, which could be made to unpickle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from federated.cohort import Failure, Kind, Reply, Request
from fusion.errors import MessageInvalid
from fusion.wire import canonical

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fusion.types import OrgId

MAX_HEAD_BYTES: Final = 4 << 20
MAX_BLOB_BYTES: Final = 1 << 30
MAX_BLOBS: Final = 4096
_HEAD: Final = "banyan"
_BLOBS: Final = "blobs"
_STYPE: Final = "banyan.bytes/1"

MESSAGE_TYPES: Final[Mapping[Kind, str]] = {
    "hello": "query.hello",
    "setup": "query.setup",
    "contribute": "train.contribute",
    "submit": "query.submit",
    "decrypt": "query.decrypt",
    "close": "query.close",
}
"""Flower routes on these; everything but computing is a query."""


def kind_of(message_type: str) -> Kind:
    """Return the kind of request a Flower message type stands for.

    Raises:
        MessageInvalid: None.
    """
    for kind, name in MESSAGE_TYPES.items():
        if name == message_type:
            return kind
    msg = f"A message of the unknown type {message_type[:64]!r} was refused."
    raise MessageInvalid(msg)


def encode_request(request: Request) -> RecordDict:
    """Return the content of a message to a party."""
    return _encode({"head": dict(request.head)}, request.blobs)


def decode_request(kind: Kind, content: RecordDict) -> Request:
    """Read a message to a party.

    Raises:
        MessageInvalid: Not of this form, or too large.
    """
    document, blobs = _decode(content)
    return Request(kind, _mapping(document, "head"), blobs)


def encode_reply(reply: Reply) -> RecordDict:
    """Return the content of a message to the hub."""
    document: dict[str, Any] = {"head": dict(reply.head)}
    if reply.failure is not None:
        document["failure"] = {
            "code": reply.failure.code,
            "message": reply.failure.message,
            "exit_code": reply.failure.exit_code,
        }
    return _encode(document, reply.blobs)


def decode_reply(organisation: OrgId, content: RecordDict) -> Reply:
    """Read a message from a party.

    Raises:
        MessageInvalid: Not of this form, or too large.
    """
    document, blobs = _decode(content)
    failure = None
    if "failure" in document:
        found = _mapping(document, "failure")
        code, message, exit_code = (found.get(k) for k in ("code", "message", "exit_code"))
        if not (isinstance(code, str) and isinstance(message, str) and isinstance(exit_code, int)):
            msg = f"The failure that {organisation} reports is not well formed."
            raise MessageInvalid(msg)
        failure = Failure(code[:16], message[:2000], exit_code if 1 <= exit_code <= 6 else 1)
    return Reply(organisation, _mapping(document, "head"), blobs, failure)


def _mapping(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = document.get(name)
    if not isinstance(value, dict):
        msg = f"A message lacks its {name}."
        raise MessageInvalid(msg)
    return value


def _encode(document: Mapping[str, Any], blobs: Mapping[str, bytes]) -> RecordDict:
    content = RecordDict({_HEAD: ConfigRecord({"json": canonical.encode(dict(document))})})
    if blobs:
        content[_BLOBS] = ArrayRecord(
            {
                name: Array(dtype="uint8", shape=(len(data),), stype=_STYPE, data=data)
                for name, data in blobs.items()
            }
        )
    return content


def _decode(content: RecordDict) -> tuple[dict[str, Any], dict[str, bytes]]:
    head = content.get(_HEAD)
    data = head.get("json") if isinstance(head, ConfigRecord) else None
    if not isinstance(data, bytes) or set(content) - {_HEAD, _BLOBS}:
        msg = "A message is not of the form this release speaks."
        raise MessageInvalid(msg, hint="Run the same release at the hub and at every node.")
    document = canonical.decode(data, limit=MAX_HEAD_BYTES)
    if not isinstance(document, dict):
        msg = "The head of a message is no object."
        raise MessageInvalid(msg)
    return document, _blobs(content)


def _blobs(content: RecordDict) -> dict[str, bytes]:
    records = content.get(_BLOBS)
    if records is None:
        return {}
    if not isinstance(records, ArrayRecord) or len(records) > MAX_BLOBS:
        msg = "The blobs of a message are malformed or too many."
        raise MessageInvalid(msg)
    blobs: dict[str, bytes] = {}
    for name, array in records.items():
        if array.stype != _STYPE or len(array.data) > MAX_BLOB_BYTES:
            msg = "A blob is of another type or too large."
            raise MessageInvalid(msg)
        blobs[name] = bytes(array.data)
    return blobs
