"""The data authority's verbs: make a hub, admit an organisation.

The hub's folder holds the federation's authority: the Ed25519 key that signs trust and roster, and
the CA of its TLS. It never holds a share of a decryption key.
"""

from __future__ import annotations

import ipaddress
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from fusion.crypto.signing import SigningKey
from fusion.errors import Refused
from fusion.identity import certificates, keys
from fusion.identity.request import open_request
from fusion.identity.roster import Member, Roster, sign_roster
from fusion.identity.trust import Address, Trust, sign_trust
from fusion.link.bell import Bell
from fusion.link.front import Front
from fusion.link.rules import FrontConfig, FrontLimits
from fusion.services.clock import SystemClock, timestamp
from fusion.services.homes import (
    HUB_FILE,
    HubConfig,
    HubHome,
    make_folder,
    new_home,
    readable_name,
    toml_text,
    write_atomic,
)
from fusion.types import org_id
from fusion.wire.limits import MAX_MEMBERS

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from fusion.identity.request import Request
    from fusion.identity.trust import Invitation
    from fusion.ports import Clock

RENEWED_BEFORE: Final = timedelta(days=60)
"""A certificate with less time left than this is issued anew when there is an occasion."""

_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


def init(
    path: Path,
    *,
    federation: str = "federation.local",
    address: str = "127.0.0.1:8443",
    name: str = "",
    clock: Clock | None = None,
) -> Invitation:
    """Make a hub: keys, certificates, a trust document, an empty roster.

    Args:
        path: A new or empty folder.
        federation: Identifier of the federation, part of every certificate; DNS characters.
        address: Host and port of the one port, as nodes dial it.
        name: Of the federation, for people.
        clock: Time.

    Returns:
        What organisations are invited with.

    Raises:
        InputInvalid: The folder is in use, or an argument is not what it should be.
        EnvironmentUnfit: The folder can't be made.
    """
    where = Address.parse(address)
    config = HubConfig(
        federation=org_id(federation),
        name=readable_name(name),
        address=str(where),
        listen=_listen(where),
    )
    home = HubHome(new_home(path, HUB_FILE, "hub"), config)
    now = (clock or SystemClock()).now()
    authority = SigningKey.generate()
    for folder in (home.keys, home.superlink, home.admitted, home.requests, home.runs):
        make_folder(folder)
    make_folder(home.paillier)
    write_atomic(home.keys / "authority.pem", keys.signing_pem(authority))
    _write_ca(home, now)
    _write_server_certificate(home, now)
    _write_superlink_certificate(home, now)
    trust = Trust(
        federation=config.federation,
        name=config.name,
        authority_key=authority.public,
        ca_pem=home.ca.read_text("ascii"),
        address=config.address,
    )
    write_atomic(home.trust_file, sign_trust(trust, authority))
    empty = Roster(
        federation=config.federation, epoch=1, authority_key=authority.public, members=()
    )
    write_atomic(home.roster_file, sign_roster(empty, authority))
    # Last: with this file the folder is a hub.
    write_atomic(path / HUB_FILE, toml_text(config.model_dump()))
    return home.invitation


def admit(hub: HubHome, request_pem: bytes, *, clock: Clock | None = None) -> Member:
    """Put an organisation on the roster, and issue its certificate.

    Admitting the same request again changes nothing, unless the certificate is about to expire.
    The same organisation may ask again with a new TLS key; its other keys have to be the same.

    Raises:
        MessageInvalid: It is no well-formed request.
        SignatureInvalid: It is not signed by the keys that it presents.
        Refused: The organisation is a member with other keys, or a key is another member's.
    """
    request = open_request(request_pem)
    now = (clock or SystemClock()).now()
    with hub.lock():
        roster = hub.roster()
        known = next((m for m in roster.members if m.id == request.id), None)
        _check_admissible(request, roster, known)
        if known is not None and _still_good(hub, request, known, now):
            return known
        issuer = certificates.Issuer(
            certificates.from_pem(hub.ca.read_bytes()), keys.tls_from_pem(hub.ca_key.read_bytes())
        )
        certificate = issuer.client(roster.federation, request.id, request.tls_key, now)
        member = Member(
            id=request.id,
            name=request.name,
            statement_key=request.statement_key,
            sealing_key=request.sealing_key,
            fleet_key=request.fleet_key,
            tls_fingerprint=certificates.fingerprint(certificate),
            admitted_at=known.admitted_at if known is not None else timestamp(now),
        )
        data = certificates.pem(certificate)
        write_atomic(hub.admitted / f"{member.id}.pem", data)
        signed = sign_roster(roster.with_member(member), hub.authority_key)
        write_atomic(hub.roster_file, signed)
        # Last: the node is told of its certificate when the roster that lists it is there.
        write_atomic(_issued(hub, request), data)
        return member


def renew_certificates(hub: HubHome, *, clock: Clock | None = None) -> bool:
    """Issue the hub's own certificates anew if they are about to expire; say whether they were.

    Call it before serving. Nodes trust the CA and notice nothing.
    """
    now = (clock or SystemClock()).now()
    if not _expires_soon(hub.server_certificate, now):
        return False
    _write_server_certificate(hub, now)
    _write_superlink_certificate(hub, now)
    return True


def front_of(hub: HubHome, superlink_port: int, limits: FrontLimits | None = None) -> Front:
    """Return the hub's one port, not yet opened.

    Args:
        hub: Its folder.
        superlink_port: Where the SuperLink is, on loopback.
        limits: Others than the usual ones.

    Raises:
        EnvironmentUnfit: A certificate is missing or can't be used.
    """
    config = FrontConfig(
        listen=hub.listen,
        ca=hub.ca,
        certificate=hub.server_certificate,
        key=hub.server_key,
        trust=hub.trust_file,
        roster=hub.roster_file,
        authority=hub.authority_key.public,
        issued=hub.requests,
        superlink_port=superlink_port,
        superlink_ca=hub.superlink_ca,
        requests_bell=Bell(hub.requests_bell),
        replies_bell=Bell(hub.replies_bell),
        clock=SystemClock(),
        limits=limits or FrontLimits(),
    )
    return Front(config)


def _listen(address: Address) -> str:
    """A name may lead to another machine's address (NAT, containers): bind everything then."""
    if address.host == "localhost":
        return str(Address("127.0.0.1", address.port))
    try:
        ipaddress.ip_address(address.host)
    except ValueError:
        return str(Address("0.0.0.0", address.port))  # noqa: S104 - the hub's one public port
    return str(address)


def _write_ca(home: HubHome, now: datetime) -> None:
    key = keys.new_tls_key()
    certificate = certificates.new_ca(home.config.federation, key, now)
    write_atomic(home.ca_key, keys.tls_pem(key))
    write_atomic(home.ca, certificates.pem(certificate))


def _write_server_certificate(home: HubHome, now: datetime) -> None:
    issuer = certificates.Issuer(
        certificates.from_pem(home.ca.read_bytes()), keys.tls_from_pem(home.ca_key.read_bytes())
    )
    key = keys.new_tls_key()
    hosts = dict.fromkeys((home.address.host, *_LOOPBACK))
    certificate = issuer.server(hosts, key.public_key(), now)
    write_atomic(home.server_key, keys.tls_pem(key))
    write_atomic(home.server_certificate, certificates.pem(certificate))


def _write_superlink_certificate(home: HubHome, now: datetime) -> None:
    """Flower's SuperLink checks node keys over TLS only; on loopback, with a CA of its own.

    That CA's key is dropped here, so nothing else can be issued under it.
    """
    ca_key, key = keys.new_tls_key(), keys.new_tls_key()
    ca = certificates.new_ca("superlink", ca_key, now)
    leaf = certificates.Issuer(ca, ca_key).server(_LOOPBACK, key.public_key(), now)
    write_atomic(home.superlink_ca, certificates.pem(ca))
    write_atomic(home.superlink_key, keys.tls_pem(key))
    write_atomic(home.superlink_certificate, certificates.pem(leaf))


def _check_admissible(request: Request, roster: Roster, known: Member | None) -> None:
    if known is not None and _keys(known) != _keys(request):
        raise Refused(
            f"{request.id} is a member with other keys.",
            hint="A member's keys are not replaced by a request. Ask the organisation by another "
            "channel, and have it use the node folder that it was admitted with.",
        )
    for other in roster.members:
        if other.id != request.id and set(_keys(other)) & set(_keys(request)):
            raise Refused(
                f"A key in the request of {request.id} is already that of {other.id}.",
                hint="Every organisation makes its own keys with `fusion node init`.",
            )
    if known is None and len(roster.members) >= MAX_MEMBERS:
        raise Refused(f"A federation has at most {MAX_MEMBERS} members.")
    if roster.authority_key == request.statement_key:
        raise Refused("A request carries the authority's own key.")


def _keys(of: Member | Request) -> tuple[str, str, str]:
    return of.statement_key.hex, of.sealing_key.hex, of.fleet_key


def _still_good(hub: HubHome, request: Request, known: Member, now: datetime) -> bool:
    """Whether the certificate issued for this very request is the member's, and lasts."""
    issued = _issued(hub, request)
    if not issued.exists() or _expires_soon(issued, now):
        return False
    found = certificates.fingerprint(certificates.from_pem(issued.read_bytes()))
    return found == known.tls_fingerprint


def _issued(hub: HubHome, request: Request) -> Path:
    return hub.requests / f"{request.digest}.pem"


def _expires_soon(certificate: Path, now: datetime) -> bool:
    loaded = certificates.from_pem(certificate.read_bytes())
    return loaded.not_valid_after_utc - now < RENEWED_BEFORE
