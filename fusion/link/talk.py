"""What two parties of a job say on one stream: closed frames, each with its limit.

=========  =====================================================================================
hello      which job and attempt; how many messages were taken, and from which one to go on
part       a piece of a message: messages are numbered from 0 in each direction
taken      so many messages were taken, counted from the first: the sender may drop them
alive      nothing else to say for a moment; and for how long nobody has worked, as far as is known
failed     this side has ended, and why: a code, and a sentence without a value of anybody's data
over       this side has taken everything it needs, and has nothing left to send
unknown    no such job is open here with who calls: it may be later
=========  =====================================================================================

The side that dials says hello first. Whoever speaks is known from TLS, never from a frame.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import Field, ValidationError

from fusion.errors import MessageInvalid
from fusion.wire import canonical
from fusion.wire.documents import Part as Closed
from fusion.wire.limits import MEBI

SERVICE: Final = "fusion.conversation.v1.Conversations"
TALK: Final = f"/{SERVICE}/Talk"
MAX_MESSAGE_BYTES: Final = 64 * MEBI
"""One message; it travels in parts."""
PART_BYTES: Final = MEBI // 2
MAX_REASON: Final = 500
MAX_ATTEMPTS: Final = 10_000

MAX_IDLE: Final = 2**32 - 1
"""Milliseconds, more than a month."""

_MAX_JSON: Final = 4096
_MAX_NUMBER: Final = 2**53 - 1
_PART: Final = struct.Struct(">QII")
_NUMBER: Final = struct.Struct(">Q")
_IDLE: Final = struct.Struct(">I")
_HELLO, _PIECE, _TAKEN, _ALIVE, _FAILED, _OVER, _UNKNOWN = b"HPTAFOU"

_Number = Annotated[int, Field(ge=0, le=_MAX_NUMBER)]


class Hello(Closed):
    """The first frame of either side.

    Attributes:
        job: The job.
        attempt: Which attempt of it, from 1.
        taken: Messages of the other side that were taken.
        next: Number of the message of the other side to go on with; more than ``taken`` where some
            wait to be taken.
    """

    job: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
    attempt: Annotated[int, Field(ge=1, le=MAX_ATTEMPTS)]
    taken: _Number
    next: _Number


class Failed(Closed):
    """The last frame of a side that has ended without success.

    Attributes:
        code: Of the error.
        exit_code: What the error's command line ends with.
        reason: The error in one sentence, for people.
    """

    code: Annotated[str, Field(pattern=r"^[A-Z]-[0-9]{2,3}$")]
    exit_code: Annotated[int, Field(ge=1, le=255)]
    reason: Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{0,500}$")]


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a message.

    Attributes:
        number: Of the message.
        total: Bytes of the whole message.
        first: Place of the piece in it.
        data: The piece.
    """

    number: int
    total: int
    first: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Taken:
    """So many messages were taken."""

    count: int


@dataclass(frozen=True, slots=True)
class Alive:
    """Still there.

    Attributes:
        idle: Milliseconds since somebody has worked on the job, this side or whoever it talks with,
            as far as it knows; 0 while it does.
    """

    idle: int = 0


@dataclass(frozen=True, slots=True)
class Over:
    """Everything was taken and sent."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """There is no such job here, for who calls."""


Frame = Hello | Part | Taken | Alive | Failed | Over | Unknown


def to_bytes(frame: Frame) -> bytes:
    """Return a frame's bytes: one for its kind, then its content."""
    match frame:
        case Hello():
            return bytes((_HELLO,)) + canonical.encode(frame.model_dump())
        case Failed():
            return bytes((_FAILED,)) + canonical.encode(frame.model_dump())
        case Part(number=number, total=total, first=first, data=data):
            return bytes((_PIECE,)) + _PART.pack(number, total, first) + data
        case Taken(count=count):
            return bytes((_TAKEN,)) + _NUMBER.pack(count)
        case Alive(idle=idle):
            return bytes((_ALIVE,)) + _IDLE.pack(idle)
        case Over():
            return bytes((_OVER,))
        case Unknown():
            return bytes((_UNKNOWN,))


def from_bytes(data: bytes) -> Frame:
    """Return a frame.

    Raises:
        MessageInvalid: It is none, or is larger than it may be.
    """
    kind, rest = data[:1], data[1:]
    if kind == bytes((_PIECE,)):
        return _part(rest)
    if kind == bytes((_TAKEN,)) and len(rest) == _NUMBER.size:
        return Taken(*_NUMBER.unpack(rest))
    if kind == bytes((_ALIVE,)) and len(rest) == _IDLE.size:
        return Alive(*_IDLE.unpack(rest))
    if kind in {bytes((_HELLO,)), bytes((_FAILED,))}:
        model = Hello if kind == bytes((_HELLO,)) else Failed
        try:
            return model.model_validate(canonical.decode(rest, _MAX_JSON))
        except ValidationError:
            raise MessageInvalid("A frame of a conversation is not well formed.") from None
    plain: dict[bytes, Frame] = {
        bytes((_OVER,)): Over(),
        bytes((_UNKNOWN,)): Unknown(),
    }
    if rest or kind not in plain:
        raise MessageInvalid("A frame of a conversation is of no known kind.")
    return plain[kind]


def _part(rest: bytes) -> Part:
    if not _PART.size <= len(rest) <= _PART.size + PART_BYTES:
        raise MessageInvalid("A part of a message is not as large as a part may be.")
    number, total, first = _PART.unpack_from(rest)
    data = rest[_PART.size :]
    if total > MAX_MESSAGE_BYTES or first + len(data) > total:
        raise MessageInvalid("A part is of a message that is larger than any may be.")
    return Part(number, total, first, data)


def parts(number: int, data: bytes) -> list[Part]:
    """Return a message in parts; an empty one is one empty part.

    Raises:
        MessageInvalid: It is larger than a message may be.
    """
    if len(data) > MAX_MESSAGE_BYTES:
        raise MessageInvalid(f"A message has {len(data)} bytes; {MAX_MESSAGE_BYTES} is the limit.")
    starts = range(0, max(1, len(data)), PART_BYTES)
    return [Part(number, len(data), at, data[at : at + PART_BYTES]) for at in starts]
