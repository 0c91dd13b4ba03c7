"""The forwarder for the stock SuperNode: HTTP in on loopback, out under the node's certificate."""

from __future__ import annotations

import contextlib
import ssl
from typing import TYPE_CHECKING

import httpx

from fusion.services.dialling import link_of
from fusion.services.node import forwarder_of
from tests.link.federation import at_port, fleet_key, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusion.services.homes import NodeHome
    from tests.link.conftest import Federation


@contextlib.contextmanager
def supernode_of(node: NodeHome) -> Iterator[httpx.Client]:
    """A client that knows the loopback CA and has no certificate, as the stock SuperNode."""
    with link_of(node) as link:
        forwarder = forwarder_of(node, link)
        forwarder.start()
        tls = ssl.create_default_context(cafile=str(node.forward_ca))
        url = f"https://127.0.0.1:{forwarder.port}"
        try:
            with httpx.Client(base_url=url, verify=tls, trust_env=False, timeout=60) as client:
                yield client
        finally:
            forwarder.stop()


def test_a_client_without_a_certificate_gets_through_as_the_member(federation: Federation) -> None:
    body = b"x" * 900_000
    with supernode_of(federation.a) as supernode:
        for _ in range(3):
            answer = supernode.post(
                "/v1/fleet/push-object",
                content=body,
                headers=fleet_key(federation.hub, "a.example"),
            )
            assert answer.content == body
            assert answer.headers["content-type"] == "application/x-protobuf"


def test_the_hubs_rules_hold_behind_it(federation: Federation) -> None:
    theirs = fleet_key(federation.hub, "b.example")
    with supernode_of(federation.a) as supernode:
        refused = [
            supernode.post("/v1/fleet/get-run", content=b"x", headers=theirs),
            supernode.post("/v1/control/list-runs", content=b"x"),
            supernode.post("/v1/fleet/../control/list-runs", content=b"x"),
        ]
        assert [answer.status_code for answer in refused] == [403, 403, 403]
        assert "fleet-key" in refused[0].text
        assert "path" in refused[1].text
        assert supernode.get("/v1/fleet/get-run").status_code == 501


def test_a_hub_that_is_gone_is_said(federation: Federation) -> None:
    with serving(federation.hub, 1) as port:
        node = at_port(federation.a, port.port)
    with supernode_of(node) as supernode:
        headers = fleet_key(federation.hub, "a.example")
        assert supernode.post("/v1/fleet/get-run", headers=headers).status_code == 503
