"""The data authority's folder: made, its own certificates renewed, its one port put together.

The hub's folder holds the federation's authority: the Ed25519 key that signs trust and roster, and
the CA of the hub's own server certificate. It issues nothing for members, each of which has a CA of
its own, and never holds a share of a decryption key.
"""

from __future__ import annotations

import ipaddress
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from fusion.crypto.signing import SigningKey
from fusion.identity import certificates, keys
from fusion.identity.roster import Roster, sign_roster
from fusion.identity.trust import Address, Trust, sign_trust
from fusion.services.clock import SystemClock, timestamp
from fusion.services.files import (
    make_folder,
    new_home,
    read_file,
    readable_name,
    toml_text,
    write_atomic,
)
from fusion.services.homes import HUB_FILE, HubConfig, HubHome
from fusion.services.ledger import Book
from fusion.types import org_id

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

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
    passphrase: bytes | None = None,
    clock: Clock | None = None,
) -> Invitation:
    """Make a hub: keys, certificates, a trust document, an empty roster.

    Args:
        path: A new or empty folder.
        federation: Identifier of the federation, part of every certificate; DNS characters.
        address: Host and port of the one port, as nodes dial it.
        name: Of the federation, for people.
        passphrase: Encrypts the hub's private keys; None leaves them readable.
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
    home = HubHome(new_home(path, HUB_FILE, "hub"), config, passphrase)
    now = (clock or SystemClock()).now()
    authority = SigningKey.generate()
    for folder in (home.keys, home.superlink, home.runs):
        make_folder(folder)
    make_folder(home.paillier)
    home.key_folder.write("authority", authority)
    write_atomic(home.authority_file, f"{authority.public.hex}\n".encode(), 0o644)
    _write_ca(home, now)
    trust = Trust(
        federation=config.federation,
        name=config.name,
        authority_key=authority.public,
        ca_pem=home.ca.read_text("ascii"),
        address=config.address,
    )
    write_atomic(home.trust_file, sign_trust(trust, authority))
    # After it: the hub's certificate carries it.
    _write_server_certificate(home, now)
    _write_superlink_certificate(home, now)
    _write_first_epoch(home, authority, now)
    # Last: with this file the folder is a hub.
    write_atomic(path / HUB_FILE, toml_text(config.model_dump()))
    with Book(home, clock) as book:
        book.see_roster()
    return home.invitation


def _write_first_epoch(home: HubHome, authority: SigningKey, now: datetime) -> None:
    empty = Roster(
        federation=home.config.federation,
        epoch=1,
        issued_at=timestamp(now),
        authority_key=authority.public,
        members=(),
    )
    home.keep_epoch(empty, sign_roster(empty, authority))


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
    home.key_folder.write("ca", key)
    write_atomic(home.ca, certificates.pem(certificate))


def _write_server_certificate(home: HubHome, now: datetime) -> None:
    issuer = certificates.Issuer(
        certificates.from_pem(home.ca.read_bytes()), home.key_folder.tls("ca")
    )
    key = keys.new_tls_key()
    hosts = dict.fromkeys((home.address.host, *_LOOPBACK))
    certificate = issuer.server(hosts, key.public_key(), now, read_file(home.trust_file))
    home.key_folder.write("server", key)
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


def _expires_soon(certificate: Path, now: datetime) -> bool:
    loaded = certificates.from_pem(certificate.read_bytes())
    return loaded.not_valid_after_utc - now < RENEWED_BEFORE
