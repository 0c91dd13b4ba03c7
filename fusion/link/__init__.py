"""The network: the hub's one port, a node's connection to it, and what passes through to others."""

from __future__ import annotations

import os

# gRPC's core writes each failed handshake to standard error: strangers could fill a log with them.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
