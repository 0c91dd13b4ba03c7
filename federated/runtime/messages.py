"""Requests and replies as Flower messages: the only file that knows record and message names.

A message carries one frame (:mod:`federated.frames`): in a ``ConfigRecord``, or, when it is large,
in an array of a type of its own, which Flower cuts into chunks and which is never handed to numpy
(that could be made to unpickle). Flower asks once for every object, so there is only one.

Flower names objects by their content and keeps equal ones once. A frame therefore has a nonce: a
greeting must not find the object of an earlier one, and be taken before it was uploaded as a whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from federated.cohort import Failure, Kind, Reply, Request
from federated.frames import read_frame, write_frame
from fusion.crypto import rng
from fusion.errors import MessageInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fusion.types import OrgId

LARGE_BYTES: Final = 1 << 20
"""A frame larger than this travels as an array."""
RECORD: Final = "banyan"
"""Name of the one record in a message."""
_STYPE: Final = "banyan.frame/1"

MESSAGE_TYPES: Final[Mapping[Kind, str]] = {
    "hello": "query.hello",
    "setup": "query.setup",
    "join": "query.join",
    "contribute": "train.contribute",
    "submit": "query.submit",
    "witness": "query.witness",
    "decrypt": "query.decrypt",
    "dispute": "query.dispute",
    "close": "query.close",
    "prepare": "query.prepare",
    "begin": "query.begin",
    "look": "query.look",
    "finish": "query.finish",
    "leave": "query.leave",
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


def encode_request(request: Request, nonce: str) -> RecordDict:
    """Return the content of a message to a party; messages sent together may share a nonce."""
    return _encode({"head": dict(request.head)}, request.blobs, nonce)


def fresh_nonce() -> str:
    """Return what no other message has."""
    return rng.token(16).hex()


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
            "study_key": reply.failure.study_key,
        }
    return _encode(document, reply.blobs, fresh_nonce())


def decode_reply(organisation: OrgId, content: RecordDict) -> Reply:
    """Read a message from a party.

    Raises:
        MessageInvalid: Not of this form, or too large.
    """
    document, blobs = _decode(content)
    failure = None
    if "failure" in document:
        found = _mapping(document, "failure")
        code, message, key = (found.get(k, "") for k in ("code", "message", "study_key"))
        exit_code = found.get("exit_code")
        texts = isinstance(code, str) and isinstance(message, str) and isinstance(key, str)
        if not (texts and code and message and isinstance(exit_code, int)):
            msg = f"The failure that {organisation} reports is not well formed."
            raise MessageInvalid(msg)
        exit_code = exit_code if 1 <= exit_code <= 6 else 1
        failure = Failure(code[:16], message[:2000], exit_code, key[:300])
    return Reply(organisation, _mapping(document, "head"), blobs, failure)


def _mapping(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = document.get(name)
    if not isinstance(value, dict):
        msg = f"A message lacks its {name}."
        raise MessageInvalid(msg)
    return value


def _encode(document: Mapping[str, Any], blobs: Mapping[str, bytes], nonce: str) -> RecordDict:
    frame = write_frame({**document, "nonce": nonce}, blobs)
    if len(frame) <= LARGE_BYTES:
        return RecordDict({RECORD: ConfigRecord({RECORD: frame})})
    array = Array(dtype="uint8", shape=(len(frame),), stype=_STYPE, data=frame)
    return RecordDict({RECORD: ArrayRecord({RECORD: array})})


def _decode(content: RecordDict) -> tuple[dict[str, Any], dict[str, bytes]]:
    record = content.get(RECORD)
    frame: object = None
    if isinstance(record, ConfigRecord):
        frame = record.get(RECORD)
    elif isinstance(record, ArrayRecord):
        array = record.get(RECORD)
        frame = array.data if array is not None and array.stype == _STYPE else None
    if not isinstance(frame, bytes) or len(content) != 1:
        msg = "A message is not of the form this release speaks."
        raise MessageInvalid(msg, hint="Run the same release at the hub and at every node.")
    return read_frame(frame)
