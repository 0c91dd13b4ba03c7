"""A hub, members, and a SuperLink that answers, on this machine; real sockets, real TLS."""

from __future__ import annotations

import contextlib
import ssl
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from fusion.identity.trust import Invitation
from fusion.services import hub as hub_service
from fusion.services import node as node_service
from fusion.services import rosters
from fusion.services.dialling import link_of
from fusion.services.files import write_atomic
from fusion.services.homes import HubHome, NodeHome
from fusion.services.hub_port import port_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fusion.link.dial import Link
    from fusion.link.port import Port
    from fusion.link.rules import PortLimits


def make_hub(path: Path, port: int = 0) -> HubHome:
    """A hub on a port, by default one that the system chooses."""
    hub_service.init(path, address=f"127.0.0.1:{port}")
    return HubHome.open(path)


def make_node(hub: HubHome, path: Path, org: str) -> NodeHome:
    """A node that has sent its request."""
    return node_service.init(path, hub=str(hub.invitation), org=org)


def admit(hub: HubHome, node: NodeHome) -> NodeHome:
    """Admit a node and hand it what it would fetch."""
    rosters.admit(hub, node.request.read_bytes())
    write_atomic(node.ca, hub.ca.read_bytes())
    write_atomic(node.trust_file, hub.trust_file.read_bytes())
    node.keep_epoch(hub.roster(), hub.roster_file.read_bytes())
    return node


def fleet_key(hub: HubHome, org: str) -> dict[str, str]:
    """The header with a member's Flower key."""
    return {"flwr-public-key": hub.roster().member(org).fleet_key}


def at_port(node: NodeHome, port: int) -> NodeHome:
    """The node's folder, with the port on which its hub came to be."""
    invitation = node.invitation
    address = f"{invitation.address.host}:{port}"
    moved = Invitation.parse(f"https://{address}#{invitation.pin}")
    return NodeHome(node.path, node.config.model_copy(update={"hub_url": moved.url}))


@contextlib.contextmanager
def linked(port: Port, node: NodeHome) -> Iterator[Link]:
    """A member's connection to the port."""
    with link_of(at_port(node, port.port)) as link:
        yield link


@dataclass(slots=True)
class Received:
    """One request as the SuperLink saw it."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class StandIn:
    """A SuperLink that answers every POST with its own body, over the hub's loopback TLS."""

    server: ThreadingHTTPServer
    requests: list[Received] = field(default_factory=list)
    connections: set[int] = field(default_factory=set)

    @property
    def port(self) -> int:
        return int(self.server.server_address[1])


@contextlib.contextmanager
def superlink(hub: HubHome, hold: threading.Event | None = None) -> Iterator[StandIn]:
    """Run a stand-in for the SuperLink; it answers once ``hold`` is set, if there is one."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Head and body leave in one piece, as they do from the SuperLink.
        wbufsize = -1

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            if len(body) < int(self.headers["content-length"]):
                return  # broken off: the SuperLink drops it, too
            found.requests.append(Received(self.path, headers, body))
            found.connections.add(self.client_address[1])
            if hold is not None:
                hold.wait(100)
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(str(hub.superlink_certificate), str(hub.superlink_key))
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    found = StandIn(server)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def serving(hub: HubHome, superlink_port: int, limits: PortLimits | None = None) -> Iterator[Port]:
    """Run the hub's port."""
    port = port_of(hub, superlink_port, limits)
    port.start()
    try:
        yield port
    finally:
        port.stop()
