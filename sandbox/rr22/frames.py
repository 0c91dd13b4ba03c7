"""Frames between a node and the process in which RR22 runs, and between two such processes.

``kind, 1 byte | stream, 2 bytes | length, 4 bytes | payload``. A stream is a TCP connection of
one process's link to the other's: the first party numbers those that it opens 0, 2, 4 and so on,
the second 1, 3, 5. Imports the standard library alone, of Python 3.9 and later: it is run by the
interpreter that has spu, too.
"""

from __future__ import annotations

from typing import Iterator, NamedTuple  # noqa: UP035 - as the module's text says

LISTENS, OPEN, DATA, SHUT = b"l", b"o", b"d", b"s"
LINK = frozenset((LISTENS, OPEN, DATA, SHUT))
"""What two processes say to each other: the link can be connected to; a connection opens, carries,
has no more to carry."""

ITEMS, START = b"i", b"b"
"""From the node alone: items of the set, and that these were all."""

READY, FOUND, DONE = b"r", b"f", b"e"
"""From the process alone: it has spu, the common items, and that these were all."""

HEAD = 7
MAX_PAYLOAD = 65_536
"""Bytes of one frame."""
MAX_STREAMS = 64
"""Connections that one side opens in all."""
ITEM = 16
"""Bytes of an item."""


class FrameInvalid(Exception):
    """What came is no frame, or one that has no place there."""


class Frame(NamedTuple):
    """One frame."""

    kind: bytes
    stream: int
    payload: bytes


def frame(kind: bytes, payload: bytes = b"", stream: int = 0) -> bytes:
    """Return a frame as bytes."""
    return kind + stream.to_bytes(2, "big") + len(payload).to_bytes(4, "big") + payload


def in_frames(kind: bytes, data: bytes) -> Iterator[bytes]:
    """Yield frames that carry an array of items."""
    step = MAX_PAYLOAD // ITEM * ITEM
    for at in range(0, len(data), step):
        yield frame(kind, data[at : at + step])


class Reader:
    """Takes bytes as they come, and gives frames."""

    def __init__(self, kinds: frozenset[bytes]) -> None:
        """Take the kinds that may come."""
        self._kinds = kinds
        self._rest = bytearray()

    @property
    def empty(self) -> bool:
        """Whether no part of a frame is left."""
        return not self._rest

    def take(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that are whole now.

        Raises:
            FrameInvalid: One is of another kind, or too long.
        """
        self._rest += data
        while len(self._rest) >= HEAD:
            kind, size = bytes(self._rest[:1]), int.from_bytes(self._rest[3:HEAD], "big")
            if kind not in self._kinds or size > MAX_PAYLOAD:
                raise FrameInvalid
            if len(self._rest) < HEAD + size:
                return
            stream = int.from_bytes(self._rest[1:3], "big")
            payload = bytes(self._rest[HEAD : HEAD + size])
            del self._rest[: HEAD + size]
            yield Frame(kind, stream, payload)


class LinkRules:
    """What one side may say over the link: whose streams it opens, in which order, how much.

    Both nodes hold what comes to it: what their own process makes, and what the other node hands
    on, before it gets to their own process.
    """

    def __init__(self, rank: int, most: int) -> None:
        """Begin.

        Args:
            rank: Whose frames these are: 0 or 1.
            most: Bytes of all payloads together.
        """
        self._rank, self._left = rank, most
        self._opened = 0
        self._open: set[int] = set()
        self._listens = self._other_listens = False

    def other_said(self, each: Frame) -> None:
        """Learn what the other side may say has been said: it may be answered."""
        if each.kind == OPEN:
            self._open.add(each.stream)
        elif each.kind == LISTENS:
            self._other_listens = True

    def check(self, each: Frame) -> None:
        """Return if the frame may be said.

        Raises:
            FrameInvalid: It may not.
        """
        if each.kind not in LINK:
            raise FrameInvalid
        if each.kind == LISTENS:
            if each.stream or each.payload or self._listens:
                raise FrameInvalid
            self._listens = True
            return
        if each.kind == OPEN:
            due = 2 * self._opened + self._rank
            late = self._opened == MAX_STREAMS or not self._other_listens
            if each.stream != due or each.payload or late:
                raise FrameInvalid
            self._opened += 1
            self._open.add(each.stream)
            return
        if each.stream not in self._open:
            raise FrameInvalid
        if each.kind == SHUT:
            if each.payload:
                raise FrameInvalid
            self._open.discard(each.stream)
            return
        self._left -= len(each.payload)
        if not each.payload or self._left < 0:
            raise FrameInvalid
