"""A one-time key agreement: X25519 (RFC 7748), then HKDF-SHA256 (RFC 5869) over what it is for.

For keys that two parties use once. Who the other one is has to be signed elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fusion.crypto import rng
from fusion.errors import KeyRefused

KEY_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class OneTimeKey:
    """An X25519 private key that is used for one occasion and then dropped; never shown.

    Attributes:
        public: The 32 bytes of the public half, as 64 lower-case hexadecimal digits.
    """

    public: str
    _private: X25519PrivateKey = field(repr=False, compare=False)

    @classmethod
    def generate(cls) -> OneTimeKey:
        """Make a new key."""
        private = X25519PrivateKey.from_private_bytes(rng.token(KEY_BYTES))
        return cls(private.public_key().public_bytes_raw().hex(), private)

    def agree(self, peer: str, info: bytes) -> bytes:
        """Return the 32 bytes that both sides get for ``info``.

        Args:
            peer: The other side's public half.
            info: What the key is for: both sides' names and the occasion.

        Raises:
            KeyRefused: The other half is no key, or of small order.
        """
        try:
            shared = self._private.exchange(X25519PublicKey.from_public_bytes(bytes.fromhex(peer)))
        except ValueError:
            msg = "A one-time X25519 key is malformed or of small order."
            raise KeyRefused(msg) from None
        return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(shared)
