"""A port of this machine that nobody uses right now."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Final

from fusion.crypto import rng

HOST: Final = "127.0.0.1"
_LOWEST: Final = 10_240
_TRIES: Final = 100
_EPHEMERAL: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port() -> int:
    """Return a free TCP port of 127.0.0.1; somebody else may take it before it is bound.

    One that the system does not hand out by itself, where there are such: between now and the
    moment when it is bound, connections and servers of others get theirs from elsewhere.
    """
    below = _first_ephemeral()
    for _ in range(_TRIES if below > _LOWEST else 0):
        if (port := _bound(_LOWEST + rng.below(below - _LOWEST))) is not None:
            return port
    port = _bound(0)
    if port is None:
        raise OSError("no port of 127.0.0.1 is free")
    return port


def _first_ephemeral() -> int:
    try:
        return int(_EPHEMERAL.read_text("ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return 0


def _bound(port: int) -> int | None:
    """Return the port that this one is, or that the system chose for 0; None if it is taken."""
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return None
        found: int = probe.getsockname()[1]
        return found
