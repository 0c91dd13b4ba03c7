"""X.509 certificates of a federation: each organisation's own CA and its leaves, the hub's server.

P-256 throughout (RFC 5480), no common root, and no chain longer than two. Every organisation has a
CA of its own, which the roster names, and issues itself short-lived leaves with the SPIFFE name
``spiffe://FEDERATION/org/ID``. The federation's CA issues the hub's server certificate and nothing
else. Who a leaf speaks for is decided in :mod:`fusion.identity.callers`, never by TLS alone.
"""

from __future__ import annotations

import functools
import ipaddress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fusion.crypto import rng
from fusion.errors import CertificateInvalid, MessageInvalid, VerificationFailed
from fusion.wire.limits import MAX_CERTIFICATE_BYTES, MAX_REQUEST_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable

AUTHORITY_YEARS: Final = 20
SERVER_DAYS: Final = 5 * 365
ORGANISATION_YEARS: Final = 10
LEAF_LIFETIME: Final = timedelta(hours=24)
"""So short that a stolen leaf is soon worth nothing, and no revocation list is needed for it."""
_BACKDATE: Final = timedelta(minutes=5)
"""Clocks of two machines differ."""

MAX_LEAF_LIFETIME: Final = LEAF_LIFETIME + _BACKDATE
NODE_DOMAIN: Final = "node.fusion.internal"
"""DNS names of nodes end in this: gRPC compares DNS names and no URIs (RFC 6125, 6.4)."""

_TRUST: Final = x509.ObjectIdentifier("2.25.176514390225187428034210986152463302719")
"""The hub's trust document in its certificate. Under 2.25 anybody makes identifiers (X.667)."""

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


def spiffe_of(leaf: x509.Certificate) -> str:
    """Return the one SPIFFE name of a certificate.

    Raises:
        CertificateInvalid: It has none, or several.
    """
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        (uri,) = names.get_values_for_type(x509.UniformResourceIdentifier)
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension):
        raise CertificateInvalid("A certificate has not exactly one SPIFFE name.") from None
    return uri


def node_host(organisation: str) -> str:
    """Return the DNS name of an organisation's node: in its leaf, and nowhere in the DNS."""
    return f"{organisation}.{NODE_DOMAIN}"


def new_ca(federation: str, key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    """Return the self-signed certificate of a federation's CA, for the hub's server."""
    return _new_ca(_subject(f"{federation} CA"), key, now, AUTHORITY_YEARS)


def new_organisation_ca(
    organisation: str, key: ec.EllipticCurvePrivateKey, now: datetime
) -> x509.Certificate:
    """Return the self-signed certificate of an organisation's own CA."""
    return _new_ca(_organisation_subject(organisation, "CA"), key, now, ORGANISATION_YEARS)


def _new_ca(
    name: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, years: int
) -> x509.Certificate:
    public = key.public_key()
    identifier = x509.SubjectKeyIdentifier.from_public_key(public)
    builder = _builder(name, name, public, now, timedelta(days=365 * years))
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
    """A CA, able to issue."""

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
        self,
        hosts: Iterable[str],
        key: ec.EllipticCurvePublicKey,
        now: datetime,
        trust: bytes | None = None,
    ) -> x509.Certificate:
        """Return a server certificate.

        Args:
            hosts: DNS names and IP addresses.
            key: The server's.
            now: Time.
            trust: A signed trust document, for :func:`trust_of`.
        """
        names = [_general_name(host) for host in hosts]
        builder = self._leaf(_subject("hub"), key, now, timedelta(days=SERVER_DAYS))
        if trust is not None:
            carried = x509.UnrecognizedExtension(_TRUST, trust)
            builder = builder.add_extension(carried, critical=False)
        return (
            builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .sign(self._key, hashes.SHA256())
        )

    def leaf(
        self, federation: str, organisation: str, key: ec.EllipticCurvePublicKey, now: datetime
    ) -> x509.Certificate:
        """Return a member's certificate, for both ends of a connection.

        The DNS name is there for TLS libraries that compare no URI; only the SPIFFE name counts.
        """
        names = [
            x509.UniformResourceIdentifier(spiffe_name(federation, organisation)),
            x509.DNSName(node_host(organisation)),
        ]
        both = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
        subject = _organisation_subject(organisation, "node")
        return (
            self._leaf(subject, key, now, LEAF_LIFETIME)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.ExtendedKeyUsage(both), critical=False)
            .sign(self._key, hashes.SHA256())
        )

    def _leaf(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePublicKey,
        now: datetime,
        lifetime: timedelta,
    ) -> x509.CertificateBuilder:
        issuer = self._certificate
        return (
            _builder(subject, issuer.subject, key, now, lifetime)
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


def der(certificate: x509.Certificate) -> bytes:
    """Return a certificate in DER form."""
    return certificate.public_bytes(Encoding.DER)


def from_der(data: bytes) -> x509.Certificate:
    """Read one certificate in DER form.

    Raises:
        CertificateInvalid: Too large, or something else.
    """
    if len(data) > MAX_CERTIFICATE_BYTES:
        raise CertificateInvalid(f"A certificate has more than {MAX_CERTIFICATE_BYTES} bytes.")
    try:
        return x509.load_der_x509_certificate(data)
    except ValueError:
        raise CertificateInvalid("A certificate is not in DER form.") from None


def trust_of(data: bytes) -> bytes:
    """Return the signed trust document that the hub's certificate (DER) carries, not verified.

    Raises:
        CertificateInvalid: It carries none, or is no certificate.
    """
    if len(data) > MAX_REQUEST_BYTES:
        raise CertificateInvalid(f"A certificate has more than {MAX_REQUEST_BYTES} bytes.")
    try:
        found = x509.load_der_x509_certificate(data).extensions.get_extension_for_oid(_TRUST).value
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension):
        found = None
    if not isinstance(found, x509.UnrecognizedExtension):
        raise CertificateInvalid(
            "What answers is no hub: its certificate carries no trust document.",
            hint="Ask the data authority for its invitation again.",
        )
    return found.value


def check_server(data: bytes, ca_pem: str) -> None:
    """Return if the hub's certificate (DER) was issued by the federation's CA.

    Raises:
        VerificationFailed: It was not.
    """
    try:
        x509.load_der_x509_certificate(data).verify_directly_issued_by(from_pem(ca_pem.encode()))
    except (ValueError, TypeError, InvalidSignature):
        raise VerificationFailed("The hub's certificate is not of this federation.") from None


@functools.lru_cache(maxsize=4096)
def organisation_ca(data: bytes, organisation: str) -> x509.Certificate:
    """Read an organisation's CA certificate (RFC 5280, 4.2.1.9) and refuse any other.

    Its subject and key identifier are prescribed: a TLS library looks an issuer up by them, and
    nobody may have it find another organisation's CA in place of the right one.

    Raises:
        CertificateInvalid: It is no self-signed P-256 CA of this organisation.
    """
    certificate = from_der(data)
    refusal = CertificateInvalid(f"{organisation[:80]!r} has no CA certificate of its own making.")
    try:
        certificate.verify_directly_issued_by(certificate)
        extensions = certificate.extensions
        basic = extensions.get_extension_for_class(x509.BasicConstraints)
        usage = extensions.get_extension_for_class(x509.KeyUsage)
        identifier = extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        public = p256(certificate)
    except (ValueError, TypeError, x509.ExtensionNotFound, InvalidSignature):
        raise refusal from None
    own = x509.SubjectKeyIdentifier.from_public_key(public)
    if (
        certificate.subject != _organisation_subject(organisation, "CA")
        or not (basic.critical and basic.value.ca and basic.value.path_length == 0)
        or not (usage.critical and usage.value == _CA_USAGE)
        or identifier != own
    ):
        raise refusal
    return certificate


def p256(certificate: x509.Certificate) -> ec.EllipticCurvePublicKey:
    """Return the key of a certificate.

    Raises:
        CertificateInvalid: It is not a P-256 key.
    """
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise CertificateInvalid("A certificate's key is not a P-256 key.")
    return key


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


def _organisation_subject(organisation: str, common_name: str) -> x509.Name:
    """Not the same for a CA and its leaf: a certificate whose issuer is its subject is a root."""
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
