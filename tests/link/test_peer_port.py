"""What one member may take of a node's ports for others."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

from fusion.services.clock import SystemClock
from fusion.services.leaves import leaf_pems
from fusion.services.peer_port import PeerPort
from tests.link.federation import admit, make_hub, make_node

if TYPE_CHECKING:
    from pathlib import Path

    from fusion.ports import Stop
    from fusion.services.homes import NodeHome


class Call:
    """A call as gRPC describes it: by the certificate that the caller showed."""

    def __init__(self, certificate: bytes) -> None:
        self._certificate = certificate

    def auth_context(self) -> dict[str, list[bytes]]:
        return {"x509_pem_cert": [self._certificate]}


def test_a_member_that_calls_without_end_leaves_room_for_others(tmp_path: Path) -> None:
    hub = make_hub(tmp_path / "hub")
    names = ("a.example", "b.example")
    nodes = [admit(hub, make_node(hub, tmp_path / name, name)) for name in names]
    node, clock = nodes[0], SystemClock()
    node.keep_epoch(hub.roster(), hub.roster_file.read_bytes())
    port, free = PeerPort(node, clock, "test"), threading.Event()

    def work(member: str, request: bytes, stop: Stop) -> bytes:
        del stop
        if request == b"wait":
            free.wait(30)
        return member.encode()

    def call(home: NodeHome, request: bytes) -> Any:
        pem, _ = leaf_pems(home, hub.roster().federation, clock.now())
        return port._served(work, request, Call(pem), most=10, busy=b"busy", silent="")

    async def calls() -> tuple[list[bytes], bytes, bytes]:
        many = [asyncio.ensure_future(call(nodes[1], b"wait")) for _ in range(80)]
        await asyncio.sleep(0.1)
        other = await asyncio.wait_for(call(nodes[0], b""), 20)
        free.set()
        found = [await each for each in many]
        return found, other, await call(nodes[1], b"")

    try:
        found, other, later = asyncio.run(calls())
    finally:
        free.set()
        port.close()
    assert other == b"a.example"
    assert later == b"b.example"
    assert set(found) == {b"b.example", b"busy"}
    assert 0 < found.count(b"b.example") < 16
