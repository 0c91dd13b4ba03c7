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
from fusion.errors import KeyRefused, MessageInvalid, VerificationFailed
from fusion.identity import certificates, keys

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 11, 25, 8, 0, tzinfo=UTC)
CA_KEY, KEY = keys.new_tls_key(), keys.new_tls_key()
CA = certificates.new_ca("city.example", CA_KEY, NOW)
ISSUER = certificates.Issuer(CA, CA_KEY)
CLIENT = ISSUER.client("city.example", "a.example", KEY.public_key(), NOW)
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


def test_a_member_can_not_pose_as_the_hub_nor_issue() -> None:
    usage = CLIENT.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert not CLIENT.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    below = certificates.Issuer(CLIENT, KEY).server(
        ["hub.city.example"], keys.new_tls_key().public_key(), NOW
    )
    verifier = (
        PolicyBuilder()
        .store(Store([CA]))
        .time(NOW)
        .build_server_verifier(x509.DNSName("hub.city.example"))
    )
    with pytest.raises(VerificationError):
        verifier.verify(below, [CLIENT])


def test_a_certificate_is_checked_against_ca_key_and_name() -> None:
    certificates.check_own_certificate(CLIENT, CA, KEY.public_key(), NAME)
    other = keys.new_tls_key()
    foreign_ca = certificates.new_ca("city.example", other, NOW)
    with pytest.raises(VerificationFailed, match="CA"):
        certificates.check_own_certificate(CLIENT, foreign_ca, KEY.public_key(), NAME)
    with pytest.raises(VerificationFailed, match="another key"):
        certificates.check_own_certificate(CLIENT, CA, other.public_key(), NAME)
    with pytest.raises(VerificationFailed, match="another organisation"):
        certificates.check_own_certificate(CLIENT, CA, KEY.public_key(), NAME + "x")


def test_an_issuer_has_the_key_of_its_certificate() -> None:
    with pytest.raises(VerificationFailed):
        certificates.Issuer(CA, KEY)


def test_two_certificates_differ_in_serial_number_and_fingerprint() -> None:
    again = ISSUER.client("city.example", "a.example", KEY.public_key(), NOW)
    assert again.serial_number != CLIENT.serial_number
    assert certificates.fingerprint(again) != certificates.fingerprint(CLIENT)


def test_pem_survives_and_junk_is_refused(tmp_path: Path) -> None:
    assert certificates.from_pem(certificates.pem(CLIENT)) == CLIENT
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


def test_the_fleet_key_is_spelled_as_flower_sends_it() -> None:
    key = keys.new_fleet_key().public_key()
    header = keys.fleet_header(key)
    assert base64.b64decode(header) == public_key_to_bytes(key)
    assert keys.read_fleet_header(header) == key
    for changed in (header + "=", header[:-4], header.lower(), "x" * 600, ""):
        with pytest.raises(KeyRefused):
            keys.read_fleet_header(changed)
