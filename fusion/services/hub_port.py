"""What the hub's one port serves: which documents, which boxes, by whose roster."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from fusion.catalogue.signing import MAX_SIGNED_BYTES as MAX_DESCRIPTOR_BYTES
from fusion.grants.signing import MAX_SIGNED_BYTES
from fusion.identity.members import AUTHORITY
from fusion.link.bell import Bell
from fusion.link.callers import Callers
from fusion.link.port import Box, Port, PortConfig, version_of
from fusion.link.rules import PortLimits
from fusion.services import endings, talking
from fusion.services.board import receive
from fusion.services.catalogue import CATALOGUE, collected, deliver
from fusion.services.clock import SystemClock
from fusion.services.conversing import Conversations
from fusion.services.endings import ENDS
from fusion.services.enrolment import ROSTER
from fusion.services.files import read_file
from fusion.services.grant_exchange import GRANTS, Shelf
from fusion.services.orders import (
    JOBS,
    MAX_ORDERED_BYTES,
    MAX_STOP_BYTES,
    ORDERS,
    STOPS,
    OrderDesk,
)
from fusion.wire.limits import MAX_WITNESS_PACKET_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fusion.identity.members import Member
    from fusion.ports import Clock
    from fusion.services.homes import HubHome

WITNESS: Final = "witness"
NOW: Final = "now"
"""The document with the hub's time, seconds since 1970."""

_LOG = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?")


def port_of(
    hub: HubHome,
    superlink_port: int,
    limits: PortLimits | None = None,
    clock: Clock | None = None,
    conversations: Conversations | None = None,
) -> Port:
    """Return the hub's one port, not yet opened.

    Args:
        hub: Its folder.
        superlink_port: Where the SuperLink is, on loopback.
        limits: Others than the usual ones.
        clock: Time.
        conversations: Talks of the hub with nodes, which call.

    Raises:
        EnvironmentUnfit: A file is missing.
    """
    clock, shelf, orders = clock or SystemClock(), Shelf(hub), OrderDesk(hub)
    callers = Callers(hub.roster_file, hub.authority_public, read_file(hub.ca), clock)
    talks = conversations or Conversations(AUTHORITY, clock=clock)
    config = PortConfig(
        listen=hub.listen,
        certificate=read_file(hub.server_certificate),
        key=hub.server_key_pem(),
        callers=callers,
        superlink_port=superlink_port,
        superlink_ca=hub.superlink_ca,
        requests_bell=Bell(hub.requests_bell),
        replies_bell=Bell(hub.replies_bell),
        documents={
            NOW: lambda *_: str(int(clock.now().timestamp())).encode(),
            CATALOGUE: _catalogue(hub),
            ENDS: lambda member, rest: endings.document(hub, member, rest),
            GRANTS: shelf.document,
            JOBS: orders.document,
            ROSTER: _roster(hub),
            WITNESS: _witness(hub),
        },
        boxes=_boxes(hub, shelf, orders),
        watched={
            CATALOGUE: hub.catalogue,
            GRANTS: hub.grants,
            ROSTER: hub.roster_file,
            WITNESS: hub.witness / "index.json",
        },
        limits=limits or PortLimits(),
        services=(talking.handler(talks, lambda shown: callers.member(shown).id),),
    )
    return Port(config)


def _boxes(hub: HubHome, shelf: Shelf, orders: OrderDesk) -> dict[str, Box]:
    return {
        CATALOGUE: Box(
            take=lambda member, data: deliver(hub, member.id, data),
            limit=MAX_DESCRIPTOR_BYTES,
        ),
        GRANTS: Box(take=shelf.take, limit=MAX_SIGNED_BYTES),
        ORDERS: Box(take=orders.take, limit=MAX_ORDERED_BYTES),
        STOPS: Box(take=orders.stop, limit=MAX_STOP_BYTES),
        WITNESS: Box(
            take=lambda member, data: receive(hub, member.id, data),
            limit=MAX_WITNESS_PACKET_BYTES,
        ),
    }


def _roster(hub: HubHome) -> Callable[[Member, str], bytes | None]:
    return lambda _, rest: None if rest else _file(hub.roster_file)


def _catalogue(hub: HubHome) -> Callable[[Member, str], bytes | None]:
    """The federation's catalogue, put together once for all who fetch it after a change."""
    made: tuple[object, bytes] = (None, b"")

    def document(_: Member, rest: str) -> bytes | None:
        nonlocal made
        if rest:
            return None
        now = (version_of(hub.catalogue), version_of(hub.roster_file))
        if made[0] != now:
            made = (now, collected(hub))
        return made[1]

    return document


def _witness(hub: HubHome) -> Callable[[Member, str], bytes | None]:
    """The board: its index, and what is on it of one log."""

    def document(_: Member, rest: str) -> bytes | None:
        name = rest or "index"
        return _file(hub.witness / f"{name}.json") if _LOG.fullmatch(name) else None

    return document


def _file(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
