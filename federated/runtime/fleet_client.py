"""Flower's client of the fleet interface, with a node's link to the hub in place of HTTP."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Final

import httpx
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from fusion.errors import HubRefused, PartyUnreachable
from fusion.link.dial import FLEET_SECONDS
from fusion.link.rules import is_passed_on

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec
    from flwr.supercore.protobuf.client import ProtobufCall, ProtobufRequestContext

    from fusion.link.dial import Link

_FLEET_PATH: Final = "/v1/fleet/"
_LONG: Final = frozenset(("push-messages", "push-object", "pull-object"))
_SHORT_SECONDS: Final = 20.0
"""For a call without a body worth mention: a hub that stands still must not hold up a stop."""


class _ThroughLink:
    """The last of the interceptors: sends what Flower's client would send over the node's link."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def intercept(
        self,
        context: ProtobufRequestContext,
        call_next: ProtobufCall,  # noqa: ARG002 - nothing comes after this one
    ) -> httpx.Response:
        """Answer a request as the hub does.

        Raises:
            httpx.TransportError: The hub does not answer.
        """
        request = context.request
        headers = {k: v for k, v in request.headers.items() if is_passed_on(k)}
        name = request.url.path.removeprefix(_FLEET_PATH)
        try:
            seconds = FLEET_SECONDS if name in _LONG else _SHORT_SECONDS
            status, kind, body = self._link.fleet(name, headers, request.read(), seconds)
        except HubRefused as error:
            return httpx.Response(httpx.codes.FORBIDDEN, text=error.message, request=request)
        except PartyUnreachable as error:
            raise httpx.ConnectError(error.message, request=request) from error
        return httpx.Response(status, headers={"content-type": kind}, content=body, request=request)


def dial(link: Link, key: ec.EllipticCurvePrivateKey) -> FleetHttpClient:
    """Return the fleet interface of a hub, over a node's link.

    Args:
        link: The connection to the hub.
        key: The node's Flower key (P-384).
    """
    return FleetHttpClient(
        "http://hub",
        verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),  # trusts nothing: it connects to nothing
        interceptors=[
            RuntimeVersionHttpInterceptor(component_name="SuperNode"),
            NodeAuthHttpInterceptor(key, key.public_key()),
            _ThroughLink(link),
        ],
    )


def public_key_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return the key by which the SuperLink knows a node."""
    return bytes(public_key_to_bytes(key.public_key()))
