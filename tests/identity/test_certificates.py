"""Certificates: what an independent verifier makes of them, and whom they are for."""

from __future__ import annotations

import base64
import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError
from flwr.supercore.primitives.asymmetric import public_key_to_bytes

from fusion.crypto.sealing import SealingKey
from fusion.crypto.signing import SigningKey
from fusion.errors import CertificateInvalid, KeyRefused, MessageInvalid, VerificationFailed
from fusion.identity import certificates, keys

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOW = datetime(2026, 11, 25, 8, 0, tzinfo=UTC)
CA_KEY, KEY = keys.new_tls_key(), keys.new_tls_key()
CA = certificates.new_ca("city.example", CA_KEY, NOW)
ISSUER = certificates.Issuer(CA, CA_KEY)
OWN_KEY = keys.new_tls_key()
OWN_CA = certificates.new_organisation_ca("a.example", OWN_KEY, NOW)
OWN = certificates.Issuer(OWN_CA, OWN_KEY)
LEAF = OWN.leaf("city.example", "a.example", KEY.public_key(), NOW)
NAME = "spiffe://city.example/org/a.example"


def _server(hosts: list[str]) -> x509.Certificate:
    return ISSUER.server(hosts, KEY.public_key(), NOW)


def _verify(host: x509.GeneralName, when: datetime, leaf: x509.Certificate) -> None:
    if not isinstance(host, x509.DNSName | x509.IPAddress):
        raise TypeError
    verifier = PolicyBuilder().store(Store([CA])).time(when).build_server_verifier(host)
    verifier.verify(leaf, [])


def test_an_independent_verifier_accepts_the_server_certificate() -> None:
    _verify(x509.DNSName("hub.city.example"), NOW, _server(["hub.city.example", "127.0.0.1"]))


def test_it_is_for_its_hosts_and_its_time_only() -> None:
    leaf = _server(["hub.city.example"])
    with pytest.raises(VerificationError):
        _verify(x509.DNSName("other.city.example"), NOW, leaf)
    with pytest.raises(VerificationError):
        _verify(x509.DNSName("hub.city.example"), NOW + timedelta(days=3650), leaf)
    with pytest.raises(VerificationError):
        _verify(x509.DNSName("hub.city.example"), NOW - timedelta(days=1), leaf)


def test_an_independent_verifier_accepts_a_leaf_under_its_organisations_ca_only() -> None:
    host = x509.DNSName("a.example.node.fusion.internal")
    for ca, good in ((OWN_CA, True), (CA, False)):
        verifier = PolicyBuilder().store(Store([ca])).time(NOW).build_server_verifier(host)
        if good:
            verifier.verify(LEAF, [])
            continue
        with pytest.raises(VerificationError):
            verifier.verify(LEAF, [])


def test_a_leaf_is_for_both_ends_lasts_a_day_and_can_not_issue() -> None:
    usage = LEAF.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(usage) == {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH}
    assert not LEAF.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert LEAF.not_valid_after_utc - LEAF.not_valid_before_utc == timedelta(hours=24, minutes=5)
    assert certificates.spiffe_of(LEAF) == NAME
    below = certificates.Issuer(LEAF, KEY).server(
        ["hub.city.example"], keys.new_tls_key().public_key(), NOW
    )
    host = x509.DNSName("hub.city.example")
    verifier = PolicyBuilder().store(Store([OWN_CA])).time(NOW).build_server_verifier(host)
    with pytest.raises(VerificationError):
        verifier.verify(below, [LEAF])


def test_an_organisations_ca_is_its_own_and_nothing_else() -> None:
    assert certificates.organisation_ca(certificates.der(OWN_CA), "a.example") == OWN_CA
    again = certificates.new_organisation_ca("a.example", keys.new_fleet_key(), NOW)
    for ca in (CA, LEAF, again, certificates.new_organisation_ca("b.example", OWN_KEY, NOW)):
        with pytest.raises(CertificateInvalid):
            certificates.organisation_ca(certificates.der(ca), "a.example")
    for data in (b"", b"junk", b"x" * 5000):
        with pytest.raises(CertificateInvalid):
            certificates.organisation_ca(data, "a.example")


def test_an_issuer_has_the_key_of_its_certificate() -> None:
    with pytest.raises(VerificationFailed):
        certificates.Issuer(CA, KEY)


def test_two_certificates_differ_in_serial_number() -> None:
    again = OWN.leaf("city.example", "a.example", KEY.public_key(), NOW)
    assert again.serial_number != LEAF.serial_number


def test_pem_survives_and_junk_is_refused(tmp_path: Path) -> None:
    assert certificates.from_pem(certificates.pem(LEAF)) == LEAF
    with pytest.raises(MessageInvalid):
        certificates.from_pem(b"junk")
    (tmp_path / "ca.pem").write_bytes(certificates.pem(CA))
    context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    assert context.get_ca_certs()[0]["subject"] == ((("commonName", "city.example CA"),),)


def test_each_key_survives_its_file_and_is_not_taken_for_another() -> None:
    signing, sealing = SigningKey.generate(), SealingKey.generate()
    fleet = keys.new_fleet_key()
    files = {
        "signing": keys.signing_pem(signing),
        "sealing": keys.sealing_pem(sealing),
        "tls": keys.tls_pem(KEY),
        "fleet": keys.fleet_pem(fleet),
        "junk": b"junk",
    }
    assert keys.signing_from_pem(files["signing"]) == signing
    assert keys.sealing_from_pem(files["sealing"]) == sealing
    assert keys.tls_from_pem(files["tls"]).private_numbers() == KEY.private_numbers()
    assert keys.fleet_from_pem(files["fleet"]).private_numbers() == fleet.private_numbers()
    for reader, own in (
        (keys.signing_from_pem, "signing"),
        (keys.sealing_from_pem, "sealing"),
        (keys.tls_from_pem, "tls"),
        (keys.fleet_from_pem, "fleet"),
    ):
        for kind, data in files.items():
            if kind != own:
                with pytest.raises(KeyRefused):
                    reader(data)


def test_an_encrypted_key_needs_its_passphrase() -> None:
    made: tuple[tuple[Callable[..., bytes], Callable[..., object], object], ...] = (
        (keys.signing_pem, keys.signing_from_pem, SigningKey.generate()),
        (keys.sealing_pem, keys.sealing_from_pem, SealingKey.generate()),
        (keys.tls_pem, keys.tls_from_pem, keys.new_tls_key()),
        (keys.fleet_pem, keys.fleet_from_pem, keys.new_fleet_key()),
    )
    for writer, reader, key in made:
        data = writer(key, b"correct horse")
        assert keys.is_encrypted(data)
        assert not keys.is_encrypted(writer(key))
        reader(data, b"correct horse")
        for wrong in (None, b"", b"another horse"):
            with pytest.raises(KeyRefused, match="passphrase"):
                reader(data, wrong)
        plain = keys.reencrypted(data, b"correct horse", None)
        reader(plain)
        reader(keys.reencrypted(plain, None, b"battery staple"), b"battery staple")


def test_the_fleet_key_is_spelled_as_flower_sends_it() -> None:
    key = keys.new_fleet_key().public_key()
    header = keys.fleet_header(key)
    assert base64.b64decode(header) == public_key_to_bytes(key)
    assert keys.read_fleet_header(header) == key
    for changed in (header + "=", header[:-4], header.lower(), "x" * 600, ""):
        with pytest.raises(KeyRefused):
            keys.read_fleet_header(changed)
