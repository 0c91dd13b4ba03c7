"""Signed statements: a JSON document in a DSSE envelope with exactly one Ed25519 signature.

The signature covers the payload's bytes and its type, so one kind of statement can't be passed off
as another. A reader checks the size, then the signature, and only then parses, once, the very
bytes that were signed (``docs/adr/0004-canonical-json-dsse.md``).
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, Protocol

from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import (  # type: ignore[attr-defined]  # the package has no __all__
    Signature,
    SSlibKey,
)

from fusion.errors import MessageInvalid, SignatureInvalid, UnknownOrganisation
from fusion.wire import canonical
from fusion.wire.limits import MAX_ENVELOPE_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping


class Signing(Protocol):
    """What signs here: a :class:`fusion.crypto.signing.SigningKey`."""

    def sign(self, message: bytes, /) -> bytes:
        """Return an Ed25519 signature over ``message``."""
        ...


class Verifying(Protocol):
    """Whose signature is expected: a :class:`fusion.crypto.signing.VerifyKey`."""

    @property
    def hex(self) -> str:
        """An Ed25519 public key in hexadecimal."""
        ...


def sign(payload: Mapping[str, Any], payload_type: str, key: Signing, keyid: str) -> bytes:
    """Return ``payload`` in an envelope, signed by ``key`` under the name ``keyid``.

    Raises:
        MessageInvalid: The payload has no canonical form.
    """
    envelope = Envelope(canonical.encode(dict(payload)), payload_type, {})
    envelope.signatures[keyid] = Signature(keyid, key.sign(envelope.pae()).hex())
    return canonical.encode(envelope.to_dict())


def open_signed(
    data: bytes,
    payload_type: str,
    keys: Mapping[str, Verifying],
    limit: int = MAX_ENVELOPE_BYTES,
) -> tuple[str, dict[str, Any]]:
    """Verify an envelope; return who signed it, and its payload.

    Args:
        data: The envelope.
        payload_type: The only type of payload accepted here.
        keys: Who may sign, and with which key.
        limit: Greatest size of the envelope in bytes.

    Raises:
        MessageInvalid: Too large, not decodable, of another type, or not with one signature.
        UnknownOrganisation: Signed under a name that ``keys`` does not have.
        SignatureInvalid: The signature does not verify.
    """
    envelope, keyid = _parse(data, limit)
    if envelope.payload_type != payload_type:
        kind = envelope.payload_type[:80]
        raise MessageInvalid(f"A statement is of type {kind!r}; {payload_type!r} is expected here.")
    key = keys.get(keyid)
    if key is None:
        raise UnknownOrganisation(f"A statement is signed by {keyid[:80]!r}, who may not sign it.")
    try:
        listed = SSlibKey(keyid, "ed25519", "ed25519", {"public": key.hex})
        envelope.verify([listed], threshold=1)
    except VerificationError:
        msg = f"The signature of {keyid[:80]!r} under a statement does not verify."
        raise SignatureInvalid(msg) from None
    payload = canonical.decode(envelope.payload, limit)
    if not isinstance(payload, dict):
        raise MessageInvalid("The payload of a signed statement is not a JSON object.")
    return keyid, payload


def signer(data: bytes, limit: int = MAX_ENVELOPE_BYTES) -> str:
    """Return the name under which an envelope says it is signed: a hint, not yet verified.

    Raises:
        MessageInvalid: Too large, not decodable, or not with one signature.
    """
    return _parse(data, limit)[1]


def unverified(data: bytes, limit: int = MAX_ENVELOPE_BYTES) -> dict[str, Any]:
    """Return an envelope's payload without a look at its signature: for what was verified before.

    Raises:
        MessageInvalid: Too large, not decodable, or not with one signature.
    """
    payload = canonical.decode(_parse(data, limit)[0].payload, limit)
    if not isinstance(payload, dict):
        raise MessageInvalid("The payload of a signed statement is not a JSON object.")
    return payload


def _parse(data: bytes, limit: int) -> tuple[Envelope, str]:
    """Take an envelope apart; nothing in it is believed yet."""
    document = canonical.decode(data, limit)
    match document:
        case {
            "payload": str(payload),
            "payloadType": str(kind),
            "signatures": [{"keyid": str(keyid), "sig": str(signature), **more}],
            **rest,
        } if not rest and not more:
            pass
        case _:
            raise MessageInvalid("A message is not a DSSE envelope with exactly one signature.")
    signatures = {keyid: Signature(keyid, _base64(signature).hex())}
    return Envelope(_base64(payload), kind, signatures), keyid


def _base64(text: str) -> bytes:
    """Decode standard base64 in its one spelling: padded, nothing after it, spare bits zero."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        data = None
    if data is None or base64.b64encode(data).decode() != text:
        raise MessageInvalid("A part of a signed statement is not base64.")
    return data
