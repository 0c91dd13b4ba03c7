"""Oblivious transfer of one word of many, for whole columns of rows: no third party deals anything.

The *offerer* has a table of 2^w words for each row; the *chooser* learns one word of each table,
and the offerer not which. Two steps:

- once, 128 transfers of one seed of two, under the offerer's Paillier key: it encrypts its secret
  bits s, and gets the chosen seeds back as ``Enc(seed_0 + s (seed_1 - seed_0))``;
- then any number of rows by the extension of Ishai, Kilian, Nissim and Petrank (CRYPTO 2003). The
  w bits of a choice c are put together in GF(2^128), as Kolesnikov and Kumaresan (CRYPTO 2013) and
  Roy (CRYPTO 2022) do it with codes: the chooser holds t, the offerer ``q = t + c s``, and the pad
  of entry e is a hash of ``q + e s``, which the chooser knows for ``e = c`` alone.

The hash is TMMO (Guo, Katz, Wang, Yu, IEEE S&P 2020) over AES-128 under a fixed public key, which
is taken for an ideal permutation. Both parties follow the protocol. ``docs/claims/vertical.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import gmpy2
import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES128, AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR, ECB
from gmpy2 import mpz

from fusion.crypto import rng
from fusion.crypto.hashing import digest
from fusion.crypto.paillier.randomisers import Full
from fusion.crypto.paillier.residues import integers, rows_of
from fusion.errors import MessageInvalid

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers import CipherContext
    from numpy.typing import NDArray

    from fusion.crypto.paillier.keys import PrivateKey, PublicKey
    from fusion.crypto.paillier.randomisers import Randomiser
    from fusion.crypto.paillier.residues import Rows

    Words = NDArray[np.uint64]

SECRET_BITS: Final = 128
"""Bits of s, which is also how many transfers of seeds there are."""

MAX_CHOICE_BITS: Final = 12
_SEED_BITS: Final = 256
_REDUCTION: Final = 0x87
"""``x^128 = x^7 + x^2 + x + 1`` in GF(2^128)."""


class Chooser:
    """Learns one word of each table."""

    def __init__(self) -> None:
        """Draw both seeds of every transfer."""
        self._seeds = [(rng.bits(_SEED_BITS), rng.bits(_SEED_BITS)) for _ in range(SECRET_BITS)]
        self._streams = [[_stream(seed) for seed in pair] for pair in self._seeds]
        self._row = 0
        self._held: tuple[Words, NDArray[np.uint16]] | None = None

    def seeds(self, key: PublicKey, bits: Rows) -> Rows:
        """Answer encrypted bits with encryptions of the seeds that they choose.

        Args:
            key: The offerer's.
            bits: :data:`SECRET_BITS` ciphertexts, units below N^2.

        Raises:
            MessageInvalid: Another number of them.
        """
        if len(bits) != SECRET_BITS:
            raise MessageInvalid("There are more or fewer encrypted bits than there are seeds.")
        # The second seed is 2^256 higher, so that the difference is never negative.
        above = mpz(1) << _SEED_BITS
        first = Full(key).encrypt(rows_of((a for a, _ in self._seeds), key.plaintext_bytes))
        chosen = (
            value * gmpy2.powmod_sec(bit, above + b - a, key.n_squared) % key.n_squared
            for value, bit, (a, b) in zip(integers(first), integers(bits), self._seeds, strict=True)
        )
        return rows_of(chosen, key.ciphertext_bytes)

    def choose(self, choices: NDArray[np.uint16], width: int) -> Rows:
        """Choose an entry of each of the next tables; return what the offerer needs.

        Args:
            choices: One a row, below ``2 ** width``.
            width: Bits of a choice.

        Returns:
            ``(SECRET_BITS, width * ceil(rows / 8))`` bytes, uniform to whoever lacks a seed.
        """
        size = -(-len(choices) // 8)
        planes = [np.packbits(choices >> w & 1, bitorder="little") for w in range(width)]
        mine = np.concatenate(planes).astype(np.uint8)
        none, other = (_drawn([pair[i] for pair in self._streams], width * size) for i in (0, 1))
        self._held = _joined(none, width, len(choices)), choices
        return none ^ other ^ mine

    def words(self, tables: Words) -> Words:
        """Return the chosen word of each table.

        Args:
            tables: ``(rows, 2 ** width)`` blinded words, of the rows chosen last.

        Raises:
            MessageInvalid: Not as many tables as there were choices.
        """
        if self._held is None or len(tables) != len(self._held[1]):
            raise MessageInvalid("Tables came of which no entries were chosen.")
        (field, choices), self._held = self._held, None
        rows = np.arange(len(choices), dtype=np.uint64)
        tweaks = np.stack([choices.astype(np.uint64), rows + np.uint64(self._row)], axis=1)
        self._row += len(choices)
        found = np.take_along_axis(tables, choices[:, None].astype(np.int64), axis=1)[:, 0]
        return np.asarray(found ^ _hashed(field, tweaks))


class Offerer:
    """Has the tables."""

    def __init__(self) -> None:
        """Draw s."""
        self._secret = rng.bits(SECRET_BITS)
        self._streams: list[CipherContext] = []
        self._row = 0

    def bits(self, randomiser: Randomiser, key: PublicKey) -> Rows:
        """Return s, a bit a ciphertext, encrypted under the own key."""
        bits = (self._secret >> i & 1 for i in range(SECRET_BITS))
        return randomiser.encrypt(rows_of(bits, key.plaintext_bytes))

    def take(self, key: PrivateKey, seeds: Rows) -> None:
        """Take the chosen seeds.

        Raises:
            MessageInvalid: Not as many as there are bits, or not of seeds.
        """
        plain = integers(key.decrypt(seeds))
        above = mpz(1) << _SEED_BITS
        found = [value - (self._secret >> i & 1) * above for i, value in enumerate(plain)]
        if len(found) != SECRET_BITS or not all(0 <= value < above for value in found):
            raise MessageInvalid("What was decrypted are no seeds.")
        self._streams = [_stream(int(value)) for value in found]

    def blinded(self, corrections: Rows, tables: Words) -> Words:
        """Return tables of which the chooser can read the entries that it chose.

        Args:
            corrections: What the chooser sent.
            tables: ``(rows, 2 ** width)`` words.

        Raises:
            MessageInvalid: The corrections are of another number of rows.
        """
        rows, entries = tables.shape
        width = entries.bit_length() - 1
        size = width * -(-rows // 8)
        if corrections.shape != (SECRET_BITS, size):
            raise MessageInvalid("The choices are of another number of tables.")
        secret = np.array([self._secret >> i & 1 for i in range(SECRET_BITS)], np.uint8)
        mine = _drawn(self._streams, size) ^ (corrections * secret[:, None])
        field = _joined(mine, width, rows)
        multiples = np.array(
            [_halves(multiplied(e, self._secret)) for e in range(entries)], np.uint64
        )
        tweaks = np.empty((rows, entries, 2), np.uint64)
        tweaks[:, :, 0] = np.arange(entries, dtype=np.uint64)
        tweaks[:, :, 1] = np.arange(rows, dtype=np.uint64)[:, None] + np.uint64(self._row)
        self._row += rows
        points = field[:, None, :] ^ multiples
        pads = _hashed(points.reshape(-1, 2), tweaks.reshape(-1, 2)).reshape(rows, entries)
        return np.asarray(tables ^ pads)


def multiplied(a: int, b: int) -> int:
    """Return the product in GF(2^128), of bits as coefficients, the lowest first."""
    total = 0
    while a:
        if a & 1:
            total ^= b
        a >>= 1
        b = (b << 1) ^ (_REDUCTION if b >> (SECRET_BITS - 1) else 0)
        b &= (1 << SECRET_BITS) - 1
    return total


def _stream(seed: int) -> CipherContext:
    """AES-256 in counter mode; a seed serves one stream."""
    return Cipher(AES256(seed.to_bytes(_SEED_BITS // 8, "little")), CTR(bytes(16))).encryptor()


def _drawn(streams: list[CipherContext], size: int) -> Rows:
    """Return the next bytes of all streams, a line each."""
    data = b"".join(stream.update(bytes(size)) for stream in streams)
    return np.frombuffer(data, np.uint8).reshape(SECRET_BITS, size)


def _joined(lines: Rows, width: int, rows: int) -> Words:
    """Return each row's bits as one element: those of plane w times x^w.

    Args:
        lines: ``(SECRET_BITS, width * ceil(rows / 8))``.
        width: Planes.
        rows: Rows.

    Returns:
        ``(rows, 2)``: low and high half.
    """
    planes = lines.reshape(SECRET_BITS, width, -1)
    total: Words = np.zeros((rows, 2), np.uint64)
    for w in reversed(range(width)):
        bits = np.unpackbits(planes[:, w], axis=1, count=rows, bitorder="little")
        packed = np.packbits(np.ascontiguousarray(bits.T), axis=1, bitorder="little")
        low, high = total[:, 0], total[:, 1]
        carry = high >> np.uint64(63)
        times_x = [
            (low << np.uint64(1)) ^ (carry * np.uint64(_REDUCTION)),
            (high << np.uint64(1)) | (low >> np.uint64(63)),
        ]
        plane = packed.view("<u8").astype(np.uint64, copy=False)
        total = np.bitwise_xor(np.stack(times_x, axis=1), plane)
    return total


def _halves(value: int) -> tuple[int, int]:
    return value & ((1 << 64) - 1), value >> 64


_PERMUTATION: Final = digest("banyan/oblivious-permutation/v1")[:16]
"""The key of the public permutation: a number with nothing up its sleeve."""


def _hashed(points: Words, tweaks: Words) -> Words:
    """Return ``p(p(x) + i) + p(x)`` of each point x and tweak i, cut to a word.

    No tweak occurs twice under one secret: it is the row's number in the run, and the entry's.
    """
    # A permutation of single blocks is what is wanted; nothing is encrypted with it.
    permute = Cipher(AES128(_PERMUTATION), ECB()).encryptor()  # noqa: S305
    first = np.frombuffer(permute.update(points.astype("<u8").tobytes()), "<u8").reshape(-1, 2)
    mixed = (first ^ tweaks).astype("<u8").tobytes()
    second = np.frombuffer(permute.update(mixed), "<u8").reshape(-1, 2)
    return np.asarray(first[:, 0] ^ second[:, 0], np.uint64)
