"""A document that several organisations sign: one DSSE envelope, a signature each.

:mod:`fusion.wire.envelope` is for statements, which have one signature. Here every signature that
is present has to verify, each signer is there once, and signers are sorted, so that a document
with a set of signatures has exactly one sequence of bytes. Who has to have signed is the reader's
rule, not this module's: "all that are there verify" is not "all that have to be there are".
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from fusion.errors import MessageInvalid, SignatureInvalid, UnknownOrganisation
from fusion.wire import canonical
from fusion.wire.limits import MAX_ENVELOPE_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fusion.wire.envelope import Signing

MAX_SIGNATURES: Final = 2000
_SIGNATURE_BYTES: Final = 64


class Verifier(Protocol):
    """Whose signature is expected: a :class:`fusion.crypto.signing.VerifyKey`."""

    def verify(self, signature: bytes, message: bytes, /) -> None:
        """Return if the signature is by this key; raise SignatureInvalid otherwise."""
        ...


@dataclass(frozen=True, slots=True)
class Countersigned:
    """A document as it was found, nothing of it believed yet.

    Attributes:
        payload_type: What it says it is.
        payload: The bytes that are signed.
        signatures: By signer.
    """

    payload_type: str
    payload: bytes
    signatures: Mapping[str, bytes]

    def to_bytes(self) -> bytes:
        """Return the envelope, signers sorted."""
        return canonical.encode(
            {
                "payload": base64.b64encode(self.payload).decode(),
                "payloadType": self.payload_type,
                "signatures": [
                    {"keyid": name, "sig": base64.b64encode(self.signatures[name]).decode()}
                    for name in sorted(self.signatures)
                ],
            }
        )

    def signed_by(self, name: str, key: Signing) -> Countersigned:
        """Return the document with one more signature.

        Raises:
            SignatureInvalid: It has one under this name.
        """
        if name in self.signatures:
            raise SignatureInvalid(f"{name} has signed this document already.")
        signature = key.sign(encoded(self.payload_type, self.payload))
        return Countersigned(self.payload_type, self.payload, {**self.signatures, name: signature})

    def verify(self, keys: Mapping[str, Verifier]) -> frozenset[str]:
        """Return who signed, once every signature that is there has been verified.

        Raises:
            UnknownOrganisation: Signed under a name that ``keys`` does not have.
            SignatureInvalid: A signature does not verify.
        """
        message = encoded(self.payload_type, self.payload)
        for name, signature in self.signatures.items():
            key = keys.get(name)
            if key is None:
                raise UnknownOrganisation(
                    f"A document is signed by {name[:80]!r}, who may not sign it."
                )
            try:
                key.verify(signature, message)
            except SignatureInvalid:
                raise SignatureInvalid(
                    f"The signature of {name[:80]!r} under a document does not verify."
                ) from None
        return frozenset(self.signatures)


def encoded(payload_type: str, payload: bytes) -> bytes:
    """Return what a signature covers: DSSE's pre-authentication encoding."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def parse(data: bytes, payload_type: str, limit: int = MAX_ENVELOPE_BYTES) -> Countersigned:
    """Take an envelope apart; nothing in it is believed yet.

    Raises:
        MessageInvalid: Too large, not decodable, of another type, without a signature, with two
            by one signer, or with signers out of order.
    """
    document = canonical.decode(data, limit)
    match document:
        case {
            "payload": str(payload),
            "payloadType": str(kind),
            "signatures": list(listed),
            **rest,
        }:
            if rest or not 1 <= len(listed) <= MAX_SIGNATURES:
                raise MessageInvalid("A document has unknown parts or no signature.")
        case _:
            raise MessageInvalid("A message is not a DSSE envelope.")
    if kind != payload_type:
        raise MessageInvalid(
            f"A document is of type {kind[:80]!r}; {payload_type!r} is expected here."
        )
    signatures: dict[str, bytes] = {}
    for item in listed:
        name, signature = _signature(item)
        if name in signatures:
            raise MessageInvalid(f"{name[:80]!r} signed a document twice.")
        signatures[name] = signature
    if list(signatures) != sorted(signatures):
        raise MessageInvalid("The signatures of a document are not sorted by signer.")
    return Countersigned(kind, _base64(payload), signatures)


def _signature(item: Any) -> tuple[str, bytes]:  # noqa: ANN401 - any JSON value
    match item:
        case {"keyid": str(name), "sig": str(signature), **more} if not more:
            value = _base64(signature)
        case _:
            raise MessageInvalid("A signature of a document is not well formed.")
    if len(value) != _SIGNATURE_BYTES:
        raise MessageInvalid("A signature of a document is not an Ed25519 signature.")
    return name, value


def _base64(text: str) -> bytes:
    """Decode standard base64 in its one spelling: padded, nothing after it, spare bits zero."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        data = None
    if data is None or base64.b64encode(data).decode() != text:
        raise MessageInvalid("A part of a signed document is not base64.")
    return data
