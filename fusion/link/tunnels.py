"""A node's ends of tunnels: sockets in its own folder on one side, the link on the other.

Between nodes ordinary gRPC is spoken (:mod:`fusion.link.peers`). Whoever calls another node dials
the socket of that node's name here; a call that comes in is put through to the socket at which this
node serves. Nothing listens on a network.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import grpc
import grpc.aio

from fusion.errors import HubRefused, PartyUnreachable
from fusion.link.channel import FRAME_BYTES

if TYPE_CHECKING:
    from fusion.link.dial import Link

_LOG: Final = logging.getLogger("banyan.link")
_LINGER_SECONDS: Final = 2.0
_TURNS: Final = 8


class Tunnels:
    """The sockets of one node, in a folder that goes when they are closed."""

    def __init__(self) -> None:
        """Make the folder: a short name, for a socket's may have 107 bytes, and only ours."""
        self._folder = tempfile.TemporaryDirectory(prefix="banyan-")
        self._servers: dict[str, asyncio.Server] = {}
        self._link: Link | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._listening = asyncio.Lock()
        self._failed: dict[str, grpc.aio.AioRpcError | None] = {}

    @property
    def served(self) -> Path:
        """The socket at which this node serves its peers."""
        return Path(self._folder.name) / "served"

    def use(self, link: Link) -> None:
        """Take the link through which tunnels lead."""
        self._link = link

    async def listen(self, organisation: str) -> Path:
        """Return the socket that leads to another member; made when it is first asked for.

        To be awaited in the link's loop.
        """
        # One at a time: two that are asked for at once must not get one socket.
        async with self._listening:
            return await self._listen(organisation)

    async def _listen(self, organisation: str) -> Path:
        path = Path(self._folder.name) / f"to-{len(self._servers)}"
        if organisation in self._servers:
            return Path(self._servers[organisation].sockets[0].getsockname())
        if self._link is None:
            raise RuntimeError("use() comes first")
        link = self._link

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._remember()
            try:
                await carry(reader, writer, link.tunnel(organisation))
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError, OSError) as error:
                # Before the socket is dropped: whoever asks why that was finds it.
                self._failed[organisation] = await _answer(link, organisation, error)
                _LOG.info("a tunnel to %s ended: %s", organisation, _reason(error))
            except asyncio.CancelledError:
                # Python's server asks a task for its exception, and stumbles over one cancelled.
                _LOG.debug("a tunnel to %s is dropped", organisation)
            finally:
                writer.transport.abort()

        server = await asyncio.start_unix_server(connected, path, limit=2 * FRAME_BYTES)
        self._servers[organisation] = server
        return path

    def unanswered(self, organisation: str, error: grpc.aio.AioRpcError) -> PartyUnreachable:
        """Return why a call to another member was not answered: the hub, its node, or what it said.

        gRPC names a socket of this folder, and a handshake; where a tunnel ended, the hub's answer
        to it says more.

        Args:
            organisation: Who was called.
            error: How the call ended.
        """
        failed = self._failed.pop(organisation, None)
        if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            return PartyUnreachable(
                f"{organisation} does not answer in time.",
                hint="Its node is busy, or not up: `fusion node ping` tells. Try again later.",
            )
        if error.code() is not grpc.StatusCode.UNAVAILABLE:
            return PartyUnreachable(
                f"The node of {organisation} does not answer this: {error.details()}",
                hint="Does it run the same version as this one? Ask its owner.",
            )
        if failed is None or failed.code() is grpc.StatusCode.INTERNAL:
            return PartyUnreachable(
                f"The connection to the node of {organisation} broke off.", hint="Try again."
            )
        if failed.code() is grpc.StatusCode.PERMISSION_DENIED:
            return HubRefused(f"The hub refuses a way to {organisation}: {failed.details()}")
        if (failed.details() or "").startswith(f"{organisation} "):
            return PartyUnreachable(
                f"The node of {organisation} is not up: the hub has no connection to it.",
                hint="Its owner starts it (fusion node up); `fusion hub status` at the hub shows "
                "who is attached.",
            )
        return PartyUnreachable(
            "The hub does not answer, and the way to other nodes leads through it.",
            hint="Is it up, and can this machine reach it? `fusion doctor` tells.",
        )

    async def pick_up(self, caller: str, call: Any) -> None:
        """Put a tunnel of another member through to what this node serves."""
        self._remember()
        try:
            reader, writer = await asyncio.open_unix_connection(self.served, limit=2 * FRAME_BYTES)
        except OSError:
            _LOG.info("%s calls, and nothing is served here", caller)
            return
        try:
            await carry(reader, writer, call)
        finally:
            writer.transport.abort()

    def _remember(self) -> None:
        """Have the task that runs now end with the sockets."""
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End all tunnels and take the sockets away; to be awaited in the link's loop."""
        loop = asyncio.get_running_loop()
        # No more is accepted; what was just now gets its transport and its task in the next turns,
        # which a closed server would not let it.
        for server in self._servers.values():
            for listening in server.sockets:
                loop.remove_reader(listening.fileno())
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        for server in self._servers.values():
            server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # Aborted transports report to their protocols in the next turn of the loop.
        await asyncio.sleep(0)
        self._folder.cleanup()


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, call: Any) -> None:
    """Pass bytes between a socket and a tunnel until one side ends, and a moment longer."""

    async def out() -> None:
        while data := await reader.read(FRAME_BYTES):
            await call.write(data)
        await call.done_writing()

    async def back() -> None:
        while (data := await call.read()) is not grpc.aio.EOF:
            writer.write(data)
            await writer.drain()

    tasks = [asyncio.ensure_future(out()), asyncio.ensure_future(back())]
    try:
        done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if rest:
            await asyncio.wait(rest, timeout=_LINGER_SECONDS)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        call.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)


async def _answer(link: Link, organisation: str, error: Exception) -> grpc.aio.AioRpcError | None:
    """Return how the hub answered to a tunnel that ended; None if that can't be said.

    gRPC forgets an answer that comes while it writes. Asked again with nothing to write, it hears.
    """
    if isinstance(error, grpc.aio.AioRpcError) and error.code() is not grpc.StatusCode.INTERNAL:
        return error
    call = link.tunnel(organisation)
    try:
        async with asyncio.timeout(_LINGER_SECONDS):
            await call.read()
    except grpc.aio.AioRpcError as answer:
        return answer
    except (TimeoutError, asyncio.InvalidStateError):
        return None
    finally:
        call.cancel()
    return None


def _reason(error: BaseException) -> str:
    details = getattr(error, "details", None)
    return str(details() if callable(details) else error)
