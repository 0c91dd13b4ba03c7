"""The rules of the hub's one port: who may ask for what. No connection is handled here."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final

from fusion.errors import CertificateInvalid, MemberRevoked, UnknownOrganisation
from fusion.identity.callers import caller
from fusion.identity.roster import open_roster
from fusion.wire import limits

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import h11

    from fusion.crypto.signing import VerifyKey
    from fusion.identity.members import Member
    from fusion.identity.roster import Roster
    from fusion.identity.trust import Address
    from fusion.link.bell import Bell
    from fusion.ports import Clock

_LOG: Final = logging.getLogger("banyan.front")

FLEET_PATHS: Final = frozenset(
    f"/v1/fleet/{name}".encode()
    for name in (
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
FLEET_KEY_HEADER: Final = b"flwr-public-key"


WITNESS_PATH: Final = b"/v1/federation/witness"
"""Where a member hands in checkpoints and cosignatures, and reads those of others."""

_ENROLMENT = re.compile(rb"/v1/federation/enrolment/([0-9a-f]{64})")
_WITNESS = re.compile(WITNESS_PATH + rb"(?:/([a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontLimits:
    """How long and how much.

    Attributes:
        handshake: Seconds for a TLS handshake.
        idle: Seconds that a member's connection may be silent between two requests.
        stranger: Seconds that anybody else's connection may.
        head: Seconds from the first byte of a request to the end of its headers.
        stall: Seconds without progress within a body, either way.
        answer: Seconds for the SuperLink to answer.
        hold: Seconds for which a member that found nothing to pull is kept waiting for a ring.
        linger: Seconds for which a refused caller may go on sending, so that it reads the refusal.
        body: Bytes of a request's body.
        connections: Connections at a time.
        unknown: Connections one address may have before it is known who calls.
        a_member: Connections one member may have.
    """

    handshake: float = 10.0
    idle: float = 90.0
    stranger: float = 10.0
    head: float = 10.0
    stall: float = 30.0
    answer: float = 60.0
    hold: float = 2.0
    linger: float = 2.0
    body: int = limits.MAX_BODY_BYTES
    connections: int = limits.MAX_CONNECTIONS
    unknown: int = limits.MAX_CONNECTIONS_A_CALLER
    a_member: int = limits.MAX_CONNECTIONS_A_MEMBER


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontConfig:
    """What the port serves.

    Attributes:
        listen: Where to bind.
        certificate: The hub's server certificate.
        key: Its private key.
        passphrase: Opens that, if it is encrypted.
        trust: The signed trust document.
        roster: The signed roster; read again when it changes.
        authority: Verifies the roster.
        admitted: Folder of marks for admitted requests, by their digest: ``SHA256.admitted``.
        superlink_port: Where the SuperLink is, on loopback.
        superlink_ca: Its throw-away CA.
        requests_bell: Rings when there is something for nodes to pull.
        replies_bell: Is rung when a node has pushed something.
        witness: Folder with ``index.json`` and, of each log, ``ID.json``.
        deliver: Takes what a member hands in for it: the member's identifier and the bytes.
        clock: For the date in the port's own answers, with which a node compares its own.
        limits: How long and how much.
    """

    listen: Address
    certificate: Path
    key: Path
    passphrase: bytes | None
    trust: Path
    roster: Path
    authority: VerifyKey
    admitted: Path
    superlink_port: int
    superlink_ca: Path
    requests_bell: Bell
    replies_bell: Bell
    witness: Path
    deliver: Callable[[str, bytes], None]
    clock: Clock
    limits: FrontLimits = field(default_factory=FrontLimits)


class Refusal(Exception):
    """An answer that says no.

    Attributes:
        status: Of HTTP.
        rule: Which rule; stable, for scripts.
        message: The rule in words.
    """

    def __init__(self, status: int, rule: str, message: str) -> None:
        """Keep what is answered."""
        super().__init__(message)
        self.status = status
        self.rule = rule
        self.message = message


class Route(Enum):
    """What a permitted request asks for."""

    TRUST = "trust"
    ENROLMENT = "enrolment"
    ROSTER = "roster"
    FLEET = "fleet"
    WITNESS = "witness"
    HAND_IN = "hand-in"


def permit(request: h11.Request, member: Member | None, body_limit: int) -> tuple[Route, str]:
    """Decide on a request from its head.

    Args:
        request: Its method, target and headers.
        member: Whose certificate the connection shows, if it is a member's.
        body_limit: Greatest body in bytes.

    Returns:
        What it asks for; with an enrolment, the digest of the request for admission; with a log,
        whose.

    Raises:
        Refusal: The request is not one of those permitted.
    """
    headers = dict(request.headers)
    if len(headers) != len(list(request.headers)):
        raise Refusal(400, "headers", "A header is given twice.")
    if b"transfer-encoding" in headers or b"upgrade" in headers:
        raise Refusal(400, "headers", "Transfer codings and upgrades are not accepted.")
    if request.method == b"GET":
        return _permit_get(request.target, headers, member)
    if member is None:
        raise _no_member()
    if request.method == b"POST" and request.target == WITNESS_PATH:
        _check_length(headers, min(body_limit, limits.MAX_WITNESS_PACKET_BYTES))
        return Route.HAND_IN, ""
    if request.method != b"POST" or request.target not in FLEET_PATHS:
        raise Refusal(403, "path", "This method and path are not served here.")
    if headers.get(FLEET_KEY_HEADER) != member.fleet_key.encode():
        raise Refusal(403, "fleet-key", "The fleet key is not that of the certificate's member.")
    _check_length(headers, body_limit)
    return Route.FLEET, ""


def _check_length(headers: dict[bytes, bytes], most: int) -> None:
    if b"content-length" not in headers:
        raise Refusal(411, "length", "A body needs a content-length.")
    if int(headers[b"content-length"]) > most:
        raise Refusal(413, "size", f"A body may have {most} bytes.")


def _permit_get(
    target: bytes, headers: dict[bytes, bytes], member: Member | None
) -> tuple[Route, str]:
    if int(headers.get(b"content-length", b"0")):
        raise Refusal(413, "size", "A GET has no body here.")
    if target == b"/v1/federation":
        return Route.TRUST, ""
    if found := _ENROLMENT.fullmatch(target):
        return Route.ENROLMENT, found[1].decode()
    if member is None:
        raise _no_member()
    if target == b"/v1/federation/roster":
        return Route.ROSTER, ""
    if found := _WITNESS.fullmatch(target):
        return Route.WITNESS, (found[1] or b"index").decode()
    raise Refusal(403, "path", "This method and path are not served here.")


def _no_member() -> Refusal:
    return Refusal(403, "member", "This needs the certificate of a member on the current roster.")


class RosterFile:
    """The roster, read again when its file was replaced."""

    def __init__(self, path: Path, authority: VerifyKey, clock: Clock) -> None:
        """Take the file; it is read when it is first needed."""
        self._path = path
        self._authority = authority
        self._clock = clock
        self._seen: tuple[int, int, int] | None = None
        self._roster: Roster | None = None

    def current(self) -> Roster:
        """Return the roster as it is now.

        Raises:
            OSError: The file can't be read.
            fusion.errors.FusionError: What is in it is no roster signed by the authority.
        """
        found = self._path.stat()
        version = (found.st_mtime_ns, found.st_size, found.st_ino)
        if self._roster is None or version != self._seen:
            self._roster = open_roster(self._path.read_bytes(), self._authority)
            self._seen = version
        return self._roster

    def member(self, leaf: bytes | None) -> Member | None:
        """Return for whom the certificate of a connection speaks, if for anybody.

        Raises:
            OSError: The file can't be read.
            fusion.errors.FusionError: What is in it is no roster signed by the authority.
        """
        if leaf is None:
            return None
        roster = self.current()
        try:
            return caller(roster, leaf, self._clock.now())
        except (CertificateInvalid, UnknownOrganisation, MemberRevoked) as error:
            _LOG.info("a certificate is not a member's: %s", error.message)
            return None
