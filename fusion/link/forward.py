"""A forwarder on a node's loopback, for Flower's stock SuperNode.

The stock SuperNode can't show a client certificate, and wants TLS where it has a key. This takes
its TLS on 127.0.0.1, under a certificate made for the purpose, and passes the bytes inside on to
the hub over the node's own mutually authenticated TLS. The hub's rules apply as to any member.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fusion.errors import EnvironmentUnfit
from fusion.wire.limits import CHUNK_BYTES, MAX_CONNECTIONS_A_MEMBER

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fusion.identity.trust import Address

HOST: Final = "127.0.0.1"
_LOG: Final = logging.getLogger("banyan.forward")
_CONNECT_SECONDS: Final = 10.0
_CLOSE_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardConfig:
    """From where to where.

    Attributes:
        certificate: For the loopback side; the SuperNode trusts its CA.
        key: Its private key.
        hub: The hub's port.
        tls: Trusts the hub and shows the node's certificate.
        port: On loopback; 0 leaves it to the system.
    """

    certificate: Path
    key: Path
    hub: Address
    tls: ssl.SSLContext
    port: int = 0


class Forwarder:
    """Runs in a thread of its own between :meth:`start` and :meth:`stop`."""

    def __init__(self, config: ForwardConfig) -> None:
        """Prepare; nothing is bound yet.

        Raises:
            EnvironmentUnfit: The loopback side's certificate can't be used.
        """
        self._config = config
        self._server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            self._server_tls.load_cert_chain(str(config.certificate), str(config.key))
        except (OSError, ssl.SSLError) as error:
            raise EnvironmentUnfit("The forwarder's certificate can't be used.") from error
        self._slots = asyncio.Semaphore(MAX_CONNECTIONS_A_MEMBER)
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread: threading.Thread | None = None
        self._stop: Callable[[], object] | None = None
        self._failure: OSError | None = None
        self.port = config.port

    def start(self) -> None:
        """Listen; return when connections are accepted.

        Raises:
            EnvironmentUnfit: The port is taken.
        """
        ready = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(ready)), name="forward"
        )
        self._thread.start()
        ready.wait()
        if self._failure is not None:
            self._thread.join()
            raise EnvironmentUnfit(
                f"Port {self._config.port} on loopback can't be opened: {self._failure.strerror}."
            )

    def stop(self) -> None:
        """End; connections are dropped."""
        if self._stop is not None:
            self._stop()
        if self._thread is not None:
            self._thread.join()
        self._thread, self._stop = None, None

    async def _serve(self, ready: threading.Event) -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        try:
            server = await asyncio.start_server(
                self._connected, HOST, self._config.port, ssl=self._server_tls, limit=CHUNK_BYTES
            )
        except OSError as error:
            self._failure = error
            ready.set()
            return
        self.port = server.sockets[0].getsockname()[1]
        self._stop = lambda: loop.call_soon_threadsafe(stop.set)
        ready.set()
        await stop.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await server.wait_closed()
        # Aborted transports report to their protocols in the next turn of the loop.
        await asyncio.sleep(0)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        try:
            async with self._slots:
                await self._splice(reader, writer)
            # What the hub said last still goes out, if it is taken in time.
            writer.close()
            async with asyncio.timeout(_CLOSE_SECONDS):
                await writer.wait_closed()
        except (OSError, TimeoutError) as error:
            _LOG.info("a connection to the hub ended: %s", type(error).__name__)
        except asyncio.CancelledError:
            _LOG.debug("a connection to the hub is dropped")
        finally:
            writer.transport.abort()

    async def _splice(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hub = self._config.hub
        async with asyncio.timeout(_CONNECT_SECONDS):
            hub_reader, hub_writer = await asyncio.open_connection(
                hub.host, hub.port, ssl=self._config.tls, limit=CHUNK_BYTES
            )
        copies = [
            asyncio.create_task(_copy(reader, hub_writer)),
            asyncio.create_task(_copy(hub_reader, writer)),
        ]
        try:
            # TLS has no half-closed connections: when one side ends, both do.
            await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # Before anything is awaited: a stop can come in at any await.
            hub_writer.transport.abort()
            for copy in copies:
                copy.cancel()
            await asyncio.gather(*copies, return_exceptions=True)


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(CHUNK_BYTES):
            sink.write(data)
            await sink.drain()
