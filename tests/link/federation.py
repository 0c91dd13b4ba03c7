"""A hub, members, and a SuperLink that answers, on this machine; real sockets, real TLS."""

from __future__ import annotations

import contextlib
import ssl
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import httpx

from fusion.identity.trust import Invitation
from fusion.link.client import hub_ssl_context
from fusion.services import hub as hub_service
from fusion.services import node as node_service
from fusion.services import rosters
from fusion.services.files import write_atomic
from fusion.services.homes import HubHome, NodeHome

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fusion.link.front import Front
    from fusion.link.rules import FrontLimits


def make_hub(path: Path) -> HubHome:
    """A hub on a port that the system chooses."""
    hub_service.init(path, address="127.0.0.1:0")
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
def client(front: Front, node: NodeHome | None, ca: Path | None = None) -> Iterator[httpx.Client]:
    """A client of the port, with a node's certificate or none."""
    if node is not None:
        tls = hub_ssl_context(node.credentials())
    else:
        tls = ssl.create_default_context(cafile=str(ca))
    with httpx.Client(
        base_url=f"https://127.0.0.1:{front.port}", verify=tls, timeout=10, trust_env=False
    ) as found:
        yield found


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
def superlink(hub: HubHome) -> Iterator[StandIn]:
    """Run a stand-in for the SuperLink."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Head and body leave in one piece, as they do from the SuperLink.
        wbufsize = -1

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            found.requests.append(Received(self.path, headers, body))
            found.connections.add(self.client_address[1])
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
def serving(
    hub: HubHome, superlink_port: int, limits: FrontLimits | None = None
) -> Iterator[Front]:
    """Run the hub's port."""
    front = hub_service.front_of(hub, superlink_port, limits)
    front.start()
    try:
        yield front
    finally:
        front.stop()
