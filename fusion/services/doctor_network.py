"""Examines what a hub or node needs of the network: its port, the other side, the same time.

A node asks its hub twice. First as a stranger, whose answer is believed only as far as the pin in
the invitation vouches for it: a wrong clock breaks every verified connection, and has to be told
from a hub that is away. Then as the member it is.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

import httpx

from fusion.errors import FusionError
from fusion.identity.trust import open_trust
from fusion.link.client import hub_ssl_context, unverified_context
from fusion.services.findings import Finding, ok, problem, warning
from fusion.services.processes import is_up
from fusion.wire.limits import MAX_REQUEST_BYTES

if TYPE_CHECKING:
    from fusion.ports import Clock
    from fusion.services.homes import HubHome, NodeHome

SKEW: Final = timedelta(minutes=5)
"""What certificates are dated back by; more than this and connections fail."""

NOTICED_SKEW: Final = timedelta(seconds=30)
_SECONDS: Final = 5.0
_FEDERATION: Final = "/v1/federation"


def port_finding(hub: HubHome) -> Finding:
    """See whether a hub's port is served, or could be."""
    where = hub.listen
    host = "127.0.0.1" if where.host == "0.0.0.0" else where.host  # noqa: S104 - compared, not bound
    if is_up(hub.ready):
        try:
            socket.create_connection((host, where.port), timeout=_SECONDS).close()
        except OSError as error:
            msg = f"The hub is up, and {where} does not answer: {error.strerror or error}."
            return problem("port", msg, "See what it says, or start it again.")
        return ok("port", f"{where} is served by this hub")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            where.host, where.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(address)
    except OSError as error:
        msg = f"{where} can't be bound: {error.strerror or error}."
        return problem("port", msg, "Stop what uses it, or change listen in hub.toml.")
    return ok("port", f"{where} is free; the hub is down")


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the hub said to a stranger.

    Attributes:
        body: The trust document, not verified yet.
        ahead: How far its clock is ahead of ours, if it told the time.
    """

    body: bytes
    ahead: timedelta | None


def hub_findings(node: NodeHome, clock: Clock) -> list[Finding]:
    """See whether a node's hub answers, is the right one, knows the node, and has the same time."""
    try:
        answer = _ask(node, clock)
    except (httpx.HTTPError, OSError) as error:
        msg = f"{node.config.hub_url} can't be reached: {_reason(error)}."
        todo = "Is the hub up? Can this machine reach its port (name, route, firewall, proxy)?"
        return [problem("hub", msg, todo)]
    found = [] if answer.ahead is None else [clock_finding(answer.ahead)]
    try:
        trust = open_trust(answer.body, node.config.pin)
    except FusionError as error:
        todo = "Ask the hub's operator for the invitation; something else may answer in its place."
        return [*found, problem("hub", f"Not the invitation's hub: {error.message}", todo)]
    if not node.enrolled:
        return [*found, ok("hub", f"{node.config.hub_url} answers for {trust.federation}")]
    return [*found, _membership(node)]


def _ask(node: NodeHome, clock: Clock) -> _Answer:
    """Ask for the trust document as anybody may."""
    with (
        _client(node, unverified=True) as client,
        client.stream("GET", _FEDERATION) as response,
    ):
        body = b""
        for chunk in response.iter_raw():
            body += chunk
            if len(body) > MAX_REQUEST_BYTES:
                break  # no trust document: opening it will say so
        told = _told(response.headers.get("date", ""))
    return _Answer(body, None if told is None else told - clock.now())


def _told(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    return moment if moment.tzinfo is not None else None


def clock_finding(ahead: timedelta) -> Finding:
    """Judge the distance between two clocks.

    Args:
        ahead: How far the hub's is ahead of ours.
    """
    seconds = round(ahead.total_seconds())
    words = f"This clock is {abs(seconds)} s {'behind' if seconds > 0 else 'ahead of'} the hub's"
    todo = "Set the clocks of both machines by the same source, such as NTP."
    if abs(ahead) > SKEW:
        return problem("clock", f"{words}.", todo)
    if abs(ahead) > NOTICED_SKEW:
        return warning("clock", f"{words}.", todo)
    return ok("clock", words)


def _membership(node: NodeHome) -> Finding:
    """Ask for the roster as the member that this node is."""
    try:
        with _client(node, unverified=False) as client:
            status = client.get(f"{_FEDERATION}/roster").status_code
    except FusionError as error:
        return problem("hub", error.message, error.hint)
    except (httpx.HTTPError, OSError) as error:
        msg = f"The hub answers, and TLS to it fails: {_reason(error)}."
        return problem("hub", msg, "Compare clocks and certificates, above.")
    if status != httpx.codes.OK:
        msg = f"The hub does not count this node as a member (HTTP {status})."
        todo = "Was it revoked? `fusion org show` says which keys it has; ask the data authority."
        return problem("hub", msg, todo)
    return ok("hub", f"{node.config.hub_url} answers and knows this node")


def _client(node: NodeHome, *, unverified: bool) -> httpx.Client:
    context = unverified_context() if unverified else hub_ssl_context(node.credentials())
    return httpx.Client(
        base_url=node.config.hub_url, verify=context, timeout=_SECONDS, trust_env=False
    )


def _reason(error: BaseException) -> str:
    """What a library's error goes back to, in its own words."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return str(getattr(error, "strerror", None) or str(error) or type(error).__name__)
