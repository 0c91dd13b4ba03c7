"""A port of this machine that nobody uses right now."""

from __future__ import annotations

import socket


def free_port() -> int:
    """Return a free TCP port of 127.0.0.1; somebody else may take it before it is bound."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
