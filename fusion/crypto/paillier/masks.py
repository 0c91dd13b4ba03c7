"""Pairwise one-time masks over all of Z_N, inside the plaintext: they cancel in the sum.

Each pair of parties has a key for the occasion; the party whose name sorts first adds its stream,
the other subtracts it. A masked plaintext is uniform below N, whatever is under it, so a single
ciphertext decrypts to noise, also for all key holders together (Bonawitz et al., CCS 2017, without
recovery: who drops out voids the sum). Claim: ``docs/claims/contributions.md``.

Never: a pair's key for two occasions (the stream starts at zero).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

from fusion.crypto.paillier.residues import integers, rows_from, rows_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gmpy2 import mpz as Integer

    from fusion.crypto.paillier.keys import PublicKey
    from fusion.crypto.paillier.residues import Rows

SURPLUS_BYTES: Final = 16
"""Drawn above the length of N before reducing: 2^-128 away from uniform."""


def add_masks(key: PublicKey, plaintexts: Rows, own: str, pairs: Mapping[str, bytes]) -> Rows:
    """Return the plaintexts plus all of a party's masks, modulo N.

    Args:
        key: The public key.
        plaintexts: Below N.
        own: The party's name.
        pairs: The name of each other party to the 32 bytes shared with it for this occasion.
    """
    totals = integers(plaintexts)
    for peer in sorted(pairs):
        stream = _stream(key, pairs[peer], len(totals))
        if own < peer:
            totals = [a + b for a, b in zip(totals, stream, strict=True)]
        else:
            totals = [a - b for a, b in zip(totals, stream, strict=True)]
    return rows_of((total % key.n for total in totals), key.plaintext_bytes)


def _stream(key: PublicKey, secret: bytes, count: int) -> list[Integer]:
    """Read ChaCha20 (RFC 8439) as numbers of 128 bits more than N has."""
    width = key.plaintext_bytes + SURPLUS_BYTES
    encryptor = Cipher(ChaCha20(secret, bytes(16)), mode=None).encryptor()
    return integers(rows_from(encryptor.update(bytes(width * count)), width))
