"""Parties in one process, with a network in memory that can be cut, and can lie."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fusion.services.conversing import Conversations
from fusion.services.talking import answer, keep_dialling

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from fusion.link.line import Line
    from fusion.services.conversing import Talk


class Cut(Exception):
    """A frame does not arrive, and the connection is gone."""


class Frozen(Exception):
    """A frame does not arrive, nor does any after it from this sender."""


class Pipe:
    """One end of a connection."""

    def __init__(self, network: Network, me: str, peer: str) -> None:
        self.other: Pipe
        self._network, self._me, self._peer = network, me, peer
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(4)
        self._closed = False

    async def read(self) -> bytes | None:
        if self._closed and self._queue.empty():
            return None
        return await self._queue.get()

    async def write(self, data: bytes) -> None:
        if self._closed:
            raise OSError("the connection is gone")
        try:
            given = self._network.fault(self._me, self._peer, data)
        except Cut:
            self.close()
            raise OSError("the connection is gone") from None
        except Frozen:
            await asyncio.Event().wait()
            raise
        for each in (given,) if isinstance(given, bytes) else given:
            await self.other._queue.put(each)

    def close(self) -> None:
        for end in (self, self.other):
            end._closed = True
            with contextlib.suppress(asyncio.QueueFull):
                end._queue.put_nowait(None)


Fault = Callable[[str, str, bytes], "bytes | tuple[bytes, ...]"]
"""Told sender, receiver and a frame; returns what arrives: another, none, or several."""


def _none(sender: str, peer: str, data: bytes) -> bytes:
    del sender, peer
    return data


Liar = Callable[[Pipe], Awaitable[None]]
"""Is at the called end of each connection to a party, in place of that."""


@dataclass(slots=True)
class Network:
    """Registries by name, and what may happen to what they send."""

    fault: Fault = _none
    liars: dict[str, Liar] = field(default_factory=dict)
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    registries: dict[str, Conversations] = field(default_factory=dict)
    connections: int = 0

    def join(self, name: str) -> Conversations:
        """Return a new registry under a name; one before it is gone, as after a crash."""
        self.registries[name] = Conversations(name, _Ways(self, name))
        return self.registries[name]

    @contextlib.asynccontextmanager
    async def connect(self, me: str, peer: str) -> AsyncIterator[Pipe]:
        if peer not in self.registries:
            raise OSError("nobody answers")
        self.connections += 1
        near, far = Pipe(self, me, peer), Pipe(self, peer, me)
        near.other, far.other = far, near
        task = asyncio.ensure_future(self._answer(me, peer, far))
        try:
            yield near
            for _ in range(20):  # what was written is read first
                if task.done():
                    break
                await asyncio.sleep(0.005)
        finally:
            near.close()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _answer(self, me: str, peer: str, far: Pipe) -> None:
        try:
            if peer in self.liars:
                await self.liars[peer](far)
            else:
                await answer(self.registries[peer], me, far)
        finally:
            far.close()


class _Ways:
    def __init__(self, network: Network, me: str) -> None:
        self._network, self._me = network, me

    def keep_talking(self, talk: Talk, line: Line) -> Callable[[], object]:
        dialling = keep_dialling(talk, line, lambda peer: self._network.connect(self._me, peer))
        return asyncio.run_coroutine_threadsafe(dialling, self._network.loop).cancel


@contextlib.contextmanager
def network(fault: Fault = _none) -> Iterator[Network]:
    """A network, for as long as a test lasts."""
    made = Network(fault)
    thread = threading.Thread(target=made.loop.run_forever)
    thread.start()
    try:
        yield made
    finally:
        for registry in made.registries.values():
            registry.close()
        asyncio.run_coroutine_threadsafe(_drain(), made.loop).result(10)
        made.loop.call_soon_threadsafe(made.loop.stop)
        thread.join()
        made.loop.close()


async def _drain() -> None:
    """End what is left in the loop."""
    me = asyncio.current_task()
    tasks = [task for task in asyncio.all_tasks() if task is not me]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
