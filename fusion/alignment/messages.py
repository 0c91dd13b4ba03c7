"""Messages of an alignment: a closed head in canonical JSON, then an array of fixed-size items.

``length of the head, 2 bytes | head | count * width bytes``. The head says what follows; a message
whose body is not exactly that is refused. The size of every message depends on the terms and on
declared sizes alone.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field, TypeAdapter, ValidationError

from fusion.alignment.rules import Broken, broken
from fusion.alignment.terms import MAX_CHUNK, MAX_ITEMS, Organisation
from fusion.errors import MessageInvalid
from fusion.wire import canonical
from fusion.wire.documents import Document
from fusion.wire.limits import MEBI

POINT: Final = 32
TAG: Final = 16
"""Bytes of a doubly masked point that are compared: 127 bits of a random value."""
MAX_HEAD_BYTES: Final = 1024
MAX_PAYLOAD: Final = 1024
"""Bytes attached to one record."""
SEAL: Final = 2 + 16
"""Bytes that sealing adds to them: their length, and what shows that they were not changed."""
MAX_BODY_BYTES: Final = 3 * MEBI
"""Of one message's array: what gRPC carries between nodes in one piece, with room to spare."""
MAX_LINKED: Final = MEBI
"""Bytes of RR22's link in one message."""
MAX_MESSAGE_BYTES: Final = 2 + MAX_HEAD_BYTES + MAX_BODY_BYTES

_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Count = Annotated[int, Field(ge=0, le=MAX_ITEMS)]
_Chunk = Annotated[int, Field(ge=1, le=MAX_CHUNK)]


class _Head(Document):
    """What every head has.

    Attributes:
        terms: Digest of the terms.
        sender: Who speaks.
        number: Of the message, from 0, in its direction.
    """

    terms: _Digest
    sender: Organisation
    number: Annotated[int, Field(ge=0, le=2 * MAX_ITEMS)]


class Hello(_Head):
    """How many items a set has, and what it is committed to."""

    kind: Literal["hello"] = "hello"
    total: _Count
    commitment: _Digest


class Masked(_Head):
    """Items masked by their owner, sorted: a part of the list."""

    kind: Literal["masked"] = "masked"
    first: _Count
    count: _Chunk


class Pledge(_Head):
    """What the answer to the other's list will be, before the other's answer is seen."""

    kind: Literal["pledge"] = "pledge"
    answer: _Digest


class Doubled(_Head):
    """The other's items, masked by both: truncated, a part of the list."""

    kind: Literal["doubled"] = "doubled"
    first: _Count
    count: _Chunk


class Output(_Head):
    """What was found, as a digest that only who found the same can compare."""

    kind: Literal["output"] = "output"
    found: _Digest


class Done(_Head):
    """Who learns has everything (of RR22: who says it); nothing about what it learned."""

    kind: Literal["done"] = "done"


class Lists(_Head):
    """A list on its way through the parties (:mod:`fusion.alignment.ring`).

    Attributes:
        owner: Whose it is.
        hop: How many parties have masked it.
        total: Items of the list.
    """

    kind: Literal["list"] = "list"
    owner: Organisation
    hop: Annotated[int, Field(ge=1, le=64)]
    total: _Count
    first: _Count
    count: _Chunk


class Asked(_Head):
    """Blinded items, for the owner of a published set (:mod:`fusion.alignment.published`)."""

    kind: Literal["asked"] = "asked"
    total: _Count
    first: _Count
    count: _Chunk


class Evaluated(_Head):
    """The blinded items of one :class:`Asked`, masked by the set's owner."""

    kind: Literal["evaluated"] = "evaluated"
    first: _Count
    count: _Chunk


class Published(_Head):
    """Tags of a published set, sorted, each with what is attached to it: a part of the list."""

    kind: Literal["published"] = "published"
    total: _Count
    sealed: Annotated[int, Field(ge=0, le=MAX_PAYLOAD + SEAL)]
    commitment: _Digest
    first: _Count
    count: _Chunk


class Linked(_Head):
    """What one party's process of RR22 says to the other's: frames of a link, ``count`` bytes."""

    kind: Literal["linked"] = "linked"
    count: Annotated[int, Field(ge=1, le=MAX_LINKED)]


class Said(_Head):
    """The own process of RR22 has its result; its link goes on until the peer's has, too."""

    kind: Literal["said"] = "said"


class Common(_Head):
    """Items that RR22 has found, sorted: a part of the list, for who did not learn them by it.

    Of none there is one part, which is empty.
    """

    kind: Literal["common"] = "common"
    total: _Count
    first: _Count
    count: Annotated[int, Field(ge=0, le=MAX_CHUNK)]


Head = (
    Hello | Masked | Pledge | Doubled | Output | Done | Lists | Asked | Evaluated | Published
    | Linked | Said | Common
)  # fmt: skip
_HEADS: Final[TypeAdapter[Head]] = TypeAdapter(Annotated[Head, Field(discriminator="kind")])


def width(head: Head) -> int:
    """Return the bytes of an item of the array that follows a head."""
    match head:
        case Masked() | Lists() | Asked() | Evaluated():
            return POINT
        case Doubled() | Common():
            return TAG
        case Linked():
            return 1
        case Published():
            return TAG + head.sealed
        case _:
            return 0


def to_bytes(head: Head, body: bytes = b"") -> bytes:
    """Return a message."""
    data = head.canonical()
    return len(data).to_bytes(2, "big") + data + body


def read(data: bytes) -> tuple[Head, bytes]:
    """Take a message apart.

    Raises:
        AlignmentBroken: A-50: too large, not decodable, not of a known form, or its array is not
            of the size that its head says.
    """
    length = int.from_bytes(data[:2], "big")
    if not 2 < len(data) <= MAX_MESSAGE_BYTES or not 0 < length <= MAX_HEAD_BYTES:
        raise broken(Broken.FORM)
    said, body = bytes(data[2 : 2 + length]), bytes(data[2 + length :])
    try:
        canonical.decode(said, MAX_HEAD_BYTES)
        head = _HEADS.validate_json(said)
    except (MessageInvalid, ValidationError):
        raise broken(Broken.FORM) from None
    if head.canonical() != said or len(body) != getattr(head, "count", 0) * width(head):
        raise broken(Broken.FORM)
    return head, body
