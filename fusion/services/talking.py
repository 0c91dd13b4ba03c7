"""Conversations over connections: who dials, who answers, with gRPC between nodes and to the hub.

The two sides of a connection are here once for every kind of it: :func:`answer` and
:func:`keep_dialling` take a stream. Whoever calls is judged when it calls and twice a second while
it talks.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import grpc
import grpc.aio

from fusion.crypto import rng
from fusion.errors import FusionError, MessageInvalid
from fusion.link import peers, talk
from fusion.link.line import LINGER_SECONDS
from fusion.link.talk import SERVICE, TALK, Alive, Failed, Hello, Unknown
from fusion.services.conversing import Ended

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from fusion.link.line import Line, Stream
    from fusion.services.conversing import Conversations, Talk

_LOG: Final = logging.getLogger("banyan.conversing")
HELLO_SECONDS: Final = 10.0
_FIRST_PAUSE: Final = 0.05
_LAST_PAUSE: Final = 2.0
_JUDGE_SECONDS: Final = 0.5
_LAST_SECONDS: Final = 1.0
_LAST_TRIES: Final = 5
"""To say the last word to a side that is over and may be gone."""
_MOST_CALLS: Final = 64
"""Streams of one member at a time."""


async def answer(registry: Conversations, peer: str, stream: Stream) -> None:
    """Be the called side of a connection for as long as it lasts.

    Args:
        registry: Where the talk that the caller means is looked for.
        peer: Who calls, as the connection has proved.
        stream: The connection.
    """
    try:
        hello = await _first(stream)
    except MessageInvalid:
        return
    if not isinstance(hello, Hello):
        return
    found = registry.find(hello.job, hello.attempt, peer)
    if found is None:
        await stream.write(talk.to_bytes(Unknown()))
        return
    if isinstance(found, Ended):
        taken = found.taken
        if taken is not None:
            mine = Hello(job=hello.job, attempt=hello.attempt, taken=taken, next=taken)
            await stream.write(talk.to_bytes(mine))
        await stream.write(talk.to_bytes(found.last))
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                while await stream.read() is not None:
                    pass
        return
    line = found.lines[peer]
    said = line.begin(hello.job, hello.attempt)
    await stream.write(talk.to_bytes(said))
    # In a task of its own, which the line may drop: the call itself is to end in order.
    task = asyncio.ensure_future(line.carry(stream, hello, said))
    try:
        await asyncio.wait({task})
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _first(stream: Stream, said: bytes = b"") -> talk.Frame | None:
    """Return the first frame of the other side; None if there is none in time.

    Args:
        stream: The connection.
        said: What is said before.

    Raises:
        MessageInvalid: It is no frame.
    """
    try:
        async with asyncio.timeout(HELLO_SECONDS):
            if said:
                await stream.write(said)
            data = await stream.read()
    except TimeoutError:
        return None
    return None if data is None else talk.from_bytes(data)


async def keep_dialling(
    held: Talk, line: Line, connect: Callable[[str], AbstractAsyncContextManager[Stream]]
) -> None:
    """Be the dialling side of a line: connect, and again whenever the connection broke.

    Args:
        held: The talk.
        line: One of its lines.
        connect: Opens a connection to a peer.
    """
    pause = _FIRST_PAUSE
    again = _LAST_TRIES
    while not line.flushed or (line.owes_last and again):
        again -= line.owes_last
        try:
            async with connect(line.peer) as stream:
                if await _dial_once(held, line, stream):
                    pause = _FIRST_PAUSE
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError, OSError) as error:
            details = getattr(error, "details", None)
            line.reason = str(details() if callable(details) else error)[:200]
        except FusionError as error:
            line.reason = error.message
        # Jitter, so that nodes do not come back all at once.
        await asyncio.sleep(pause * (0.5 + rng.below(1000) / 1000))
        pause = min(2 * pause, _LAST_PAUSE)


async def _dial_once(held: Talk, line: Line, stream: Stream) -> bool:
    """Talk over one connection; say whether the other side was there for the job."""
    said = line.begin(held.job, held.attempt)
    try:
        theirs = await _first(stream, talk.to_bytes(said))
    except MessageInvalid:
        theirs = Alive()
    match theirs:
        case Hello(job=held.job, attempt=held.attempt):
            await line.carry(stream, theirs, said)
            return True
        case Failed():
            line.told(theirs)
        case Unknown():
            line.reason = "it has not begun the job"
        case None:
            line.reason = "it does not answer in time"
        case _:
            line.broke("answers a call with something else than a hello")
    return False


# ------------------------------------------------------------------------------------ gRPC


class _Served:
    """The called side's end of a gRPC stream."""

    def __init__(self, context: Any) -> None:  # noqa: ANN401 - gRPC has no types
        self._context = context

    async def read(self) -> bytes | None:
        data = await self._context.read()
        return None if data is grpc.aio.EOF else data

    async def write(self, data: bytes) -> None:
        await self._context.write(data)


class _Dialled:
    """The dialling side's."""

    def __init__(self, call: Any) -> None:  # noqa: ANN401 - gRPC has no types
        self._call = call

    async def read(self) -> bytes | None:
        data = await self._call.read()
        return None if data is grpc.aio.EOF else data

    async def write(self, data: bytes) -> None:
        await self._call.write(data)


@asynccontextmanager
async def dialled(channel: Any) -> AsyncIterator[Stream]:  # noqa: ANN401 - gRPC has no types
    """Yield a conversation's stream on a channel."""
    call = channel.stream_stream(TALK)()
    try:
        yield _Dialled(call)
        # Cancelled at once, the call could take the last frame with it: the other side ends it.
        with suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError, TimeoutError):
            await call.done_writing()
            async with asyncio.timeout(_LAST_SECONDS):
                while await call.read() is not grpc.aio.EOF:
                    pass
    finally:
        with suppress(asyncio.InvalidStateError):
            call.cancel()


def handler(registry: Conversations, judge: Callable[[bytes], str]) -> Any:  # noqa: ANN401 - gRPC has no types
    """Return what serves conversations, as gRPC takes it.

    Args:
        registry: The talks of this process.
        judge: Told the certificate (PEM) of who calls; returns its organisation, or raises a
            ``FusionError``.
    """
    calls: dict[str, int] = {}

    async def serve(_: Any, context: Any) -> None:  # noqa: ANN401 - gRPC has no types
        certificate = peers.certificate_of(context)
        try:
            peer = judge(certificate)
        except (FusionError, OSError) as error:
            message = getattr(error, "message", "The roster can't be used.")
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, message)
            return
        if calls.get(peer, 0) >= _MOST_CALLS:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "Too many conversations.")
        calls[peer] = calls.get(peer, 0) + 1
        try:
            await _judged(answer(registry, peer, _Served(context)), judge, certificate)
        finally:
            calls[peer] -= 1

    return grpc.method_handlers_generic_handler(
        SERVICE, {"Talk": grpc.stream_stream_rpc_method_handler(serve)}
    )


async def _judged(work: Awaitable[None], judge: Callable[[bytes], str], certificate: bytes) -> None:
    """Do some work for a caller for as long as it is a member."""
    task = asyncio.ensure_future(work)
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=_JUDGE_SECONDS)
            if not task.done():
                await asyncio.to_thread(judge, certificate)
        if not task.cancelled() and (error := task.exception()) is not None:
            _LOG.info("a conversation broke off: %s", type(error).__name__)
    except (FusionError, OSError) as error:
        _LOG.info("a conversation is dropped: %s", error)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
