"""Gradient and hessian in one plaintext, and many such pairs in one ciphertext.

After SecureBoost+ (Chen et al., arXiv 2110.10927). A row's plaintext is
``g * 2^w + h mod N`` with w the width of a sum of hessians; a negative gradient is N less its size.
Sums of rows are products of ciphertexts. A pair of sums then takes a *slot*; the party that adds up
raises ciphertexts to powers of two and multiplies, so that as many slots as fit travel and are
decrypted together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import gmpy2
import numpy as np
from gmpy2 import mpz

from fusion.crypto.paillier.residues import integers, not_below, rows_of
from fusion.errors import InputInvalid, MessageInvalid

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from federated.protocols.vertical.gradients import Fields
    from fusion.crypto.paillier.keys import PublicKey
    from fusion.crypto.paillier.residues import Rows

    Ints = NDArray[np.int64]

_SIGN_ROOM: Final = 2


@dataclass(frozen=True, slots=True)
class Packing:
    """How pairs stand in a plaintext.

    Attributes:
        fields: Widths of a sum's parts.
        slots: Pairs a ciphertext.
    """

    fields: Fields
    slots: int

    @classmethod
    def of(cls, key: PublicKey, fields: Fields) -> Packing:
        """Return the packing of a key.

        Raises:
            InputInvalid: Not one pair fits.
        """
        slots = (key.bits - _SIGN_ROOM) // fields.bits
        if slots < 1:
            raise InputInvalid("A pair of sums does not fit into a plaintext of this key.")
        return cls(fields, slots)

    def ciphertexts(self, pairs: int) -> int:
        """Return how many ciphertexts so many pairs take."""
        return -(-pairs // self.slots)


def plaintexts(key: PublicKey, fields: Fields, pairs: Ints, gradient: int, hessian: int) -> Rows:
    """Write rows' gradients and hessians, one row a plaintext.

    Args:
        key: The key.
        fields: Widths of sums.
        pairs: ``(rows, 2)``.
        gradient: The largest size of a gradient.
        hessian: The largest hessian.

    Raises:
        InputInvalid: A gradient or hessian is larger than what the widths were computed for, so
            that a sum could overflow.
    """
    if len(pairs) and (
        np.abs(pairs[:, 0]).max() > gradient
        or pairs[:, 1].max() > hessian
        or pairs[:, 1].min() < 0
        or (gradient * len(pairs)).bit_length() >= fields.gradient_bits
        or (hessian * len(pairs)).bit_length() > fields.hessian_bits
    ):
        raise InputInvalid("A sum of these gradients could overflow its field.")
    n, width = int(key.n), fields.hessian_bits
    values = ((g << width) + h for g, h in pairs.tolist())
    return rows_of((v if v >= 0 else n + v for v in values), key.plaintext_bytes)


def compressed(key: PublicKey, packing: Packing, sums: Rows) -> Rows:
    """Put several encrypted pairs into each ciphertext, the first in the lowest slot.

    Args:
        key: The key.
        packing: How many.
        sums: One pair a ciphertext.
    """
    slots = packing.slots
    count = packing.ciphertexts(len(sums))
    lines = np.zeros((count * slots, sums.shape[1]), np.uint8)
    lines[:, 0] = 1  # an encryption of 0, which needs no randomness of its own: see refreshed
    lines[: len(sums)] = sums
    grid = lines.reshape(count, slots, -1)
    total = np.ascontiguousarray(grid[:, slots - 1])
    for slot in range(slots - 2, -1, -1):
        shifted = key.ring.power(total, 1 << packing.fields.bits)
        total = key.product_ring.product([shifted, np.ascontiguousarray(grid[:, slot])])
    return total


def unpacked(key: PublicKey, packing: Packing, plain: Rows, pairs: int) -> Ints:
    """Read decrypted slots.

    Args:
        key: The key.
        packing: How they were packed.
        plain: Plaintexts.
        pairs: How many pairs there are in all.

    Returns:
        ``(pairs, 2)``.

    Raises:
        MessageInvalid: A plaintext is not one of packed sums: something else was encrypted.
    """
    fields, slots, bits = packing.fields, packing.slots, packing.fields.bits
    half = mpz(1) << (fields.gradient_bits - 1)
    offset = sum(half << (fields.hessian_bits + slot * bits) for slot in range(slots))
    low, mask = (mpz(1) << fields.hessian_bits) - 1, (mpz(1) << bits) - 1
    out = np.empty((len(plain) * slots, 2), np.int64)
    for i, value in enumerate(integers(plain)):
        shifted = (value + offset) % key.n
        if shifted >> (slots * bits):
            raise MessageInvalid("A ciphertext holds something else than sums of gradients.")
        for slot in range(slots):
            pair = (shifted >> (slot * bits)) & mask
            out[i * slots + slot] = int(pair >> fields.hessian_bits) - int(half), int(pair & low)
    if out[pairs:].any():
        raise MessageInvalid("A ciphertext has something in a slot that should be empty.")
    return out[:pairs]


def check_ciphertexts(key: PublicKey, rows: Rows) -> None:
    """Refuse residues that are no ciphertexts.

    Raises:
        MessageInvalid: One is not below N^2, or has a factor in common with N.
    """
    if len(not_below(rows, int(key.n_squared))):
        raise MessageInvalid("A ciphertext is out of range.")
    if len(rows) and gmpy2.gcd(key.product_ring.fold(rows), key.n) != 1:
        raise MessageInvalid("A ciphertext is no unit.")
