"""Connections from the hub's port to the SuperLink on loopback, kept and used again."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Final

import h11

from fusion.link.http import HttpStream

if TYPE_CHECKING:
    from pathlib import Path

HOST: Final = "127.0.0.1"
_CONNECT_SECONDS: Final = 5.0
_IDLE_SECONDS: Final = 3.0
"""The SuperLink closes an idle connection after five; ours must not be used at that moment."""


class Upstream:
    """The SuperLink, over TLS that trusts its throw-away CA only."""

    def __init__(self, port: int, ca: Path, connections: int) -> None:
        """Prepare; connections are made when they are needed.

        Args:
            port: Of the SuperLink on loopback.
            ca: Certificate of its CA.
            connections: Greatest number at a time.
        """
        self._port = port
        self._tls = ssl.create_default_context(cafile=str(ca))
        self._slots = asyncio.Semaphore(connections)
        self._idle: list[tuple[float, HttpStream]] = []

    async def take(self) -> HttpStream:
        """Return a connection; give it back with :meth:`put`.

        Raises:
            OSError: The SuperLink does not answer.
            TimeoutError: The same.
        """
        await self._slots.acquire()
        try:
            return self._fresh() or await self._connect()
        except BaseException:
            self._slots.release()
            raise

    async def put(self, stream: HttpStream) -> None:
        """Keep a connection whose exchange is complete, close any other."""
        self._slots.release()
        if stream.is_open() and stream.reuse():
            self._idle.append((self._now(), stream))
        else:
            stream.abort()

    async def close(self) -> None:
        """Close all idle connections."""
        while self._idle:
            self._idle.pop()[1].abort()
        await asyncio.sleep(0)

    def _fresh(self) -> HttpStream | None:
        """The connection used last, if it is young enough; older ones are closed."""
        newest = self._idle.pop() if self._idle else None
        limit = self._now() - _IDLE_SECONDS
        while self._idle and self._idle[0][0] < limit:
            self._idle.pop(0)[1].abort()
        if newest is None:
            return None
        since, stream = newest
        if since >= limit and stream.is_open():
            return stream
        stream.abort()
        return None

    async def _connect(self) -> HttpStream:
        async with asyncio.timeout(_CONNECT_SECONDS):
            reader, writer = await asyncio.open_connection(HOST, self._port, ssl=self._tls)
        return HttpStream(h11.CLIENT, reader, writer)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
