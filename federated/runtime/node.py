"""What ``fusion node up`` runs once the node is enrolled: the fleet loop with the party in it."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from federated.client_app import app_for
from federated.party import Party
from federated.runtime.superlink import QUIET
from federated.seats import seat_of
from fusion.link.client import hub_ssl_context
from fusion.services.clock import SystemClock
from fusion.services.homes import write_atomic
from fusion.types import OrgId

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from fusion.services.homes import NodeHome


def serve_node(node: NodeHome, *, stop: threading.Event, say: Callable[[str], None]) -> None:
    """Serve until ``stop``; work in hand is finished and answered.

    Raises:
        EnvironmentUnfit: The hub refuses the node for good.
    """
    os.environ.update(QUIET)
    from federated.runtime.bundle import bundle  # noqa: PLC0415 - after the environment is quiet
    from federated.runtime.fleet import FleetLink, FleetNode  # noqa: PLC0415

    party = Party(seat_of(node, say))
    fleet = FleetNode(
        FleetLink(
            url=node.config.hub_url,
            tls=hub_ssl_context(node.credentials()),
            key=node.fleet_private_key(),
        ),
        app_for(party, OrgId(node.config.id)),
        bundle_digest=bundle().digest,
        stop=stop,
        clock=SystemClock(),
        note=say,
    )

    def ready() -> None:
        write_atomic(node.ready, json.dumps({"pid": os.getpid()}).encode())
        say(f"{node.config.id} is up and serves {node.config.hub_url}")

    try:
        fleet.serve(ready)
    finally:
        node.ready.unlink(missing_ok=True)
