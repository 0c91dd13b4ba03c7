"""The state of an alignment, sealed with a key of its owner: ChaCha20-Poly1305 (RFC 8439).

The scalar is in it: whoever opens it can test any identifier against what the peer was sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from fusion.alignment.rules import Broken, broken
from fusion.crypto import rng
from fusion.errors import MessageInvalid
from fusion.wire import canonical

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_NONCE: Final = 12
_CONTEXT: Final = b"banyan alignment 1, kept state"


def seal(
    key: bytes, terms: str, me: str, facts: Mapping[str, Any], arrays: Sequence[bytes]
) -> bytes:
    """Return facts and arrays, sealed for a job and a party.

    Args:
        key: 32 bytes.
        terms: Digest of the terms.
        me: The party.
        facts: JSON values.
        arrays: Bytes.
    """
    head = canonical.encode({**facts, "lengths": [len(array) for array in arrays]})
    plain = b"".join((len(head).to_bytes(4, "big"), head, *arrays))
    nonce = rng.token(_NONCE)
    return nonce + ChaCha20Poly1305(key).encrypt(nonce, plain, _context(terms, me))


def open_sealed(
    key: bytes, terms: str, me: str, sealed: bytes
) -> tuple[dict[str, Any], list[bytes]]:
    """Return facts and arrays.

    Raises:
        AlignmentBroken: A-68: it does not open, or is of another job or party.
    """
    try:
        plain = ChaCha20Poly1305(key).decrypt(sealed[:_NONCE], sealed[_NONCE:], _context(terms, me))
        length = int.from_bytes(plain[:4], "big")
        facts: dict[str, Any] = canonical.decode(plain[4 : 4 + length])
    except (InvalidTag, ValueError, MessageInvalid):
        raise broken(Broken.SEAL) from None
    at, arrays = 4 + length, []
    for size in facts.pop("lengths"):
        arrays.append(plain[at : at + size])
        at += size
    return facts, arrays


def _context(terms: str, me: str) -> bytes:
    return _CONTEXT + bytes.fromhex(terms) + me.encode()
