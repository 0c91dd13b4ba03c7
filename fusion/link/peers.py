"""Node to node: ordinary gRPC with mutual TLS, through a tunnel whose carrier can't read it.

Each side shows a certificate under its organisation's own CA and trusts the CA that the roster
names for the other: the hub, which carries the bytes, has neither key nor CA. Who calls is judged
by :func:`fusion.identity.callers.caller`, at each call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import grpc
import grpc.aio

from fusion.errors import FusionError
from fusion.link.channel import CLIENT, SERVER

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fusion.link.dial import Identity

PEER_SERVICE: Final = "fusion.link.v1.Peer"
PING: Final = "Ping"
MAX_PING_BYTES: Final = 1024 * 1024


def server(
    path: Path,
    shown: Callable[[], tuple[Identity, bytes]],
    judge: Callable[[bytes], object],
    handlers: tuple[Any, ...] = (),
) -> Any:
    """Return a gRPC server at a socket; start it in the loop that it is to run in.

    Args:
        path: The socket; see :attr:`fusion.link.tunnels.Tunnels.served`.
        shown: Returns this node's certificate, and the CA certificates (PEM) of those who may
            call, as they are now; asked at each handshake.
        judge: Told the certificate (PEM) of who calls; raises a ``FusionError`` if it is no member.
        handlers: What is served, beside :data:`PING`.

    Raises:
        FusionError: What ``shown`` raises.
    """
    made = grpc.aio.server(options=SERVER)
    made.add_generic_rpc_handlers((_ping(judge), *handlers))
    known = shown()

    def fetch() -> Any:
        nonlocal known
        found = shown()
        if found == known:
            return None
        known = found
        return _certificates(*found)

    credentials = grpc.dynamic_ssl_server_credentials(
        _certificates(*known), fetch, require_client_authentication=True
    )
    made.add_secure_port(f"unix:{path}", credentials)
    return made


def _certificates(identity: Identity, authorities: bytes) -> Any:
    pair = (identity.key, identity.certificate)
    return grpc.ssl_server_certificate_configuration([pair], authorities)


def channel(
    path: Path, identity: Identity, authority: bytes, name: str, *, shared: bool = True
) -> Any:
    """Return an asynchronous channel to another node.

    Args:
        path: The socket that leads there; see :meth:`fusion.link.tunnels.Tunnels.to`.
        identity: This node's.
        authority: Certificate of the other organisation's CA, PEM.
        name: The name that the other node's certificate has to carry.
        shared: Whether another channel's connection may be used, which waits after a failure.
    """
    credentials = grpc.ssl_channel_credentials(authority, identity.key, identity.certificate)
    options = (
        *CLIENT,
        ("grpc.ssl_target_name_override", name),
        ("grpc.use_local_subchannel_pool", int(not shared)),
    )
    return grpc.aio.secure_channel(f"unix:{path}", credentials, options)


def certificate_of(context: Any) -> bytes:
    """Return the certificate (PEM) that the caller showed, at either kind of server here."""
    found: bytes = context.auth_context().get("x509_pem_cert", [b""])[0]
    return found


def _ping(judge: Callable[[bytes], object]) -> Any:
    async def ping(request: bytes, context: Any) -> bytes:
        try:
            judge(certificate_of(context))
        except FusionError as error:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, error.message)
        if len(request) > MAX_PING_BYTES:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, "A ping is larger than it may be."
            )
        return request

    return grpc.method_handlers_generic_handler(
        PEER_SERVICE, {PING: grpc.unary_unary_rpc_method_handler(ping)}
    )
