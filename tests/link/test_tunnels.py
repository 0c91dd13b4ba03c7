"""The sockets of a node's tunnels: what has just come is closed with the rest."""

from __future__ import annotations

import asyncio
import gc
import socket
from typing import TYPE_CHECKING, Any

import pytest

from fusion.link.tunnels import Tunnels

if TYPE_CHECKING:
    from pathlib import Path


class Waiting:
    """A link in memory, over which nothing ever comes."""

    def tunnel(self, _organisation: str) -> Any:
        return self

    async def read(self) -> bytes:
        await asyncio.Event().wait()
        return b""

    async def write(self, _data: bytes) -> None:
        await asyncio.Event().wait()

    async def done_writing(self) -> None:
        await asyncio.Event().wait()

    def cancel(self) -> None:
        pass


@pytest.mark.parametrize("turns", range(6))
def test_a_connection_that_has_just_come_is_closed_with_the_rest(turns: int) -> None:
    async def run() -> None:
        tunnels = Tunnels()
        link: Any = Waiting()
        tunnels.use(link)
        path = await tunnels.listen("b.example")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            for _ in range(turns):
                await asyncio.sleep(0)
            await tunnels.close()

    asyncio.run(run())
    # A transport that nobody closed says so when it is collected, which fails the test.
    gc.collect()


def test_members_that_are_reached_at_once_have_a_socket_each() -> None:
    async def run() -> list[Path]:
        tunnels = Tunnels()
        link: Any = Waiting()
        tunnels.use(link)
        names = ("b.example", "c.example", "b.example")
        paths = await asyncio.gather(*(tunnels.listen(name) for name in names))
        await tunnels.close()
        return list(paths)

    first, second, again = asyncio.run(run())
    assert first == again
    assert first != second
