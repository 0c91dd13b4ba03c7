"""X.509 certificates of a federation: its CA, the hub's server, each member's client.

One private CA a federation, P-256 throughout, and no chain longer than two. A member's certificate
carries the SPIFFE name ``spiffe://FEDERATION/org/ID``. TLS accepts it because the CA signed it; the
hub serves it only if the roster has its fingerprint, so removing a member needs no revocation list.
"""

from __future__ import annotations

import ipaddress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fusion.crypto import rng
from fusion.errors import MessageInvalid, VerificationFailed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cryptography.hazmat.primitives.asymmetric import ec

AUTHORITY_YEARS: Final = 20
SERVER_DAYS: Final = 5 * 365
CLIENT_DAYS: Final = 365
_BACKDATE: Final = timedelta(minutes=5)
"""Clocks of two machines differ."""

_CA_USAGE: Final = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)
_LEAF_USAGE: Final = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)


def spiffe_name(federation: str, organisation: str) -> str:
    """Return a member's name as its certificate carries it."""
    return f"spiffe://{federation}/org/{organisation}"


def new_ca(federation: str, key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    """Return the self-signed certificate of a federation's CA."""
    name = _subject(f"{federation} CA")
    public = key.public_key()
    identifier = x509.SubjectKeyIdentifier.from_public_key(public)
    builder = _builder(name, name, public, now, timedelta(days=365 * AUTHORITY_YEARS))
    return (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_CA_USAGE, critical=True)
        .add_extension(identifier, critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )


class Issuer:
    """A federation's CA, able to issue."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        """Take the CA's certificate and its key.

        Raises:
            VerificationFailed: They do not belong together.
        """
        if certificate.public_key() != key.public_key():
            raise VerificationFailed("The CA's certificate and key do not belong together.")
        self._certificate = certificate
        self._key = key

    def server(
        self, hosts: Iterable[str], key: ec.EllipticCurvePublicKey, now: datetime
    ) -> x509.Certificate:
        """Return a server certificate for ``hosts``: DNS names and IP addresses."""
        names = [_general_name(host) for host in hosts]
        builder = self._leaf("hub", key, now, SERVER_DAYS)
        return (
            builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .sign(self._key, hashes.SHA256())
        )

    def client(
        self, federation: str, organisation: str, key: ec.EllipticCurvePublicKey, now: datetime
    ) -> x509.Certificate:
        """Return a member's client certificate."""
        name = x509.UniformResourceIdentifier(spiffe_name(federation, organisation))
        builder = self._leaf(organisation, key, now, CLIENT_DAYS)
        return (
            builder.add_extension(x509.SubjectAlternativeName([name]), critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .sign(self._key, hashes.SHA256())
        )

    def _leaf(
        self, common_name: str, key: ec.EllipticCurvePublicKey, now: datetime, days: int
    ) -> x509.CertificateBuilder:
        issuer = self._certificate
        subject = _subject(common_name)
        return (
            _builder(subject, issuer.subject, key, now, timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_LEAF_USAGE, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
        )


def pem(certificate: x509.Certificate) -> bytes:
    """Return a certificate in PEM form."""
    return certificate.public_bytes(Encoding.PEM)


def from_pem(data: bytes) -> x509.Certificate:
    """Read one certificate in PEM form.

    Raises:
        MessageInvalid: It is something else.
    """
    try:
        return x509.load_pem_x509_certificate(data)
    except ValueError:
        raise MessageInvalid("A certificate is not in PEM form.") from None


def fingerprint(certificate: x509.Certificate) -> str:
    """Return the SHA-256 of the certificate (DER), in hexadecimal."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def check_own_certificate(
    certificate: x509.Certificate, ca: x509.Certificate, key: ec.EllipticCurvePublicKey, name: str
) -> None:
    """Return if the CA issued ``certificate`` for this key and this SPIFFE name.

    Raises:
        VerificationFailed: It did not.
    """
    try:
        certificate.verify_directly_issued_by(ca)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (ValueError, TypeError, x509.ExtensionNotFound, InvalidSignature):
        raise VerificationFailed("The certificate is not issued by the federation's CA.") from None
    public = certificate.public_key()
    if public != key:
        raise VerificationFailed("The certificate is for another key than this node's.")
    if names.value.get_values_for_type(x509.UniformResourceIdentifier) != [name]:
        raise VerificationFailed("The certificate names another organisation than this node's.")


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: datetime,
    lifetime: timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(1 + rng.bits(159))
        .not_valid_before(now - _BACKDATE)
        .not_valid_after(now + lifetime)
    )


def _subject(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
