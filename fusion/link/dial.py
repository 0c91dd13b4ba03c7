"""A node's one connection to the hub: everything the two say to each other passes through it.

It runs an event loop in a thread of its own; whoever calls waits in its own thread. The node stays
attached for as long as it is up: bells wake it, tunnels come in that way. When the hub is away it
is tried again, at longer and longer intervals up to two seconds.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import CancelledError as FutureCancelled
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import grpc
import grpc.aio

from fusion.crypto import rng
from fusion.errors import FusionError, HubRefused, MessageInvalid, PartyUnreachable
from fusion.link import frames, rules
from fusion.link.channel import CLIENT, FRAME_BYTES
from fusion.link.rings import Rings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable

    from fusion.identity.trust import Address

_LOG: Final = logging.getLogger("banyan.link")
_T = TypeVar("_T")
CALL_SECONDS: Final = 30.0
FLEET_SECONDS: Final = 120.0
_FIRST_PAUSE: Final = 0.1
_LAST_PAUSE: Final = 2.0
_MARGIN_SECONDS: Final = 5.0
_CLOSE_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a member shows the hub, and by what it knows the hub.

    Attributes:
        ca: Certificate of the hub's CA, PEM.
        certificate: The member's own, PEM.
        key: Its private key, PEM.
    """

    ca: bytes
    certificate: bytes
    key: bytes

    def credentials(self) -> Any:
        """Return the credentials of a channel."""
        return grpc.ssl_channel_credentials(self.ca, self.key, self.certificate)


class Link:
    """The connection; made when it is first needed, made again for a new certificate."""

    def __init__(
        self,
        hub: Address,
        identity: Callable[[], Identity],
        pick_up: Callable[[str, Any], Awaitable[None]] | None = None,
    ) -> None:
        """Prepare; nothing is connected yet.

        Args:
            hub: The hub's port.
            identity: Returns the certificate as it is now; asked at each new connection.
            pick_up: Serves a tunnel: told who calls, and given the call to read and write.
        """
        self._hub = hub
        self._identity = identity
        self._pick_up = pick_up
        self._channel: Any = None
        self._rings: dict[str, Rings] = {}
        self._lock = threading.Lock()
        self._attached = threading.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="link", daemon=True)
        self._thread.start()

    # ------------------------------------------------------------------ beginning and end

    def attach(self) -> None:
        """Stay attached from now on; return at once."""
        self._soon(self._spawned(self._stay_attached()))

    def wait_attached(self, seconds: float) -> bool:
        """Wait until the node is attached; say whether it is."""
        return self._attached.wait(seconds)

    @property
    def attached(self) -> bool:
        """Whether the hub can ring and call right now, as far as is known."""
        return self._attached.is_set()

    def renew(self) -> None:
        """Connect again, with the certificate as it is now; calls in hand are finished."""
        self._soon(self._renew())

    def close(self) -> None:
        """Drop the connection and end the thread; whoever waits is told that it is closed."""
        with self._lock:
            if self._closed:
                return
            # Nothing begins after this: no call is left behind in a loop that stands still.
            self._closed = True
            ending = asyncio.run_coroutine_threadsafe(self._close(), self._loop)
        with suppress(FutureTimeout):
            ending.result(_CLOSE_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    # ------------------------------------------------------------------ the hub's services

    def bell(self, name: str) -> Rings:
        """Return the bell of this name, which the hub rings while the node is attached."""
        with self._lock:
            return self._rings.setdefault(name, Rings())

    def read(self, name: str, limit: int) -> bytes | None:
        """Return a document of the hub, or None if there is none yet.

        Raises:
            PartyUnreachable: The hub does not answer, or refuses.
            MessageInvalid: It sends more than ``limit``.
        """
        try:
            return self._wait(self._read(name, limit), CALL_SECONDS + _MARGIN_SECONDS)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return None
            raise unreachable(error) from None

    async def _read(self, name: str, limit: int) -> bytes:
        stub = self._open().unary_stream(rules.method(rules.READ))
        call = stub(b"", timeout=CALL_SECONDS, metadata=((rules.DOCUMENT, name),))
        data = b""
        async for piece in call:
            data += piece
            if len(data) > limit:
                call.cancel()
                raise MessageInvalid(f"The hub sends more than {limit} bytes.")
        return data

    def hand_in(self, name: str, data: bytes) -> None:
        """Hand something in.

        Raises:
            PartyUnreachable: The hub does not answer, or refuses.
        """

        async def ask() -> None:
            call = self._open().unary_unary(rules.method(rules.HAND_IN))
            await call(data, timeout=CALL_SECONDS, metadata=((rules.DOCUMENT, name),))

        try:
            self._wait(ask(), CALL_SECONDS + _MARGIN_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise unreachable(error) from None

    def fleet(
        self, name: str, headers: dict[str, str], body: bytes, seconds: float = FLEET_SECONDS
    ) -> tuple[int, str, bytes]:
        """Ask the SuperLink something.

        Args:
            name: The last part of the path.
            headers: Of the request; those that the hub does not pass on have to be left out.
            body: Of the request.
            seconds: For the whole call.

        Returns:
            Status, content type and body of the answer.

        Raises:
            PartyUnreachable: The hub does not answer, or, as :class:`HubRefused`, says no.
        """
        fields = [(rules.CALL, name), (rules.LENGTH, str(len(body)))]
        fields += [(f"{rules.HEADER_PREFIX}{key}", value) for key, value in headers.items()]
        try:
            call = self._fleet(tuple(fields), body, seconds)
            return self._wait(call, seconds + _MARGIN_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise unreachable(error) from None

    async def _fleet(
        self, fields: tuple[tuple[str, str], ...], body: bytes, seconds: float = FLEET_SECONDS
    ) -> tuple[int, str, bytes]:
        if len(body) <= FRAME_BYTES:
            stub = self._open().unary_stream(rules.method(rules.FLEET))
            call = stub(body, timeout=seconds, metadata=fields)
        else:
            stub = self._open().stream_stream(rules.method(rules.FLEET_LONG))
            call = stub(timeout=seconds, metadata=fields)
            # gRPC forgets a refusal that comes while it writes: first the hub has to say yes.
            if rules.PERMITTED in dict(await call.initial_metadata()):
                for start in range(0, len(body), FRAME_BYTES):
                    await call.write(body[start : start + FRAME_BYTES])
                await call.done_writing()
        answer = []
        while (piece := await call.read()) is not grpc.aio.EOF:
            answer.append(piece)
        told = dict(await call.trailing_metadata())
        kind = told.get(f"{rules.HEADER_PREFIX}content-type", "")
        return int(told.get(rules.STATUS, "502")), kind, b"".join(answer)

    def tunnel(self, organisation: str) -> Any:
        """Return the call of a new tunnel to another member; to be used in this link's loop."""
        stub = self._open().stream_stream(rules.method(rules.TUNNEL))
        return stub(metadata=((rules.TARGET, organisation),))

    # ------------------------------------------------------------------ inside

    def run(self, work: Coroutine[Any, Any, _T], seconds: float | None = CALL_SECONDS) -> _T:
        """Run something in this link's event loop and wait for it.

        Raises:
            PartyUnreachable: It took too long, or the link is closed.
        """
        return self._wait(work, seconds)

    def submit(self, work: Coroutine[Any, Any, _T]) -> Future[_T]:
        """Begin something in this link's event loop; its end is for who asked.

        Raises:
            PartyUnreachable: The link is closed.
        """
        return self._submit(work)

    def opened(self) -> Any:
        """Return the channel to the hub; to be used in this link's loop."""
        return self._open()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin something from within the event loop; it ends with the link."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _spawned(self, work: Coroutine[Any, Any, None]) -> None:
        self._spawn(work)

    def _wait(self, work: Coroutine[Any, Any, _T], seconds: float | None) -> _T:
        try:
            future = self._submit(work)
            try:
                return future.result(seconds)
            except FutureTimeout:
                future.cancel()
                raise PartyUnreachable("The hub does not answer in time.") from None
        except FutureCancelled:
            raise PartyUnreachable("The connection to the hub is closed.") from None
        except KeyboardInterrupt:
            # Whoever waits goes away: the other side is told, and its work ends. The interrupt may
            # have come when it had begun, and before there was anything to wait for.
            with suppress(RuntimeError):  # the loop is closed, and everything in it
                self._loop.call_soon_threadsafe(_give_up, work)
            raise

    def _soon(self, work: Coroutine[Any, Any, None]) -> None:
        self._submit(work).result(CALL_SECONDS)

    def _submit(self, work: Coroutine[Any, Any, _T]) -> Future[_T]:
        with self._lock:
            if self._closed:
                work.close()
                raise PartyUnreachable("The connection to the hub is closed.")
            return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _open(self) -> Any:
        """Return the channel; gRPC connects it, and again whenever it broke."""
        if self._channel is None:
            credentials = self._identity().credentials()
            self._channel = grpc.aio.secure_channel(str(self._hub), credentials, CLIENT)
        return self._channel

    async def _renew(self) -> None:
        before, self._channel = self._channel, None
        if before is not None:
            self._spawn(before.close(FLEET_SECONDS))

    async def _close(self) -> None:
        await _end(self._tasks)
        if self._channel is not None:
            await self._channel.close(None)
        # What others wait for, and what gRPC began for them.
        await _end(asyncio.all_tasks() - {asyncio.current_task()})
        await asyncio.sleep(0)

    # ------------------------------------------------------------------ attached

    async def _stay_attached(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            try:
                await self._attach_once()
                pause = _FIRST_PAUSE
            except (grpc.aio.AioRpcError, FusionError, asyncio.InvalidStateError) as error:
                _LOG.debug("not attached: %s", error)
            if self._attached.is_set():
                self._attached.clear()
                pause = _FIRST_PAUSE
                # Whoever waits for a bell looks for itself from now on.
                self._ring_all()
            # Jitter, so that nodes do not come back all at once.
            await asyncio.sleep(pause * (0.5 + rng.below(1000) / 1000))
            pause = min(2 * pause, _LAST_PAUSE)

    async def _attach_once(self) -> None:
        channel = self._open()
        call = channel.unary_stream(rules.method(rules.ATTACH))(b"")
        async for data in call:
            frame = frames.from_bytes(data)
            match frame:
                case frames.Hello():
                    self._attached.set()
                    _LOG.info("attached to %s", self._hub)
                case frames.Ring():
                    self._ring(frame.bell)
                case frames.PickUp():
                    self._spawn(self._answer(channel, frame))
            if channel is not self._channel:  # renewed: attach with the new one
                call.cancel()
                return

    def _ring(self, name: str) -> None:
        with self._lock:
            bell = self._rings.get(name)
        if bell is not None:
            bell.ring()

    def _ring_all(self) -> None:
        with self._lock:
            bells = list(self._rings.values())
        for bell in bells:
            bell.ring()

    async def _answer(self, channel: Any, frame: frames.PickUp) -> None:
        if self._pick_up is None:
            return
        stub = channel.stream_stream(rules.method(rules.TUNNEL))
        call = stub(metadata=((rules.TOKEN, frame.token),))
        try:
            await self._pick_up(frame.caller, call)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError, OSError) as error:
            _LOG.info("a tunnel of %s ended: %s", frame.caller, type(error).__name__)
        finally:
            with suppress(asyncio.InvalidStateError):
                call.cancel()


async def _end(tasks: Iterable[asyncio.Task[Any] | None]) -> None:
    ending = [task for task in tasks if task is not None]
    for task in ending:
        task.cancel()
    await asyncio.gather(*ending, return_exceptions=True)


def _give_up(work: Coroutine[Any, Any, Any]) -> None:
    """End something that was begun in the running loop, or was to be."""
    for task in asyncio.all_tasks():
        if task.get_coro() is work:
            task.cancel()
            return
    work.close()


def unreachable(error: grpc.aio.AioRpcError) -> PartyUnreachable:
    """Return what a failed call means for whoever asked."""
    details = (error.details() or "").strip()
    if error.code() is grpc.StatusCode.PERMISSION_DENIED:
        return HubRefused(f"The hub refuses: {details}")
    return PartyUnreachable(f"The hub does not answer ({error.code().name.lower()}): {details}")
