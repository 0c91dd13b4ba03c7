"""The forwarder for the stock SuperNode: bytes in on loopback, out under the node's certificate."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import httpx
import pytest

from fusion.services import hub as hub_service
from fusion.services.node import forwarder_of
from tests.link.federation import at_port, fleet_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.link.conftest import Federation


@pytest.fixture
def supernode(federation: Federation) -> Iterator[httpx.Client]:
    """A client that knows the loopback CA and has no certificate, as the stock SuperNode."""
    node = at_port(federation.a, federation.front.port)
    forwarder = forwarder_of(node)
    forwarder.start()
    tls = ssl.create_default_context(cafile=str(node.forward_ca))
    url = f"https://127.0.0.1:{forwarder.port}"
    try:
        with httpx.Client(base_url=url, verify=tls, trust_env=False, timeout=10) as client:
            yield client
    finally:
        forwarder.stop()


def test_a_client_without_a_certificate_gets_through_as_the_member(
    federation: Federation, supernode: httpx.Client
) -> None:
    body = b"x" * 3_000_000
    for _ in range(3):
        answer = supernode.post(
            "/v1/fleet/push-object", content=body, headers=fleet_key(federation.hub, "a.example")
        )
        assert answer.content == body


def test_the_hubs_rules_hold_behind_it(federation: Federation, supernode: httpx.Client) -> None:
    theirs = fleet_key(federation.hub, "b.example")
    refused = [
        supernode.post("/v1/fleet/get-run", content=b"x", headers=theirs),
        supernode.post("/v1/control/list-runs", content=b"x"),
    ]
    assert [answer.json()["rule"] for answer in refused] == ["fleet-key", "path"]


def test_a_hub_that_is_gone_ends_the_connection(federation: Federation) -> None:
    front = hub_service.front_of(federation.hub, 1)
    front.start()
    node = at_port(federation.a, front.port)
    front.stop()
    forwarder = forwarder_of(node)
    forwarder.start()
    tls = ssl.create_default_context(cafile=str(node.forward_ca))
    url = f"https://127.0.0.1:{forwarder.port}"
    try:
        with (
            httpx.Client(base_url=url, verify=tls, trust_env=False, timeout=10) as client,
            pytest.raises(httpx.TransportError),
        ):
            client.get("/v1/federation")
    finally:
        forwarder.stop()
