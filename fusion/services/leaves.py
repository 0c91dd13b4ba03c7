"""A node's certificate of the day: issued by its own organisation's CA, renewed by itself.

No hub is asked. A leaf is renewed in the second half of its life, whenever a connection is about
to be made or :func:`ensure_leaf` is called; key and certificate are one file, replaced whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from fusion.errors import CertificateInvalid, FusionError
from fusion.identity import certificates
from fusion.identity.keys import new_tls_key, tls_from_pem
from fusion.services.files import read_file, write_atomic

if TYPE_CHECKING:
    from datetime import datetime

    from cryptography import x509

    from fusion.services.organisations import OrgHome

_LOCK: Final = ".leaf.lock"


def ensure_leaf(home: OrgHome, federation: str, now: datetime) -> str:
    """Renew the leaf if it is due; return its serial number, by which a new one is noticed.

    Args:
        home: The organisation's folder.
        federation: Whose name goes into it.
        now: Time.

    Raises:
        EnvironmentUnfit: A file can't be read or written.
        KeyRefused: The passphrase is wrong.
    """
    with home.lock(_LOCK):
        current = _current(home)
        if current is None or _due(home, current, federation, now):
            current = _issue(home, federation, now)
        return f"{current.serial_number:x}"


def leaf_pems(home: OrgHome, federation: str, now: datetime) -> tuple[bytes, bytes]:
    """Return the leaf's certificate and private key, as TLS libraries take them from memory.

    The key is not encrypted: it must not be written anywhere.

    Raises:
        EnvironmentUnfit: A file can't be read or written.
        KeyRefused: The passphrase is wrong.
    """
    ensure_leaf(home, federation, now)
    data = read_file(home.leaf)
    key = home.key_folder.opened(tls_from_pem, data)
    plain = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificates.pem(certificates.from_pem(data)), plain


def _current(home: OrgHome) -> x509.Certificate | None:
    try:
        return certificates.from_pem(read_file(home.leaf))
    except FusionError:
        return None  # none yet, or damaged: a new one is made in its place


def _due(home: OrgHome, leaf: x509.Certificate, federation: str, now: datetime) -> bool:
    """Whether a leaf is past half of its life, of another federation, or of another CA."""
    begins, ends = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    if not begins <= now < begins + (ends - begins) / 2:
        return True
    try:
        if certificates.spiffe_of(leaf) != certificates.spiffe_name(
            federation, home.org_config().id
        ):
            return True
        leaf.verify_directly_issued_by(certificates.from_pem(read_file(home.org_ca)))
    except (CertificateInvalid, ValueError, TypeError, InvalidSignature):
        return True
    return False


def _issue(home: OrgHome, federation: str, now: datetime) -> x509.Certificate:
    key = new_tls_key()
    organisation = home.org_config().id
    leaf = home.issuer().leaf(federation, organisation, key.public_key(), now)
    write_atomic(home.leaf, home.key_folder.pem(key) + certificates.pem(leaf))
    return leaf
