"""Sealing to one recipient: HPKE (RFC 9180), base mode.

Suite: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305. The context is HPKE's ``info``:
a box opens only for the recipient and the purpose it was sealed for. Sealing does not say who
sealed; what has to be authentic is signed as well.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fusion.errors import KeyRefused, SealBroken

KEY_BYTES: Final = 32
_HEX = re.compile(r"[0-9a-f]{64}")
_AGREED: Final = b"banyan agreement of sealing keys 1\x00"
_SUITE: Final = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)


@dataclass(frozen=True, slots=True)
class SealingPublicKey:
    """Whom a box is sealed to.

    Attributes:
        hex: The 32 bytes of the X25519 public key, as 64 lower-case hexadecimal digits.
    """

    hex: str

    def __post_init__(self) -> None:
        """Refuse anything but 64 lower-case hexadecimal digits."""
        if not _HEX.fullmatch(self.hex):
            raise KeyRefused("An X25519 public key is 64 lower-case hexadecimal digits.")

    @classmethod
    def from_hex(cls, text: str) -> SealingPublicKey:
        """Read a key as :attr:`hex` writes it.

        Raises:
            KeyRefused: The text is not a key.
        """
        return cls(text)

    def seal(self, plaintext: bytes, context: bytes) -> bytes:
        """Return ``plaintext`` sealed to this key for ``context``.

        Raises:
            KeyRefused: The key is one of the few with which nothing can be sealed.
        """
        key = X25519PublicKey.from_public_bytes(bytes.fromhex(self.hex))
        try:
            return _SUITE.encrypt(plaintext, key, info=context)
        except ValueError:  # a point of small order: the shared secret would be known to all
            raise KeyRefused("The X25519 public key is of small order.") from None


@dataclass(frozen=True, slots=True)
class SealingKey:
    """An X25519 private key; equal and hashed by its public half, never shown."""

    public: SealingPublicKey
    _private: X25519PrivateKey = field(repr=False, compare=False)

    @classmethod
    def generate(cls) -> SealingKey:
        """Make a new key."""
        return cls._of(X25519PrivateKey.generate())

    @classmethod
    def from_bytes(cls, data: bytes) -> SealingKey:
        """Read a key as :meth:`to_bytes` writes it.

        Raises:
            KeyRefused: The bytes are not a key.
        """
        if len(data) != KEY_BYTES:
            raise KeyRefused(f"An X25519 private key is {KEY_BYTES} bytes, not {len(data)}.")
        return cls._of(X25519PrivateKey.from_private_bytes(data))

    @classmethod
    def _of(cls, private: X25519PrivateKey) -> SealingKey:
        return cls(SealingPublicKey(private.public_key().public_bytes_raw().hex()), private)

    def to_bytes(self) -> bytes:
        """Return the 32 secret bytes; whoever stores them keeps others from reading them."""
        return self._private.private_bytes_raw()

    def agree(self, peer: SealingPublicKey, context: bytes) -> bytes:
        """Return the 32 bytes that this key and the peer's give for ``context`` (HKDF-SHA256).

        Both keys are long-lived: whoever gets one of them learns every agreed secret.

        Args:
            peer: The other side's public key, as the roster has it.
            context: What it is for: both sides' names and the occasion.

        Raises:
            KeyRefused: The peer's key is of small order.
        """
        try:
            shared = self._private.exchange(
                X25519PublicKey.from_public_bytes(bytes.fromhex(peer.hex))
            )
        except ValueError:
            raise KeyRefused("The X25519 public key is of small order.") from None
        return HKDF(SHA256(), KEY_BYTES, salt=None, info=_AGREED + context).derive(shared)

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """Return what was sealed to this key for ``context``.

        Raises:
            SealBroken: It was sealed to another key or for another context, or was changed.
        """
        try:
            return _SUITE.decrypt(sealed, self._private, info=context)
        except (InvalidTag, ValueError):
            raise SealBroken(
                "A sealed box is not for this key and context, or was changed."
            ) from None
