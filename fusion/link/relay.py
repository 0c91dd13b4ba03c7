"""The hub's relay: who is attached, and tunnels between two of them.

A tunnel is two calls, one of each member, on the connections that they have anyway. What is written
to one is read from the other, as bytes of a TLS session between the two (:mod:`fusion.link.peers`),
whose ends the hub does not have. Flow control is HTTP/2's own: no more is read from one side than
the other takes.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from fusion.crypto import rng
from fusion.link import frames
from fusion.link.rules import Refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from fusion.link.rules import PortLimits

_LOG: Final = logging.getLogger("banyan.relay")
_TOKEN_BYTES: Final = 16
_MAX_FRAMES: Final = 1024


class Away(Exception):
    """The member called is not attached, or does not pick up."""


@dataclass(eq=False)
class Session:
    """One attached node.

    Attributes:
        member: Its organisation.
        queue: Frames to be sent to it; None ends the session.
    """

    member: str
    queue: asyncio.Queue[bytes | None] = field(
        default_factory=lambda: asyncio.Queue(maxsize=_MAX_FRAMES)
    )
    _rung: set[str] = field(default_factory=set)

    def ring(self, bell: str) -> None:
        """Tell the node, unless it is still to be told."""
        if bell not in self._rung and not self.queue.full():
            self._rung.add(bell)
            self.queue.put_nowait(frames.to_bytes(frames.Ring(bell=bell)))

    async def frames(self) -> AsyncIterator[bytes]:
        """Yield what is to be sent, until the end."""
        while (frame := await self.queue.get()) is not None:
            if self.queue.empty():
                self._rung.clear()
            yield frame

    def end(self) -> None:
        """End the session, after what is in the queue if there is room."""
        while self.queue.full():
            self.queue.get_nowait()
        self.queue.put_nowait(None)


@dataclass(eq=False)
class _Rendezvous:
    """A tunnel that one side has called for."""

    called: Session
    picked_up: asyncio.Future[tuple[Any, Any]]
    over: asyncio.Event = field(default_factory=asyncio.Event)


class Relay:
    """Everything that passes between members; lives in one event loop."""

    def __init__(self, limits: PortLimits) -> None:
        """Begin with nobody attached."""
        self._limits = limits
        self._sessions: dict[str, Session] = {}
        self._waiting: dict[str, _Rendezvous] = {}
        self._tunnels: Counter[str] = Counter()
        self._running: dict[asyncio.Task[None], tuple[str, str]] = {}

    @contextmanager
    def attached(self, member: str) -> Iterator[Session]:
        """Count a node as there; the newest session of a member takes the older one's place."""
        session = Session(member)
        before = self._sessions.get(member)
        self._sessions[member] = session
        if before is not None:
            before.end()
        _LOG.info("%s is attached", member)
        try:
            yield session
        finally:
            if self._sessions.get(member) is session:
                del self._sessions[member]
                self._tell_away(session)
            _LOG.info("%s is gone", member)

    def _tell_away(self, session: Session) -> None:
        """Have nobody wait until time is up for a member that is gone."""
        for meeting in self._waiting.values():
            if meeting.called is session and not meeting.picked_up.done():
                meeting.picked_up.set_exception(Away(f"{session.member} is gone."))

    def ring(self, bell: str) -> None:
        """Tell everybody who is attached."""
        for session in self._sessions.values():
            session.ring(bell)

    def keep_only(self, is_member: Callable[[str], bool]) -> None:
        """End what belongs to members that are none any more."""
        for member, session in list(self._sessions.items()):
            if not is_member(member):
                session.end()
        for task, ends in list(self._running.items()):
            if not all(map(is_member, ends)):
                task.cancel()

    def end(self) -> None:
        """End all sessions and tunnels."""
        self.keep_only(lambda _: False)

    async def call(self, caller: str, called: str, reader: Any, writer: Any) -> None:
        """Carry a tunnel for as long as it lasts.

        Args:
            caller: Who asks for it.
            called: Who is to pick it up.
            reader: Yields the caller's bytes.
            writer: Its ``write`` sends bytes to the caller.

        Raises:
            Refusal: The caller has too many.
            Away: The other one is not there.
        """
        session = self._sessions.get(called)
        if session is None:
            raise Away(f"{called} is not attached.")
        if self._tunnels[caller] >= self._limits.tunnels:
            raise Refusal("tunnels", f"A member may have {self._limits.tunnels} tunnels.")
        self._tunnels[caller] += 1
        token = rng.token(_TOKEN_BYTES).hex()
        meeting = _Rendezvous(session, asyncio.get_running_loop().create_future())
        self._waiting[token] = meeting
        try:
            session.queue.put_nowait(frames.to_bytes(frames.PickUp(token=token, caller=caller)))
            async with asyncio.timeout(self._limits.rendezvous):
                other_reader, other_writer = await meeting.picked_up
            await self._carry((caller, called), (reader, writer), (other_reader, other_writer))
        except (TimeoutError, asyncio.QueueFull):
            raise Away(f"{called} does not pick up.") from None
        finally:
            self._waiting.pop(token, None)
            meeting.over.set()
            self._tunnels[caller] -= 1

    async def pick_up(self, member: str, token: str, reader: Any, writer: Any) -> None:
        """Be the other end of a tunnel for as long as it lasts.

        Raises:
            Refusal: There is no such tunnel for this member.
        """
        meeting = self._waiting.get(token)
        if meeting is None or meeting.called.member != member or meeting.picked_up.done():
            # Done: time was up, or the caller went, in this very turn of the loop.
            raise Refusal("token", "No tunnel waits for this member under this token.")
        del self._waiting[token]
        meeting.picked_up.set_result((reader, writer))
        await meeting.over.wait()

    async def _carry(
        self, ends: tuple[str, str], one: tuple[Any, Any], other: tuple[Any, Any]
    ) -> None:
        """Pass bytes both ways until one way ends, and a moment longer."""
        there, back = _Pump(one[0], other[1]), _Pump(other[0], one[1])
        tasks = {asyncio.create_task(pump.run()): ends for pump in (there, back)}
        self._running.update(tasks)
        _LOG.info("tunnel of %s to %s", *ends)
        try:
            _, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if rest:
                await asyncio.wait(rest, timeout=self._limits.linger)
        finally:
            for task in tasks:
                task.cancel()
                del self._running[task]
            await asyncio.gather(*tasks, return_exceptions=True)
            _LOG.info(
                "tunnel of %s to %s over: %d bytes there, %d back", *ends, there.count, back.count
            )


class _Pump:
    """One direction of a tunnel."""

    def __init__(self, reader: Any, writer: Any) -> None:
        self._reader = reader
        self._writer = writer
        self.count = 0

    async def run(self) -> None:
        async for data in self._reader:
            self.count += len(data)
            await self._writer.write(data)
