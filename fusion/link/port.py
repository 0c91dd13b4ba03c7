"""The hub's one port: gRPC with mutual TLS, and the calls of :mod:`fusion.link.rules`.

A connection is established only with a certificate under the CA of a member, which is asked for at
each handshake anew. Who calls is then judged at every call by the roster as it is: a member that is
revoked loses what it has open within a moment, and is refused whatever comes next.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import grpc
import grpc.aio

from fusion.errors import EnvironmentUnfit, FusionError
from fusion.link import frames, rules
from fusion.link.channel import FRAME_BYTES, SERVER
from fusion.link.peers import certificate_of
from fusion.link.relay import Away, Relay
from fusion.link.rules import PortLimits, Refusal
from fusion.link.superlink import SuperLinkProxy, Unreachable

if TYPE_CHECKING:
    from pathlib import Path

    from fusion.identity.members import Member
    from fusion.identity.trust import Address
    from fusion.link.bell import Bell
    from fusion.link.callers import Callers

_LOG: Final = logging.getLogger("banyan.port")
_LOOK_SECONDS: Final = 0.1
_LOOKS_A_JUDGEMENT: Final = 5
"""Every so many looks it is seen whether those who are attached are members still."""
_GRACE_SECONDS: Final = 0.5

Document = Callable[["Member", str], bytes | None]
"""Returns a document by the rest of its name, or None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """What members hand in.

    Attributes:
        take: Keeps it; told who hands it in.
        limit: Bytes of it.
    """

    take: Callable[[Member, bytes], object]
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PortConfig:
    """What the port serves.

    Attributes:
        listen: Where to bind.
        certificate: The hub's server certificate, PEM.
        key: Its private key, PEM, not encrypted.
        callers: Says who may connect, and who it is.
        superlink_port: Where the SuperLink is, on loopback.
        superlink_ca: Its throw-away CA.
        requests_bell: Rings when there is something for nodes to pull.
        replies_bell: Is rung when a node has pushed something.
        documents: What can be read, by the first part of a name.
        boxes: What can be handed in, by name.
        watched: Files and folders whose change rings the bell of that name at the nodes.
        limits: How long and how much.
    """

    listen: Address
    certificate: bytes
    key: bytes
    callers: Callers
    superlink_port: int
    superlink_ca: Path
    requests_bell: Bell
    replies_bell: Bell
    documents: Mapping[str, Document]
    boxes: Mapping[str, Box]
    watched: Mapping[str, Path]
    limits: PortLimits = field(default_factory=PortLimits)


class Port:
    """The port; runs in a thread of its own between :meth:`start` and :meth:`stop`."""

    def __init__(self, config: PortConfig) -> None:
        """Prepare; nothing is bound yet."""
        self._config = config
        self._thread: threading.Thread | None = None
        self._stop: Callable[[], object] | None = None
        self._failure: EnvironmentUnfit | None = None
        self.port = config.listen.port

    def start(self) -> None:
        """Serve; return when connections are accepted.

        Raises:
            EnvironmentUnfit: The port is taken, or a certificate can't be used.
        """
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run(ready)), name="port")
        self._thread.start()
        ready.wait()
        if self._failure is not None:
            self._thread.join()
            self._thread, self._stop = None, None
            raise self._failure

    def stop(self) -> None:
        """End what :meth:`start` began; connections are dropped."""
        if self._stop is not None:
            self._stop()
        if self._thread is not None:
            self._thread.join()
        self._thread, self._stop = None, None

    async def _run(self, ready: threading.Event) -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        service = _Service(self._config)
        server = grpc.aio.server(options=_server_options(self._config.limits))
        server.add_generic_rpc_handlers((service.handlers(),))
        try:
            self.port = self._bind(server)
            await server.start()
        except EnvironmentUnfit as error:
            self._failure = error
            await service.close()
            return
        finally:
            self._stop = lambda: loop.call_soon_threadsafe(stop.set)
            ready.set()
        watching = asyncio.create_task(service.watch())
        try:
            await stop.wait()
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            service.end()
            await server.stop(_GRACE_SECONDS)
            await service.close()

    def _bind(self, server: Any) -> int:
        config = self._config
        pair = (config.key, config.certificate)
        credentials = grpc.dynamic_ssl_server_credentials(
            _certificates(config.callers, pair), _fetcher(config.callers, pair),
            require_client_authentication=True,
        )  # fmt: skip
        try:
            number: int = server.add_secure_port(str(config.listen), credentials)
        except RuntimeError as error:
            raise EnvironmentUnfit(
                f"The hub's port {config.listen} can't be opened.",
                hint="Stop what uses it, or change listen in hub.toml.",
            ) from error
        return number


def _server_options(limits: PortLimits) -> tuple[tuple[str, int], ...]:
    return (*SERVER, ("grpc.server_handshake_timeout_ms", int(limits.handshake * 1000)))


def _certificates(callers: Callers, pair: tuple[bytes, bytes]) -> Any:
    return grpc.ssl_server_certificate_configuration([pair], callers.authorities())


def _fetcher(callers: Callers, pair: tuple[bytes, bytes]) -> Callable[[], Any]:
    """Return what gRPC asks at each handshake: the CAs, if they are others than before."""
    known = callers.authorities()
    said = ""

    def fetch() -> Any:
        nonlocal known, said
        try:
            found = callers.authorities()
        except (FusionError, OSError) as error:
            if str(error) != said:  # strangers can make it be asked for as often as they like
                said = str(error)
                _LOG.error("the roster can't be used, the CAs before go on: %s", said)
            return None
        if found == known:
            return None
        known = found
        return _certificates(callers, pair)

    return fetch


class _Service:
    """The calls, each with who makes it."""

    def __init__(self, config: PortConfig) -> None:
        self._config = config
        self._limits = config.limits
        self._relay = Relay(config.limits)
        self._superlink = SuperLinkProxy(config.superlink_port, config.superlink_ca, config.limits)
        self._calls: Counter[str] = Counter()

    def handlers(self) -> Any:
        """Return the handlers as gRPC takes them: bytes in, bytes out."""
        stream = grpc.stream_stream_rpc_method_handler
        return grpc.method_handlers_generic_handler(
            rules.SERVICE,
            {
                rules.ATTACH: grpc.unary_stream_rpc_method_handler(_guarded(self._attach)),
                rules.TUNNEL: stream(_guarded(self._tunnel)),
                rules.FLEET: grpc.unary_stream_rpc_method_handler(_guarded(self._fleet)),
                rules.FLEET_LONG: stream(_guarded(self._fleet_long)),
                rules.READ: grpc.unary_stream_rpc_method_handler(_guarded(self._read)),
                rules.HAND_IN: grpc.unary_unary_rpc_method_handler(_guarded(self._hand_in)),
            },
        )

    def end(self) -> None:
        """End sessions and tunnels."""
        self._relay.end()

    async def close(self) -> None:
        """Let go of the SuperLink."""
        await self._superlink.close()

    def _member(self, context: Any) -> Member:
        """Return who calls.

        Raises:
            Refusal: No member, by the roster as it is now.
        """
        try:
            return self._config.callers.member(certificate_of(context))
        except FusionError as error:
            raise Refusal("member", error.message) from None
        except OSError:
            _LOG.exception("the roster can't be read")
            raise Refusal("roster", "The hub's roster can't be used.") from None

    # ------------------------------------------------------------------ the calls

    async def _attach(self, _: bytes, context: Any) -> None:
        member = self._member(context)
        with self._relay.attached(member.id) as session:
            await context.write(frames.to_bytes(frames.Hello()))
            session.ring(rules.FLEET_BELL)
            async for frame in session.frames():
                await context.write(frame)
        raise Refusal("session", "The session is over: another took its place, or the hub ends.")

    async def _tunnel(self, reader: Any, context: Any) -> None:
        member = self._member(context)
        fields = context.invocation_metadata()
        if token := rules.field(fields, rules.TOKEN):
            await self._relay.pick_up(member.id, token, reader, context)
            return
        called = rules.field(fields, rules.TARGET)
        if called == member.id or not self._config.callers.knows(called):
            raise Refusal("target", "A tunnel leads to another member.")
        await self._relay.call(member.id, called, reader, context)

    async def _fleet(self, body: bytes, context: Any) -> None:
        async def pieces() -> AsyncIterator[bytes]:
            if body:
                yield body

        await self._fleet_long(pieces(), context)

    async def _fleet_long(self, reader: Any, context: Any) -> None:
        member = self._member(context)
        fields = [
            (key, value) for key, value in context.invocation_metadata() if key != "user-agent"
        ]
        call = rules.permit_fleet(fields, member, self._limits.body)
        if self._calls[member.id] >= self._limits.calls:
            raise Refusal("calls", f"A member may have {self._limits.calls} calls under way.")
        self._calls[member.id] += 1
        try:
            await self._superlink.pass_on(call, reader, context)
        finally:
            self._calls[member.id] -= 1
        if call.name in rules.FLEET_PUSHES:
            self._config.replies_bell.ring()

    async def _read(self, _request: bytes, context: Any) -> None:
        member = self._member(context)
        name = rules.field(context.invocation_metadata(), rules.DOCUMENT)
        first, _, rest = name.partition("/")
        document = self._config.documents.get(first)
        if document is None:
            raise Refusal("document", "There is no document of this name.")
        found = await asyncio.to_thread(document, member, rest)
        if found is None:
            raise _Nothing
        for start in range(0, len(found), FRAME_BYTES):
            await context.write(found[start : start + FRAME_BYTES])

    async def _hand_in(self, data: bytes, context: Any) -> bytes:
        member = self._member(context)
        box = self._config.boxes.get(rules.field(context.invocation_metadata(), rules.DOCUMENT))
        if box is None:
            raise Refusal("document", "Nothing of this name is taken.")
        if len(data) > box.limit:
            raise Refusal("size", f"This may have {box.limit} bytes.")
        try:
            await asyncio.to_thread(box.take, member, data)
        except FusionError as error:
            raise Refusal(error.code, error.message) from None
        return b""

    # ------------------------------------------------------------------ what goes on beside

    async def watch(self) -> None:
        """Ring at the nodes when there is something new; drop who is no member any more."""
        heard = self._config.requests_bell.rings()
        seen = {name: version_of(path) for name, path in self._config.watched.items()}
        for turn in itertools.count():
            now = await self._config.requests_bell.wait_async(heard, _LOOK_SECONDS)
            if now != heard:
                heard = now
                self._relay.ring(rules.FLEET_BELL)
            for name, path in self._config.watched.items():
                version = version_of(path)
                if version != seen[name]:
                    seen[name] = version
                    self._relay.ring(name)
            if turn % _LOOKS_A_JUDGEMENT == 0:
                self._relay.keep_only(self._config.callers.knows)


class _Nothing(Exception):
    """There is no such document yet."""


_Call = Callable[[Any, Any], Awaitable[Any]]


def _guarded(call: _Call) -> _Call:
    """Turn what a call raises into gRPC's status, with the rule in its details."""

    async def guarded(request: Any, context: Any) -> Any:
        code, details = grpc.StatusCode.INTERNAL, "The hub failed; its log says more."
        try:
            return await call(request, context)
        except Refusal as refusal:
            _LOG.info("%s refused: %s", context.peer(), refusal.rule)
            code, details = grpc.StatusCode.PERMISSION_DENIED, str(refusal)
        except _Nothing:
            code, details = grpc.StatusCode.NOT_FOUND, "There is nothing of this name yet."
        except Away as away:
            code, details = grpc.StatusCode.UNAVAILABLE, str(away)
        except Unreachable as error:
            code, details = grpc.StatusCode.UNAVAILABLE, f"The SuperLink does not answer: {error}."
        except grpc.aio.AbortError:
            raise
        except Exception:  # noqa: BLE001 - what is unforeseen must be answered as well
            _LOG.exception("a call failed")
        await context.abort(code, details)
        return None

    return guarded


def version_of(path: Path) -> tuple[tuple[int, int, int], ...]:
    """Return what changes when a file does, or what is in a folder or one below it."""
    try:
        below = [each for each in path.iterdir() if each.is_dir()] if path.is_dir() else []
        found = [each.stat() for each in (path, *sorted(below))]
    except OSError:
        return ()
    return tuple((each.st_mtime_ns, each.st_size, each.st_ino) for each in found)
