"""Examines what a hub or node needs of the network: its port, the other side, the same time.

A node asks its hub twice. First as a stranger, who sees the hub's certificate and believes it only
as far as the pin in the invitation vouches for it: a wrong clock breaks every verified connection,
and has to be told from a hub that is away. Then as the member it is.
"""

from __future__ import annotations

import socket
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from fusion.errors import FusionError, HubRefused, PartyUnreachable
from fusion.identity.certificates import from_der, trust_of
from fusion.identity.trust import open_trust
from fusion.link.introduction import introduced
from fusion.services.dialling import link_of
from fusion.services.findings import Finding, ok, problem, warning
from fusion.services.hub_port import NOW
from fusion.services.processes import is_up

if TYPE_CHECKING:
    from fusion.ports import Clock
    from fusion.services.homes import HubHome, NodeHome

SKEW: Final = timedelta(minutes=5)
"""What certificates are dated back by; more than this and connections fail."""

NOTICED_SKEW: Final = timedelta(seconds=30)
_SECONDS: Final = 5.0
_MAX_NOW_BYTES: Final = 32


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


def hub_findings(node: NodeHome, clock: Clock) -> list[Finding]:
    """See whether a node's hub answers, is the right one, knows the node, and has the same time."""
    try:
        shown = introduced(node.invitation.address, _SECONDS)
    except PartyUnreachable as error:
        return [problem("hub", error.message, error.hint)]
    found = _validity(shown, clock)
    try:
        trust = open_trust(trust_of(shown), node.config.pin)
    except FusionError as error:
        todo = "Ask the hub's operator for the invitation; something else may answer in its place."
        return [*found, problem("hub", f"Not the invitation's hub: {error.message}", todo)]
    if not node.enrolled:
        return [*found, ok("hub", f"{node.config.hub_url} answers for {trust.federation}")]
    member = _membership(node, clock)
    # Who gets in is told the time, which says more than the dates of a certificate.
    return member if any(f.check == "clock" for f in member) else [*found, *member]


def _validity(shown: bytes, clock: Clock) -> list[Finding]:
    """See whether the hub's certificate is valid by this machine's clock: nothing connects else."""
    try:
        certificate = from_der(shown)
    except FusionError:
        return []  # the next look says what it is instead
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if begins <= clock.now() <= ends:
        return []
    words = (
        f"By this clock the hub's certificate is not valid ({begins:%Y-%m-%d} to {ends:%Y-%m-%d})."
    )
    return [
        problem("clock", words, "Set this machine's clock; or the hub was not started in years.")
    ]


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


def _membership(node: NodeHome, clock: Clock) -> list[Finding]:
    """Ask for the hub's time as the member that this node is."""
    try:
        with link_of(node, clock) as link:
            told = link.read(NOW, _MAX_NOW_BYTES) or b""
    except HubRefused as error:
        todo = "Ask the data authority: `fusion hub roster show` says who is a member."
        return [
            problem("hub", f"The hub does not count this node as a member: {error.message}", todo)
        ]
    except PartyUnreachable as error:
        msg = f"The hub answers, and does not let this node in: {error.message}"
        todo = "Was it admitted, or revoked? Do the clocks of both machines agree within 5 minutes?"
        return [problem("hub", msg, todo)]
    except FusionError as error:
        return [problem("hub", error.message, error.hint)]
    found = [ok("hub", f"{node.config.hub_url} answers and knows this node")]
    if told.isdigit():
        found.insert(0, clock_finding(datetime.fromtimestamp(int(told), UTC) - clock.now()))
    return found
