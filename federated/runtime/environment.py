"""The environment in which Flower runs here, at the hub and at a node."""

from __future__ import annotations

from typing import Final

QUIET: Final = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
}
"""Environment in which Flower contacts nobody."""

HUB_VARIABLE: Final = "BANYAN_HUB"
"""Environment variable with the hub's folder, for the ServerApp."""

STOP_SECONDS: Final = 8.0
"""Time that a Flower process has to stop before it is ended."""
