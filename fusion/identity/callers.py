"""Who calls: from the leaf certificate that a connection shows to a member of the roster.

TLS shows that the caller has the leaf's key and that *some* member's CA issued it. The rest is
decided here: every organisation has its own CA, and each of them could put any name into a leaf.
A name counts only if the CA of the very member it names has signed it. Library verifiers are no
help: cryptography's refuses URI name constraints (RFC 5280, 4.2.1.10), gRPC compares no URI.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import ExtendedKeyUsageOID

from fusion.errors import CertificateInvalid, InputInvalid
from fusion.identity import certificates
from fusion.types import org_id

if TYPE_CHECKING:
    from datetime import datetime

    from fusion.identity.members import Member
    from fusion.identity.roster import Roster

_BOTH: Final = {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH}


def caller(roster: Roster, leaf_der: bytes, now: datetime) -> Member:
    """Return the member for whom a leaf certificate speaks (SPIFFE X.509-SVID, sections 2 to 5).

    Args:
        roster: Who is a member, with which CA.
        leaf_der: The certificate that the connection showed, whose key TLS has checked.
        now: Time.

    Raises:
        CertificateInvalid: It is no leaf: not decodable, not P-256, a CA, without exactly one
            SPIFFE name of this federation, valid for too long or not now, or not issued by the CA
            of the member that it names.
        UnknownOrganisation: It names an organisation that the roster does not.
        MemberRevoked: That organisation was revoked, or is outside of its validity.
    """
    leaf = certificates.from_der(leaf_der)
    certificates.p256(leaf)
    member = roster.member(_named(roster.federation, leaf))
    member.check_valid(now)
    authority = certificates.organisation_ca(member.ca, member.id)
    try:
        leaf.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        raise CertificateInvalid(
            f"A certificate names {member.id}, whose CA did not issue it."
        ) from None
    _check_leaf(leaf)
    _check_time(leaf, now)
    _check_time(authority, now)
    return member


def _named(federation: str, leaf: x509.Certificate) -> str:
    """Return the organisation of the one SPIFFE name in a leaf."""
    uri = certificates.spiffe_of(leaf)
    prefix = certificates.spiffe_name(federation, "")
    if not uri.startswith(prefix):
        raise CertificateInvalid(f"A certificate is not of the federation {federation}.")
    try:
        return org_id(uri.removeprefix(prefix))
    except InputInvalid:
        raise CertificateInvalid("A certificate's SPIFFE name names no organisation.") from None


def _check_leaf(leaf: x509.Certificate) -> None:
    try:
        extensions = leaf.extensions
        basic = extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = extensions.get_extension_for_class(x509.KeyUsage).value
        extended = set(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension):
        raise CertificateInvalid("A certificate does not say what it is for.") from None
    if basic.ca or usage.key_cert_sign or not usage.digital_signature or extended != _BOTH:
        raise CertificateInvalid("A certificate is not a leaf for both ends of a connection.")
    lifetime = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    if lifetime > certificates.MAX_LEAF_LIFETIME:
        raise CertificateInvalid(
            f"A certificate is valid for {lifetime}; {certificates.MAX_LEAF_LIFETIME} is the limit."
        )


def _check_time(certificate: x509.Certificate, now: datetime) -> None:
    if now < certificate.not_valid_before_utc:
        raise CertificateInvalid(
            f"A certificate is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M}.",
            hint="Compare the clocks of the two machines.",
        )
    if now > certificate.not_valid_after_utc:
        raise CertificateInvalid(
            f"A certificate expired on {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC.",
            hint="The node renews it by itself; is its clock right?",
        )
