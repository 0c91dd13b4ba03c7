"""Who calls: only the CA of the very member that a leaf names can speak for it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from fusion.crypto.signing import SigningKey
from fusion.errors import CertificateInvalid, FusionError, MemberRevoked, UnknownOrganisation
from fusion.identity import certificates
from fusion.identity.callers import caller
from fusion.identity.keys import new_tls_key
from fusion.identity.roster import Roster
from tests.members import SINCE, Keys

NOW = datetime(2026, 11, 25, 8, 0, tzinfo=UTC)
OWN, OTHER = Keys("a.example"), Keys("b.example")
A, B = OWN.member(), OTHER.member()
ROSTER = Roster(
    federation="city.example",
    epoch=1,
    issued_at=SINCE,
    authority_key=SigningKey.generate().public,
    members=(A, B),
)
KEY = new_tls_key()
NAME = "spiffe://city.example/org/a.example"


def issuer(ca: bytes, keys: Keys) -> certificates.Issuer:
    return certificates.Issuer(certificates.from_der(ca), keys.authority)


LEAF = issuer(A.ca, OWN).leaf("city.example", "a.example", KEY.public_key(), NOW)
DER = certificates.der(LEAF)


def leaf(
    uris: tuple[str, ...] = (NAME,),
    *,
    by: Keys = OWN,
    issued: x509.Certificate | None = None,
    key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | None = None,
    lifetime: timedelta = timedelta(hours=24),
    ca: bool = False,
    usages: tuple[x509.ObjectIdentifier, ...] = (
        ExtendedKeyUsageOID.CLIENT_AUTH,
        ExtendedKeyUsageOID.SERVER_AUTH,
    ),
    leave_out: type[x509.ExtensionType] | None = None,
) -> bytes:
    """A leaf as a hostile CA could make it."""
    authority = issued or certificates.from_der({OWN: A, OTHER: B}[by].ca)
    names = [x509.UniformResourceIdentifier(uri) for uri in uris]
    extensions: list[x509.ExtensionType] = [
        x509.BasicConstraints(ca=ca, path_length=None),
        x509.KeyUsage(
            digital_signature=True, content_commitment=False, key_encipherment=False,
            data_encipherment=False, key_agreement=False, key_cert_sign=ca, crl_sign=False,
            encipher_only=False, decipher_only=False,
        ),
        x509.ExtendedKeyUsage(usages),
        x509.SubjectAlternativeName([*names, x509.DNSName("a.example.node.fusion.internal")]),
    ]  # fmt: skip
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(authority.subject)
        .public_key(key or KEY.public_key())
        .serial_number(7)
        .not_valid_before(NOW - timedelta(minutes=5))
        .not_valid_after(NOW - timedelta(minutes=5) + lifetime)
    )
    for extension in extensions:
        if leave_out is None or not isinstance(extension, leave_out):
            builder = builder.add_extension(extension, critical=False)
    made = builder.sign(by.authority, hashes.SHA256())
    return certificates.der(made)


def test_a_members_leaf_speaks_for_it() -> None:
    assert caller(ROSTER, DER, NOW) == A
    assert caller(ROSTER, leaf(), NOW) == A


REFUSED = {
    "another organisation's CA with this one's name": leaf(by=OTHER),
    "this organisation's CA with another one's name": leaf(
        ("spiffe://city.example/org/b.example",)
    ),
    "self-signed": certificates.der(certificates.from_der(Keys("a.example").ca)),
    "the CA itself": A.ca,
    "another federation": leaf(("spiffe://town.example/org/a.example",)),
    "a federation that begins like ours": leaf(("spiffe://city.example.evil/org/a.example",)),
    "another path": leaf(("spiffe://city.example/node/a.example",)),
    "a longer path": leaf((f"{NAME}/x",)),
    "another scheme": leaf(("https://city.example/org/a.example",)),
    "no name": leaf(()),
    "two names": leaf((NAME, "spiffe://city.example/org/b.example")),
    "the same name twice": leaf((NAME, NAME)),
    "no names at all": leaf(leave_out=x509.SubjectAlternativeName),
    "a capital": leaf(("spiffe://city.example/org/A.example",)),
    "a CA": leaf(ca=True),
    "no constraints": leaf(leave_out=x509.BasicConstraints),
    "no usage": leaf(leave_out=x509.KeyUsage),
    "no extended usage": leaf(leave_out=x509.ExtendedKeyUsage),
    "a client only": leaf(usages=(ExtendedKeyUsageOID.CLIENT_AUTH,)),
    "any purpose": leaf(usages=(ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,)),
    "valid for too long": leaf(lifetime=timedelta(hours=24, minutes=5, seconds=1)),
    "a P-384 key": leaf(key=ec.generate_private_key(ec.SECP384R1()).public_key()),
    "an Ed25519 key": leaf(key=ed25519.Ed25519PrivateKey.generate().public_key()),
    "nothing": b"",
    "junk": b"junk",
    "too large": DER + b"\0" * 5000,
}


@pytest.mark.parametrize("why", REFUSED)
def test_no_other_certificate_does(why: str) -> None:
    with pytest.raises(CertificateInvalid):
        caller(ROSTER, REFUSED[why], NOW)


def test_a_certificate_below_a_leaf_does_not() -> None:
    below = leaf(issued=LEAF)
    with pytest.raises(CertificateInvalid):
        caller(ROSTER, below, NOW)


def test_the_old_ca_of_a_member_does_not_when_it_has_another() -> None:
    other = replace(A, keys=replace(A.keys, ca=Keys("a.example").ca))
    with pytest.raises(CertificateInvalid, match="did not issue"):
        caller(replace(ROSTER, members=(other, B)), DER, NOW)


@pytest.mark.parametrize("minutes", [-6, 24 * 60 + 1, 10 * 365 * 24 * 60])
def test_a_leaf_is_for_its_day(minutes: int) -> None:
    with pytest.raises(CertificateInvalid, match=r"not valid before|expired"):
        caller(ROSTER, DER, NOW + timedelta(minutes=minutes))
    for good in (-5, 0, 24 * 60):
        caller(ROSTER, DER, NOW + timedelta(minutes=good))


def test_the_ca_has_its_time_too() -> None:
    late = NOW + timedelta(days=3653)
    own = issuer(A.ca, OWN).leaf("city.example", "a.example", KEY.public_key(), late)
    with pytest.raises(CertificateInvalid, match="expired"):
        caller(ROSTER, certificates.der(own), late)


def test_a_stranger_is_nobody() -> None:
    stranger = Keys("c.example")
    own = issuer(stranger.ca, stranger)
    made = own.leaf("city.example", "c.example", KEY.public_key(), NOW)
    with pytest.raises(UnknownOrganisation):
        caller(ROSTER, certificates.der(made), NOW)


def test_a_member_that_was_revoked_or_is_out_of_time_is_refused() -> None:
    for changed in (
        A.revoke(SINCE, "left"),
        replace(A, valid_from="2026-11-26T00:00:00Z"),
        replace(A, valid_until="2026-11-25T07:59:59Z"),
    ):
        with pytest.raises(MemberRevoked):
            caller(replace(ROSTER, members=(changed, B)), DER, NOW)
    still = replace(A, valid_from="2026-11-25T08:00:00Z", valid_until="2026-11-25T08:00:00Z")
    assert caller(replace(ROSTER, members=(still, B)), DER, NOW) == still


@given(st.integers(0, 8 * len(DER) - 1))
def test_one_flipped_bit_is_found(bit: int) -> None:
    changed = bytearray(DER)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(FusionError):
        caller(ROSTER, bytes(changed), NOW)
