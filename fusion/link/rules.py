"""The rules of the hub's one port: which calls there are, who may make them, how much of each.

=======================  =======================================================================
``Attach``               the hub's frames to a node: bells, and tunnels to pick up
``Tunnel``               bytes between two members, which the hub passes on and can't read
``Fleet``                one of ten calls of Flower's fleet interface, passed on to the SuperLink
``FleetLong``            the same, with a body in many pieces
``Read``, ``HandIn``     the hub's own services: documents out, documents in
=======================  =======================================================================

Every call needs the certificate of a member of the current roster; there is nothing for others, and
no other call. No connection is handled here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fusion.wire import limits

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fusion.identity.members import Member

SERVICE: Final = "fusion.link.v1.Hub"
ATTACH: Final = "Attach"
TUNNEL: Final = "Tunnel"
FLEET: Final = "Fleet"
FLEET_LONG: Final = "FleetLong"
READ: Final = "Read"
HAND_IN: Final = "HandIn"

FLEET_CALLS: Final = frozenset(
    (
        "activate-node",
        "deactivate-node",
        "send-node-heartbeat",
        "pull-messages",
        "push-messages",
        "get-run",
        "get-fab",
        "push-object",
        "pull-object",
        "confirm-message-received",
    )
)
"""What a node may ask of the SuperLink, each ``POST /v1/fleet/NAME``."""

FLEET_BELL: Final = "fleet"
"""Rings at the nodes when there may be messages to pull."""

FLEET_PUSHES: Final = frozenset(("push-messages", "push-object"))
FLEET_KEY_HEADER: Final = "flwr-public-key"
_FLEET_HEADER = re.compile(r"flwr-[a-z0-9-]{1,64}")
_PLAIN_HEADERS: Final = frozenset(("content-type", "accept"))

CALL: Final = "call"
LENGTH: Final = "length"
PERMITTED: Final = "permitted"
STATUS: Final = "status"
TARGET: Final = "target"
TOKEN: Final = "token"  # noqa: S105 - the name of a field
DOCUMENT: Final = "document"
HEADER_PREFIX: Final = "http-"
"""A header of HTTP travels as the field of this and its name."""


def method(name: str) -> str:
    """Return the full name of a call."""
    return f"/{SERVICE}/{name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PortLimits:
    """How long and how much.

    Attributes:
        answer: Seconds for the SuperLink to go on with an answer.
        rendezvous: Seconds for the called node to pick a tunnel up.
        linger: Seconds for the other direction of a tunnel to end when one has.
        body: Bytes of a request to the fleet interface.
        tunnels: Tunnels that one member may have called for at a time.
        calls: Fleet calls that one member may have under way.
        handshake: Seconds for a TLS handshake.
    """

    answer: float = 60.0
    rendezvous: float = 10.0
    linger: float = 2.0
    body: int = limits.MAX_BODY_BYTES
    tunnels: int = limits.MAX_TUNNELS_A_MEMBER
    calls: int = limits.MAX_CALLS_A_MEMBER
    handshake: float = 10.0


class Refusal(Exception):
    """An answer that says no.

    Attributes:
        rule: Which rule; stable, for scripts.
        message: The rule in words.
    """

    def __init__(self, rule: str, message: str) -> None:
        """Keep what is answered."""
        super().__init__(f"{rule}: {message}")
        self.rule = rule
        self.message = message


@dataclass(frozen=True, slots=True)
class FleetCall:
    """A permitted call of the fleet interface.

    Attributes:
        name: One of :data:`FLEET_CALLS`.
        length: Bytes of its body.
        headers: Those that are passed on.
    """

    name: str
    length: int
    headers: dict[str, str]


def permit_fleet(fields: Iterable[tuple[str, str | bytes]], member: Member, body: int) -> FleetCall:
    """Decide on a call of the fleet interface.

    Args:
        fields: What the call carries beside its body.
        member: Who calls.
        body: Greatest body in bytes.

    Raises:
        Refusal: It is not one of those permitted, or carries another member's key.
    """
    found = _single(fields)
    name = found.get(CALL, "")
    if name not in FLEET_CALLS:
        raise Refusal("path", "This is no call of the fleet interface that is passed on.")
    length = found.get(LENGTH, "")
    if not re.fullmatch(r"[0-9]{1,12}", length):
        raise Refusal("length", "A body needs its length.")
    if int(length) > body:
        raise Refusal("size", f"A body may have {body} bytes.")
    headers = {
        key.removeprefix(HEADER_PREFIX): value
        for key, value in found.items()
        if key.startswith(HEADER_PREFIX)
    }
    for key in headers:
        if not is_passed_on(key):
            raise Refusal("headers", f"The header {key[:40]!r} is not passed on.")
    # A signature of Flower's can be replayed by who has seen it; not under another certificate.
    if headers.get(FLEET_KEY_HEADER) != member.fleet_key:
        raise Refusal("fleet-key", "The fleet key is not that of the certificate's member.")
    return FleetCall(name, int(length), headers)


def is_passed_on(header: str) -> bool:
    """Return whether a header of this name reaches the SuperLink."""
    return header in _PLAIN_HEADERS or _FLEET_HEADER.fullmatch(header) is not None


def field(fields: Iterable[tuple[str, str | bytes]], name: str) -> str:
    """Return what a call carries under ``name``, or nothing.

    Raises:
        Refusal: It is there twice, or is no text.
    """
    return _single(fields).get(name, "")


def _single(fields: Iterable[tuple[str, str | bytes]]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for key, value in fields:
        if key in found or isinstance(value, bytes):
            raise Refusal("headers", "A field is given twice, or is not text.")
        found[key] = value
    return found
