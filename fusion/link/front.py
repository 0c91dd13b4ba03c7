"""The hub's one port: TLS 1.3, and an exact list of what may be asked for, by whom.

==================================  ============================================================
anybody                             ``GET /v1/federation``: the signed trust document;
                                    ``GET /v1/federation/enrolment/SHA256``: the result of a request
a member, by its certificate        ``GET /v1/federation/roster``; ``GET`` and ``POST
                                    /v1/federation/witness``, ``GET /v1/federation/witness/ID``:
                                    checkpoints and cosignatures of the members' logs
a member with its own fleet key     ``POST`` to ten paths of Flower's fleet interface, forwarded
==================================  ============================================================

Everything else is refused here, and a refusal names its rule. The SuperLink serves its control
interface, which has no authentication, on the port that it serves the fleet interface on: it is
bound to loopback, and nothing but the ten paths gets through. A forwarded request is written anew
from what was parsed, so the two ends can't read one request differently.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import socket
import ssl
import threading
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import h11

from fusion.errors import EnvironmentUnfit, FusionError
from fusion.link.conversation import Conversation
from fusion.link.http import HttpStream
from fusion.link.rules import FrontConfig, RosterFile
from fusion.link.upstream import Upstream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fusion.identity.roster import Roster

_LOG: Final = logging.getLogger("banyan.front")
_BREATH_SECONDS: Final = 0.1


class Front:
    """The port; serve it in an event loop, or in a thread of its own with :meth:`start`."""

    def __init__(self, config: FrontConfig) -> None:
        """Read the certificates.

        Raises:
            EnvironmentUnfit: A file is missing or can't be used.
        """
        self._config = config
        self._roster = RosterFile(config.roster, config.authority, config.clock)
        self._trusted: Roster | None = None
        self._tls = _server_context(config, b"")
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._stop: Callable[[], object] | None = None
        self._open = 0
        self._count: Counter[str] = Counter()

    @property
    def port(self) -> int:
        """The port that is bound, also when the configuration left it to the system."""
        if self._socket is None:
            return self._config.listen.port
        number: int = self._socket.getsockname()[1]
        return number

    def bind(self) -> None:
        """Take the port; connections wait from now on.

        Raises:
            EnvironmentUnfit: It is taken, or the address is not this machine's.
        """
        listen = self._config.listen
        try:
            family, kind, protocol, _, where = socket.getaddrinfo(
                listen.host, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            bound = socket.socket(family, kind, protocol)
        except OSError as error:
            raise EnvironmentUnfit(f"{listen} is no address here: {error.strerror}.") from error
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(where)
            bound.listen(self._config.limits.connections)
            bound.setblocking(False)
        except OSError as error:
            bound.close()
            raise EnvironmentUnfit(
                f"The hub's port {listen} can't be opened: {error.strerror}.",
                hint="Stop what uses it, or change listen in hub.toml.",
            ) from error
        self._socket = bound

    def start(self) -> None:
        """Serve in a thread of its own; return when connections are accepted.

        Raises:
            EnvironmentUnfit: The port is taken.
        """
        self.bind()
        ready = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve_until_stopped(ready)), name="front"
        )
        self._thread.start()
        ready.wait()

    def stop(self) -> None:
        """End what :meth:`start` began; connections are dropped."""
        if self._stop is not None:
            self._stop()
        if self._thread is not None:
            self._thread.join()
        self._thread, self._stop = None, None

    async def _serve_until_stopped(self, ready: threading.Event) -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._stop = lambda: loop.call_soon_threadsafe(stop.set)
        ready.set()
        await self.serve(stop)

    async def serve(self, stop: asyncio.Event) -> None:
        """Serve until ``stop``, then drop all connections and free the port."""
        if self._socket is None:
            self.bind()
        upstream = Upstream(
            self._config.superlink_port,
            self._config.superlink_ca,
            self._config.limits.connections,
        )
        tasks: set[asyncio.Task[None]] = set()
        accepting = asyncio.create_task(self._accept(upstream, tasks))
        try:
            await stop.wait()
        finally:
            ended = [accepting, *tasks]
            for task in ended:
                task.cancel()
            await asyncio.gather(*ended, return_exceptions=True)
            await upstream.close()
            if self._socket is not None:
                self._socket.close()
                self._socket = None

    async def _accept(self, upstream: Upstream, tasks: set[asyncio.Task[None]]) -> None:
        """Take connections as long as there is room; drop those for which there is none."""
        loop = asyncio.get_running_loop()
        limits = self._config.limits
        while self._socket is not None:
            try:
                connection, address = await loop.sock_accept(self._socket)
            except OSError as error:  # no file descriptor left, or gone before it was taken
                _LOG.warning("a connection could not be taken: %s", error.strerror)
                await asyncio.sleep(_BREATH_SECONDS)
                continue
            host = str(address[0])
            if self._open >= limits.connections or self._count[host] >= limits.unknown:
                _LOG.warning("a connection of %s is dropped: there are too many", host)
                connection.close()
                continue
            task = asyncio.create_task(self._serve_one(connection, host, upstream))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            # Also of a task that is cancelled before it has begun.
            task.add_done_callback(functools.partial(_close, connection))
            # Let it be counted, and the others go on: accepting from a queue does not wait.
            await asyncio.sleep(0)

    async def _serve_one(self, connection: socket.socket, host: str, upstream: Upstream) -> None:
        """Shake hands, find out who calls, and answer until one side has enough."""
        self._open += 1
        try:
            with self._counted(host):
                stream, leaf = await self._shake_hands(connection)
            try:
                await self._converse(stream, host, leaf, upstream)
            finally:
                stream.abort()
        except (OSError, TimeoutError) as error:
            # What a stranger makes of a handshake, or a network of a connection, is no news.
            _LOG.debug("a connection of %s ended: %s", host, type(error).__name__)
        finally:
            self._open -= 1

    def _context(self) -> ssl.SSLContext:
        """Return a context that trusts the CAs of the roster as it is now.

        A context never forgets a root: for another roster another one is made.
        """
        try:
            roster = self._roster.current()
        except (FusionError, OSError) as error:
            _LOG.error("the roster can't be used: %s", error)
            return self._tls
        if roster is not self._trusted:
            roots = roster.authorities_pem()
            self._tls, self._trusted = _server_context(self._config, roots), roster
        return self._tls

    async def _shake_hands(self, connection: socket.socket) -> tuple[HttpStream, bytes | None]:
        """Return the connection, and the certificate it showed (DER)."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await loop.connect_accepted_socket(
            lambda: protocol,
            connection,
            ssl=self._context(),
            ssl_handshake_timeout=self._config.limits.handshake,
            ssl_shutdown_timeout=1.0,
        )
        tls = transport.get_extra_info("ssl_object")
        shown = tls.getpeercert(binary_form=True)
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        stream = HttpStream(h11.SERVER, reader, writer)
        return stream, shown or None

    async def _converse(
        self, stream: HttpStream, host: str, leaf: bytes | None, upstream: Upstream
    ) -> None:
        limits = self._config.limits
        known = self._member(leaf)
        # Apart from the handshakes under way, so that strangers who stay do not use those up.
        caller = f"stranger {host}" if known is None else f"member {known}"
        most = limits.unknown if known is None else limits.a_member
        if self._count[caller] >= most:
            _LOG.warning("a connection of %s is dropped: there are too many", caller)
            return
        with self._counted(caller):
            conversation = Conversation(self._config, stream, self._roster, upstream)
            await conversation.run(leaf, f"{host} {known or 'stranger'}")

    def _member(self, leaf: bytes | None) -> str | None:
        try:
            member = self._roster.member(leaf)
        except (FusionError, OSError):
            return None
        return None if member is None else member.id

    @contextmanager
    def _counted(self, caller: str) -> Iterator[None]:
        self._count[caller] += 1
        try:
            yield
        finally:
            self._count[caller] -= 1
            if not self._count[caller]:
                del self._count[caller]


def _close(connection: socket.socket, _task: asyncio.Task[None]) -> None:
    connection.close()


def _server_context(config: FrontConfig, roots: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_OPTIONAL
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    # Every connection shows its certificate anew: nothing is resumed.
    context.num_tickets = 0
    context.set_alpn_protocols(["http/1.1"])
    try:
        passphrase = config.passphrase or b""
        context.load_cert_chain(str(config.certificate), str(config.key), password=passphrase)
        if roots:
            context.load_verify_locations(cadata=roots.decode("ascii"))
    except (OSError, ssl.SSLError) as error:
        raise EnvironmentUnfit(
            f"The hub's certificates can't be used: {error.strerror or error}.",
            hint="Restore the hub's folder from a backup.",
        ) from error
    return context
