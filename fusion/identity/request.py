"""A request for admission: a signing request (PKCS #10) that carries a signed statement.

The request is signed by the TLS key. The statement inside it is signed by the statement key, names
the organisation and its other public keys, and the digest of the TLS key: neither can be cut out
and used with another one's.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final, Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fusion.crypto.sealing import SealingKey, SealingPublicKey
from fusion.crypto.signing import SigningKey, VerifyKey
from fusion.errors import InputInvalid, KeyRefused, MessageInvalid, SignatureInvalid
from fusion.identity.keys import fleet_header, public_digest, read_fleet_header
from fusion.identity.roster import Digest, Identifier, Name, member_id
from fusion.wire import envelope
from fusion.wire.limits import MAX_REQUEST_BYTES

if TYPE_CHECKING:
    from fusion.types import OrgId

STATEMENT_OID: Final = x509.ObjectIdentifier("2.25.220038112542108378752632571395540715088")
"""Of the extension with the statement; from a random UUID (X.667), so registered nowhere."""

_SCHEMA: Final = "fusion.request/1"
_TYPE: Final = "application/vnd.fusion.request/1+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A verified request.

    Attributes:
        id: The organisation.
        name: For people.
        statement_key: Verifies its statements.
        sealing_key: What only it may read is sealed to this.
        fleet_key: As Flower's header carries it.
        tls_key: Its P-256 public key.
        digest: SHA-256 of the request (DER), in hexadecimal.
    """

    id: OrgId
    name: str
    statement_key: VerifyKey
    sealing_key: SealingPublicKey
    fleet_key: str
    tls_key: ec.EllipticCurvePublicKey
    digest: str


class _StatementModel(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    schema_: Literal["fusion.request/1"] = Field(alias="schema")
    id: Identifier
    name: Name
    statement_key: Digest
    sealing_key: Digest
    fleet_key: Annotated[str, Field(max_length=512)]
    tls_key: Digest


def make_request(
    organisation: OrgId,
    name: str,
    *,
    statement: SigningKey,
    sealing: SealingKey,
    fleet: ec.EllipticCurvePrivateKey,
    tls: ec.EllipticCurvePrivateKey,
) -> bytes:
    """Return a request in PEM form."""
    document = {
        "schema": _SCHEMA,
        "id": organisation,
        "name": name,
        "statement_key": statement.public.hex,
        "sealing_key": sealing.public.hex,
        "fleet_key": fleet_header(fleet.public_key()),
        "tls_key": public_digest(tls.public_key()),
    }
    signed = asn1.encode_der(envelope.sign(document, _TYPE, statement, statement.public.hex))
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, organisation)])
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(subject)
        .add_extension(x509.UnrecognizedExtension(STATEMENT_OID, signed), critical=False)
        .sign(tls, hashes.SHA256())
    )
    return request.public_bytes(Encoding.PEM)


def request_digest(pem: bytes) -> str:
    """Return the SHA-256 of a request (DER): under which its result can be asked for.

    Raises:
        MessageInvalid: It is no request.
    """
    return hashlib.sha256(_load(pem).public_bytes(Encoding.DER)).hexdigest()


def open_request(pem: bytes) -> Request:
    """Verify a request and return what it says.

    Raises:
        MessageInvalid: Too large, not decodable, or without a well-formed statement.
        SignatureInvalid: Not signed by the keys it presents, or put together from two requests.
    """
    loaded = _load(pem)
    tls = _verified_key(loaded)
    statement = _statement(loaded)
    try:
        read_fleet_header(statement.fleet_key)
        organisation = member_id(statement.id)
        key = VerifyKey.from_hex(statement.statement_key)
        sealing = SealingPublicKey.from_hex(statement.sealing_key)
    except (InputInvalid, KeyRefused) as error:
        raise MessageInvalid(f"A request is not acceptable: {error.message}") from None
    if statement.tls_key != public_digest(tls):
        raise SignatureInvalid("A request's statement was made for another TLS key.")
    return Request(
        id=organisation,
        name=statement.name,
        statement_key=key,
        sealing_key=sealing,
        fleet_key=statement.fleet_key,
        tls_key=tls,
        digest=hashlib.sha256(loaded.public_bytes(Encoding.DER)).hexdigest(),
    )


def _load(pem: bytes) -> x509.CertificateSigningRequest:
    if len(pem) > MAX_REQUEST_BYTES:
        raise MessageInvalid(f"A request has more than {MAX_REQUEST_BYTES} bytes.")
    try:
        return x509.load_pem_x509_csr(pem)
    except ValueError:
        raise MessageInvalid(
            "The file is no certificate signing request.",
            hint="`fusion node init` makes it: request.csr in the node's folder.",
        ) from None


def _verified_key(request: x509.CertificateSigningRequest) -> ec.EllipticCurvePublicKey:
    try:
        valid = request.is_signature_valid
        key = request.public_key()
    except (ValueError, UnsupportedAlgorithm, InvalidSignature):
        valid, key = False, None
    if not valid:
        raise SignatureInvalid("A request is not signed by the key it presents.")
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise MessageInvalid("A request's TLS key is not a P-256 key.")
    return key


def _statement(request: x509.CertificateSigningRequest) -> _StatementModel:
    """Verify the statement with the key it names itself: this shows that the key is held."""
    malformed = MessageInvalid("A request carries no well-formed statement.")
    try:
        extension = request.extensions.get_extension_for_oid(STATEMENT_OID).value
        if not isinstance(extension, x509.UnrecognizedExtension):
            raise malformed
        data = asn1.decode_der(bytes, extension.value)
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension):
        raise malformed from None
    claimed = envelope.signer(data, MAX_REQUEST_BYTES)
    try:
        keys = {claimed: VerifyKey.from_hex(claimed)}
    except KeyRefused:
        raise malformed from None
    _, payload = envelope.open_signed(data, _TYPE, keys, MAX_REQUEST_BYTES)
    statement = _parse(payload, malformed)
    if statement.statement_key != claimed:
        raise SignatureInvalid("A request's statement is signed with another key than it names.")
    return statement


def _parse(payload: object, malformed: MessageInvalid) -> _StatementModel:
    try:
        return _StatementModel.model_validate(payload)
    except ValidationError:
        raise malformed from None
