"""What one member may take of a node's ports for others."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from fusion.services.clock import SystemClock
from fusion.services.leaves import leaf_pems
from fusion.services.peer_port import PeerPort
from tests.link.federation import admit, make_hub, make_node

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
    from pathlib import Path

    from fusion.ports import Stop
    from fusion.services.homes import NodeHome
    from fusion.services.peer_port import Work


class Ended(Exception):
    """A call that was ended, with what its caller is told."""


class Call:
    """A call as gRPC describes it: by the certificate that the caller showed."""

    def __init__(self, certificate: bytes) -> None:
        self._certificate = certificate

    def auth_context(self) -> dict[str, list[bytes]]:
        return {"x509_pem_cert": [self._certificate]}

    async def abort(self, code: grpc.StatusCode, text: str) -> None:
        raise Ended(code, text)


@pytest.fixture
def nodes(tmp_path: Path) -> list[NodeHome]:
    """Two members, of which the first knows both."""
    hub = make_hub(tmp_path / "hub")
    names = ("a.example", "b.example")
    made = [admit(hub, make_node(hub, tmp_path / name, name)) for name in names]
    made[0].keep_epoch(hub.roster(), hub.roster_file.read_bytes())
    return made


@pytest.fixture
def port(nodes: list[NodeHome]) -> Iterator[PeerPort]:
    """The first one's port."""
    made = PeerPort(nodes[0], SystemClock(), "test")
    yield made
    made.close()


def _call(port: PeerPort, home: NodeHome, work: Work, request: bytes) -> Coroutine[Any, Any, bytes]:
    pem, _ = leaf_pems(home, home.trust().federation, SystemClock().now())
    return port._served(work, request, Call(pem), most=10, busy=b"busy", silent="")


def test_a_member_that_calls_without_end_leaves_room_for_others(
    nodes: list[NodeHome], port: PeerPort
) -> None:
    free = threading.Event()

    def work(member: str, request: bytes, stop: Stop) -> bytes:
        del stop
        if request == b"wait":
            free.wait(200)
        return member.encode()

    async def calls() -> tuple[list[bytes], bytes, bytes]:
        many = [asyncio.ensure_future(_call(port, nodes[1], work, b"wait")) for _ in range(80)]
        await asyncio.sleep(0.1)
        other = await asyncio.wait_for(_call(port, nodes[0], work, b""), 150)
        free.set()
        found = [await each for each in many]
        return found, other, await _call(port, nodes[1], work, b"")

    try:
        found, other, later = asyncio.run(calls())
    finally:
        free.set()
    assert other == b"a.example"
    assert later == b"b.example"
    assert set(found) == {b"b.example", b"busy"}
    assert 0 < found.count(b"b.example") < 16


def test_what_fails_unforeseen_is_not_told(nodes: list[NodeHome], port: PeerPort) -> None:
    def work(member: str, request: bytes, stop: Stop) -> bytes:
        del member, stop
        raise ValueError(request)

    with pytest.raises(Ended) as caught:
        asyncio.run(_call(port, nodes[1], work, b"SECRET"))
    assert caught.value.args[0] is grpc.StatusCode.INTERNAL
    assert "SECRET" not in str(caught.value)
