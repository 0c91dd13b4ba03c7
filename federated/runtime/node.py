"""What ``fusion node up`` runs once the node is enrolled: the fleet loop with the party in it."""

from __future__ import annotations

import json
import os
from functools import partial
from typing import TYPE_CHECKING, Final

from federated.runtime.environment import QUIET
from federated.runtime.logs import log_to_stderr
from fusion.link.rules import FLEET_BELL
from fusion.services.clock import SystemClock
from fusion.services.endings import ending
from fusion.services.files import write_atomic
from fusion.services.node_link import Connection
from fusion.services.query_port import queries_served
from fusion.services.score_port import scores_served
from fusion.services.witness import Witnessing
from fusion.types import OrgId

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusion.ports import Stop
    from fusion.services.homes import NodeHome

RUNTIME_VARIABLE: Final = "BANYAN_RUNTIME"
"""Set to ``stock``, the node serves through Flower's SuperNode even if our own loop could."""


def serve_node(node: NodeHome, *, stop: Stop, say: Callable[[str], None]) -> None:
    """Serve until ``stop``; work in hand is finished and answered.

    Raises:
        EnvironmentUnfit: The node is up already, the hub refuses it for good, or Flower's
            SuperNode fails.
        LedgerBroken: The node's log is behind what was published of it.
    """

    def ready() -> None:
        write_atomic(node.ready, json.dumps({"pid": os.getpid()}).encode())
        say(f"{node.config.id} is up and serves {node.config.hub_url}")

    os.environ.update(QUIET)
    log_to_stderr()
    with node.serving():
        changed = _what_changed(say)
        with (
            queries_served(node, say) as queries,
            scores_served(node, say) as scores,
            Connection(node) as connection,
            Witnessing(node, connection.link, say),
        ):
            connection.serve(say, (*queries, *scores))
            link = connection.link
            if changed or os.environ.get(RUNTIME_VARIABLE) == "stock":
                from federated.runtime.stock import serve_stock  # noqa: PLC0415 - seldom needed

                serve_stock(node, link, stop=stop, say=say, on_ready=ready)
            else:
                _serve_own(node, connection, stop, say, ready)


def _what_changed(say: Callable[[str], None]) -> bool:
    """Say what in Flower is not as this release needs it; return whether there is anything."""
    from federated.runtime.contract import violations  # noqa: PLC0415 - imports Flower

    found = violations(at_node=True)
    for violation in found:
        say(f"Flower has changed: {violation}")
    return bool(found)


def _serve_own(
    node: NodeHome,
    connection: Connection,
    stop: Stop,
    say: Callable[[str], None],
    ready: Callable[[], None],
) -> None:
    # Only now: these import what the contract has been checked for.
    from federated.client_app import app_for  # noqa: PLC0415
    from federated.party import Party  # noqa: PLC0415
    from federated.reception import Reception  # noqa: PLC0415
    from federated.runtime.bundle import bundle  # noqa: PLC0415
    from federated.runtime.fleet import FleetNode, Served  # noqa: PLC0415
    from federated.runtime.fleet_client import dial, public_key_of  # noqa: PLC0415
    from federated.seats import seat_of, vertical_seat_of  # noqa: PLC0415
    from federated.vertical.catching_up import CatchingUp  # noqa: PLC0415
    from federated.vertical.party import VerticalParty  # noqa: PLC0415

    key, link = node.fleet_private_key(), connection.link
    seat = seat_of(node, say, link)
    vertical = VerticalParty(vertical_seat_of(node, seat, connection.conversations))
    fleet = FleetNode(
        dial(link, key),
        app_for(Reception(Party(seat), vertical), OrgId(node.config.id)),
        Served(public_key=public_key_of(key), bundle_digest=bundle().digest),
        bell=link.bell(FLEET_BELL),
        stop=stop,
        clock=SystemClock(),
        note=say,
    )
    try:
        with CatchingUp(lambda: vertical.catch_up(partial(ending, link)), say):
            fleet.serve(ready)
    finally:
        vertical.close()
