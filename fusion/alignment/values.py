"""What a published set's owner and its askers have in common: terms, values of items, sealing.

The value of an item is HKDF-SHA512 (RFC 5869) of its point times the owner's scalar, with the
digest of the terms as salt: 16 bytes are the tag that is published, 32 the key of what is attached.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Annotated, Final, Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from pydantic import Field, model_validator

from fusion.alignment.messages import MAX_BODY_BYTES, MAX_PAYLOAD, POINT, SEAL, TAG
from fusion.alignment.rules import Broken, broken
from fusion.alignment.terms import MAX_CHUNK, MAX_ITEMS, Compared, Organisation
from fusion.wire.documents import Document

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusion.alignment.messages import Head

_INFO: Final = b"banyan alignment 1, value of an item\x01"
_KEY_END: Final = TAG + 32
_NONCE: Final = bytes(12)
"""One key seals one text: it is derived from an item and a scalar that is fresh for each epoch."""


class SetTerms(Document):
    """Of a published set.

    Attributes:
        field: What is compared; its ``job`` names the epoch.
        owner: Whose set it is.
        set_size: Most items of the set.
        asked: Most items that one asker may have evaluated in the epoch.
        payload: Most bytes attached to an item; 0: nothing is.
        minimum_intersection: Fewer common records than this are not released to the asker.
        chunk: Items of a message.
    """

    schema_: Literal["fusion.alignment-set/1"] = Field(
        default="fusion.alignment-set/1", alias="schema"
    )
    field: Compared
    owner: Organisation
    set_size: Annotated[int, Field(ge=1, le=MAX_ITEMS)]
    asked: Annotated[int, Field(ge=1, le=MAX_ITEMS)]
    payload: Annotated[int, Field(ge=0, le=MAX_PAYLOAD)] = 0
    minimum_intersection: Annotated[int, Field(ge=0, le=MAX_ITEMS)] = 0
    chunk: Annotated[int, Field(ge=1, le=MAX_CHUNK)] = 2048

    @model_validator(mode="after")
    def _carried(self) -> SetTerms:
        if self.chunk * (TAG + self.sealed) > MAX_BODY_BYTES:
            raise ValueError(
                f"a message would have more than {MAX_BODY_BYTES} bytes: a smaller chunk"
            )
        return self

    @property
    def sealed(self) -> int:
        """Bytes of what is attached to an item, sealed."""
        return self.payload + SEAL if self.payload else 0


def value_of(salt: bytes, point: bytes) -> bytes:
    """Return the value of a masked point: one block of HKDF-SHA512, cut."""
    return hmac.digest(hmac.digest(salt, point, "sha512"), _INFO, "sha512")[:_KEY_END]


def points_of(data: bytes) -> Sequence[bytes]:
    """Return an array's points, one by one."""
    return [data[at : at + POINT] for at in range(0, len(data), POINT)]


def sealed(terms: SetTerms, salt: bytes, value: bytes, text: bytes | None) -> bytes:
    """Return what is attached to an item, padded and sealed under its value; empty for nothing."""
    if text is None:
        return b""
    plain = len(text).to_bytes(2, "big") + text.ljust(terms.payload, b"\0")
    return ChaCha20Poly1305(value[TAG:]).encrypt(_NONCE, plain, salt + value[:TAG])


def opened(salt: bytes, value: bytes, sealed: bytes, who: str) -> bytes:
    """Return what was sealed under an item's value.

    Raises:
        AlignmentBroken: A-65: it was sealed under another, or changed.
    """
    try:
        plain = ChaCha20Poly1305(value[TAG:]).decrypt(_NONCE, sealed, salt + value[:TAG])
    except InvalidTag:
        raise broken(Broken.PAYLOAD, who) from None
    length = int.from_bytes(plain[:2], "big")
    if length > len(plain) - 2:
        raise broken(Broken.PAYLOAD, who)
    return plain[2 : 2 + length]


def check(head: Head, terms: SetTerms, sender: str, number: int) -> None:
    """Hold a head to the terms, the sender and the number that it has to have.

    Raises:
        AlignmentBroken: It has others. Another epoch's terms are other terms.
    """
    if head.terms != terms.digest:
        raise broken(Broken.EPOCH, sender)
    if head.sender != sender:
        raise broken(Broken.SENDER, sender)
    if head.number != number:
        raise broken(Broken.TWICE if head.number < number else Broken.ORDER, sender)
