"""HTTP/1.1 over one connection, by h11: a time limit on every wait, a size on every head."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import h11

from fusion.wire.limits import CHUNK_BYTES, MAX_HEAD_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable


class HttpStream:
    """One side of one connection."""

    def __init__(
        self,
        role: type[h11.CLIENT | h11.SERVER],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        """Take a connection that is established."""
        self.state = h11.Connection(role, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._reader = reader
        self._writer = writer

    async def request(self, idle: float, head: float) -> h11.Request | None:
        """Return the next request, or None when the caller is done.

        Args:
            idle: Seconds to wait for its first byte.
            head: Seconds from then to the end of its headers.

        Raises:
            TimeoutError: One of the two is over.
            h11.RemoteProtocolError: It is not HTTP/1.1, or its head is too large.
        """
        event = self.state.next_event()
        if event is h11.NEED_DATA:
            async with asyncio.timeout(idle):
                await self._receive()
            async with asyncio.timeout(head):
                event = await self._event()
        if not isinstance(event, h11.Request):
            return None
        # h11 limits what is incomplete; a head that came in one piece is complete at once.
        if len(event.target) + sum(len(n) + len(v) + 4 for n, v in event.headers) > MAX_HEAD_BYTES:
            raise h11.RemoteProtocolError("the head is too large")
        return event

    async def event(self, seconds: float) -> h11.Event:
        """Return the next event; wait ``seconds`` at most.

        Raises:
            TimeoutError: Nothing came.
            h11.RemoteProtocolError: What came is not HTTP/1.1.
        """
        event = self.state.next_event()
        if event is h11.NEED_DATA:
            async with asyncio.timeout(seconds):
                event = await self._event()
        if isinstance(event, type):  # NEED_DATA is gone; PAUSED means that the peer is ahead
            raise h11.RemoteProtocolError("unexpected data")
        return event

    async def _event(self) -> type[h11.NEED_DATA | h11.PAUSED] | h11.Event:
        while (event := self.state.next_event()) is h11.NEED_DATA:
            await self._receive()
        return event

    async def _receive(self) -> None:
        self.state.receive_data(await self._reader.read(CHUNK_BYTES))

    async def send(self, events: Iterable[h11.Event], seconds: float) -> None:
        """Write ``events``; return when the network has taken most of it.

        Raises:
            TimeoutError: It did not in time.
            OSError: The connection is gone.
        """
        self._writer.write(b"".join(self.state.send(event) or b"" for event in events))
        async with asyncio.timeout(seconds):
            await self._writer.drain()

    def is_complete(self) -> bool:
        """Whether the peer's message has ended with what has come so far; its body is dropped."""
        while isinstance(self.state.next_event(), h11.Data):
            pass
        return self.state.their_state is h11.DONE

    def reuse(self) -> bool:
        """Prepare for the next exchange; say whether there can be one."""
        if self.state.our_state is h11.DONE and self.state.their_state is h11.DONE:
            self.state.start_next_cycle()
            return True
        return False

    def is_open(self) -> bool:
        """Whether the peer has not closed, as far as is known."""
        return not (self._reader.at_eof() or self._writer.is_closing())

    async def discard(self, size: int, seconds: float) -> None:
        """Read and drop what the peer still sends, so that it gets to read our answer."""
        try:
            async with asyncio.timeout(seconds):
                while size > 0 and (data := await self._reader.read(CHUNK_BYTES)):
                    size -= len(data)
        except (TimeoutError, OSError):
            return

    def abort(self) -> None:
        """Drop the connection now."""
        self._writer.transport.abort()

    async def close(self, seconds: float = 1.0) -> None:
        """Close the connection; what was written still goes out if the peer takes it in time."""
        self._writer.close()
        try:
            async with asyncio.timeout(seconds):
                await self._writer.wait_closed()
        except (TimeoutError, OSError):
            self.abort()
