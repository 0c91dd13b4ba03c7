"""Node to node: ordinary gRPC with mutual TLS, through a tunnel whose carrier can't read it.

Each side shows a certificate under its organisation's own CA and trusts the CA that the roster names
for the other: the hub, which carries the bytes, has neither key nor CA. A server asks who calls by
:func:`caller_of`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import grpc
import grpc.aio

from fusion.link.channel import CLIENT, SERVER

if TYPE_CHECKING:
    from pathlib import Path

    from fusion.link.dial import Identity

PEER_SERVICE: Final = "fusion.link.v1.Peer"
PING: Final = "Ping"
MAX_PING_BYTES: Final = 1024 * 1024


def server(path: Path, identity: Identity, authorities: bytes, handlers: tuple[Any, ...]) -> Any:  # noqa: ANN401 - gRPC has no types
    """Return a gRPC server at a socket; start it in the loop that it is to run in.

    Args:
        path: The socket; see :attr:`fusion.link.tunnels.Tunnels.served`.
        identity: This node's.
        authorities: CA certificates of those who may call, PEM.
        handlers: What is served, beside :data:`PING`.
    """
    made = grpc.aio.server(options=SERVER)
    made.add_generic_rpc_handlers((_ping(), *handlers))
    credentials = grpc.ssl_server_credentials(
        [(identity.key, identity.certificate)], authorities, require_client_auth=True
    )
    made.add_secure_port(f"unix:{path}", credentials)
    return made


def channel(path: Path, identity: Identity, authority: bytes, name: str) -> Any:  # noqa: ANN401
    """Return an asynchronous channel to another node.

    Args:
        path: The socket that leads there; see :meth:`fusion.link.tunnels.Tunnels.to`.
        identity: This node's.
        authority: Certificate of the other organisation's CA, PEM.
        name: The name that the other node's certificate has to carry.
    """
    credentials = grpc.ssl_channel_credentials(authority, identity.key, identity.certificate)
    options = (*CLIENT, ("grpc.ssl_target_name_override", name))
    return grpc.aio.secure_channel(f"unix:{path}", credentials, options)


def _ping() -> Any:  # noqa: ANN401
    async def ping(request: bytes, context: Any) -> bytes:  # noqa: ANN401
        if len(request) > MAX_PING_BYTES:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "A ping is larger than it may be.")
        return request

    return grpc.method_handlers_generic_handler(
        PEER_SERVICE, {PING: grpc.unary_unary_rpc_method_handler(ping)}
    )
