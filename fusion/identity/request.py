"""A request for admission: a signing request (PKCS #10) that carries a signed statement.

The request is signed by the key of the organisation's CA. The statement inside it is signed by the
statement key and names the organisation and all of its public keys, the CA certificate among them:
neither can be cut out and used with another one's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fusion.crypto.signing import VerifyKey
from fusion.errors import (
    CertificateInvalid,
    InputInvalid,
    KeyRefused,
    MessageInvalid,
    SignatureInvalid,
)
from fusion.identity.certificates import organisation_ca
from fusion.identity.members import (
    Identifier,
    KeysModel,
    Name,
    PublicKeys,
    member_id,
    read_keys,
)
from fusion.wire import envelope
from fusion.wire.limits import MAX_REQUEST_BYTES

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

    from fusion.crypto.signing import SigningKey
    from fusion.types import OrgId

STATEMENT_OID: Final = x509.ObjectIdentifier("2.25.220038112542108378752632571395540715088")
"""Of the extension with the statement; from a random UUID (X.667), so registered nowhere."""

_SCHEMA: Final = "fusion.request/2"
_TYPE: Final = "application/vnd.fusion.request/2+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A verified request.

    Attributes:
        id: The organisation.
        name: For people.
        keys: All its public keys.
    """

    id: OrgId
    name: str
    keys: PublicKeys


class _StatementModel(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    schema_: Literal["fusion.request/2"] = Field(alias="schema")
    id: Identifier
    name: Name
    keys: KeysModel


def make_request(
    organisation: OrgId,
    name: str,
    keys: PublicKeys,
    *,
    statement: SigningKey,
    authority: ec.EllipticCurvePrivateKey,
) -> bytes:
    """Return a request in PEM form.

    Args:
        organisation: Its identifier.
        name: For people.
        keys: All its public keys.
        statement: The private half of its statement key.
        authority: The private key of its CA.
    """
    document = {"schema": _SCHEMA, "id": organisation, "name": name, "keys": keys.to_json()}
    signed = asn1.encode_der(envelope.sign(document, _TYPE, statement, statement.public.hex))
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, organisation)])
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(subject)
        .add_extension(x509.UnrecognizedExtension(STATEMENT_OID, signed), critical=False)
        .sign(authority, hashes.SHA256())
    )
    return request.public_bytes(Encoding.PEM)


def open_request(pem: bytes) -> Request:
    """Verify a request and return what it says.

    Raises:
        MessageInvalid: Too large, not decodable, or without a well-formed statement.
        SignatureInvalid: Not signed by the keys it presents, or put together from two requests.
    """
    loaded = _load(pem)
    _check_signature(loaded)
    statement = _statement(loaded)
    try:
        organisation = member_id(statement.id)
        keys = read_keys(statement.keys.model_dump(), organisation)
    except (InputInvalid, KeyRefused, CertificateInvalid) as error:
        raise MessageInvalid(f"A request is not acceptable: {error.message}") from None
    if organisation_ca(keys.ca, organisation).public_key() != loaded.public_key():
        raise SignatureInvalid("A request's statement was made for another CA.")
    return Request(
        id=organisation,
        name=statement.name,
        keys=keys,
    )


def _load(pem: bytes) -> x509.CertificateSigningRequest:
    if len(pem) > MAX_REQUEST_BYTES:
        raise MessageInvalid(f"A request has more than {MAX_REQUEST_BYTES} bytes.")
    try:
        return x509.load_pem_x509_csr(pem)
    except ValueError:
        raise MessageInvalid(
            "The file is no certificate signing request.",
            hint="`fusion org init` makes it: request.csr in the organisation's folder.",
        ) from None


def _check_signature(request: x509.CertificateSigningRequest) -> None:
    try:
        valid = request.is_signature_valid
    except (ValueError, UnsupportedAlgorithm, InvalidSignature):
        valid = False
    if not valid:
        raise SignatureInvalid("A request is not signed by the key it presents.")


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
    if statement.keys.statement_key != claimed:
        raise SignatureInvalid("A request's statement is signed with another key than it names.")
    return statement


def _parse(payload: object, malformed: MessageInvalid) -> _StatementModel:
    try:
        return _StatementModel.model_validate(payload)
    except ValidationError:
        raise malformed from None
