"""A request for admission: every key in it is bound to the others."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from fusion.crypto.signing import SigningKey
from fusion.errors import FusionError, MessageInvalid, SignatureInvalid
from fusion.identity.keys import fleet_header, new_tls_key
from fusion.identity.members import KEY_NAMES
from fusion.identity.request import STATEMENT_OID, make_request, open_request
from fusion.types import OrgId
from fusion.wire import envelope
from tests.members import Keys

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

KEYS = Keys("a.example")
PUBLIC = KEYS.public()
STATEMENT, AUTHORITY = KEYS.statement, KEYS.authority
TYPE = "application/vnd.fusion.request/2+json"
PEM = make_request(OrgId("a.example"), "Office A", PUBLIC, statement=STATEMENT, authority=AUTHORITY)


def _document(**change: object) -> dict[str, object]:
    keys = {**PUBLIC.to_json(), **{n: v for n, v in change.items() if n in KEY_NAMES}}
    rest = {n: v for n, v in change.items() if n not in KEY_NAMES}
    return {"schema": "fusion.request/2", "id": "a.example", "name": "", "keys": keys, **rest}


def _csr(
    extension: bytes | None, key: ec.EllipticCurvePrivateKey = AUTHORITY, oid: str = ""
) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    if extension is not None:
        name = x509.ObjectIdentifier(oid) if oid else STATEMENT_OID
        builder = builder.add_extension(x509.UnrecognizedExtension(name, extension), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def _with(document: dict[str, object], signer: SigningKey = STATEMENT) -> bytes:
    return _csr(asn1.encode_der(envelope.sign(document, TYPE, signer, signer.public.hex)))


def test_a_request_says_what_was_put_into_it() -> None:
    request = open_request(PEM)
    assert (request.id, request.name) == ("a.example", "Office A")
    assert request.keys == PUBLIC


def test_what_surrounds_the_pem_does_not_matter() -> None:
    assert open_request(b"From: a.example\n\n" + PEM + b"\nRegards\n") == open_request(PEM)


@given(st.integers(0, 10**6), st.integers(0, 7))
def test_one_flipped_bit_is_found_or_says_the_same(position: int, bit: int) -> None:
    """In base64 a flip can fall on what is not decoded; then nothing has changed."""
    changed = bytearray(PEM)
    changed[position % len(changed)] ^= 1 << bit
    try:
        request = open_request(bytes(changed))
    except FusionError:
        return
    assert request == open_request(PEM)


def test_a_statement_is_not_used_with_another_ca() -> None:
    extensions = x509.load_pem_x509_csr(PEM).extensions
    statement = extensions.get_extension_for_oid(STATEMENT_OID).value
    assert isinstance(statement, x509.UnrecognizedExtension)
    open_request(_csr(statement.value))
    with pytest.raises(SignatureInvalid, match="another CA"):
        open_request(_csr(statement.value, new_tls_key()))


def test_a_statement_is_signed_with_the_key_it_names() -> None:
    with pytest.raises(SignatureInvalid, match="another key"):
        open_request(_with(_document(), SigningKey.generate()))


@pytest.mark.parametrize(
    "change",
    [
        {"id": "hub"},
        {"id": "../../etc"},
        {"id": "A"},
        {"name": "n" * 201},
        {"sealing_key": "0"},
        {"fleet_key": fleet_header(new_tls_key().public_key())},
        {"fleet_key": ""},
        {"schema": "fusion.request/1"},
        {"log_key": STATEMENT.public.hex},
        {"ca": ""},
        {"ca": "AAAA"},
        {"ca": base64.b64encode(Keys("b.example").ca).decode()},
        {"ca": PUBLIC.to_json()["ca"] + "="},
        {"role": "authority"},
    ],
)
def test_a_statement_that_is_not_well_formed_is_refused(change: dict[str, object]) -> None:
    open_request(_with(_document()))
    with pytest.raises(MessageInvalid):
        open_request(_with(_document(**change)))


@pytest.mark.parametrize("extension", [None, b"", b"junk", asn1.encode_der(b"junk")])
def test_a_request_without_a_statement_is_refused(extension: bytes | None) -> None:
    with pytest.raises(MessageInvalid):
        open_request(_csr(extension))


@pytest.mark.parametrize("data", [b"", b"junk", PEM[:200], b"x" * (64 * 1024 + 1)])
def test_what_is_no_request_is_refused(data: bytes) -> None:
    with pytest.raises(MessageInvalid):
        open_request(data)
