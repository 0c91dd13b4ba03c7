"""Ed25519 signatures (RFC 8032). Verification raises; it returns nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from fusion.errors import KeyRefused, SignatureInvalid

KEY_BYTES: Final = 32
_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class VerifyKey:
    """The public half of a signing key.

    Attributes:
        hex: Its 32 bytes (RFC 8032), as 64 lower-case hexadecimal digits.
    """

    hex: str

    def __post_init__(self) -> None:
        """Refuse anything but 64 lower-case hexadecimal digits."""
        if not _HEX.fullmatch(self.hex):
            raise KeyRefused("An Ed25519 public key is 64 lower-case hexadecimal digits.")

    @classmethod
    def from_hex(cls, text: str) -> VerifyKey:
        """Read a key as :attr:`hex` writes it.

        Raises:
            KeyRefused: The text is not a key.
        """
        return cls(text)

    def verify(self, signature: bytes, message: bytes) -> None:
        """Return if ``signature`` is by this key over exactly ``message``.

        Raises:
            SignatureInvalid: It is not.
        """
        try:
            key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(self.hex))
            key.verify(signature, message)
        except (InvalidSignature, ValueError):
            raise SignatureInvalid("The signature does not verify.") from None


@dataclass(frozen=True, slots=True)
class SigningKey:
    """An Ed25519 private key; equal and hashed by its public half, never shown."""

    public: VerifyKey
    _private: Ed25519PrivateKey = field(repr=False, compare=False)

    @classmethod
    def generate(cls) -> SigningKey:
        """Make a new key."""
        return cls._of(Ed25519PrivateKey.generate())

    @classmethod
    def from_bytes(cls, data: bytes) -> SigningKey:
        """Read a key as :meth:`to_bytes` writes it.

        Raises:
            KeyRefused: The bytes are not a key.
        """
        if len(data) != KEY_BYTES:
            raise KeyRefused(f"An Ed25519 private key is {KEY_BYTES} bytes, not {len(data)}.")
        return cls._of(Ed25519PrivateKey.from_private_bytes(data))

    @classmethod
    def _of(cls, private: Ed25519PrivateKey) -> SigningKey:
        return cls(VerifyKey(private.public_key().public_bytes_raw().hex()), private)

    def to_bytes(self) -> bytes:
        """Return the 32 secret bytes; whoever stores them keeps others from reading them."""
        return self._private.private_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """Return the 64 bytes of the signature over ``message``."""
        return self._private.sign(message)
