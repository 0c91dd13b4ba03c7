"""A block of columns, encrypted once by its owner; others multiply it with what only they have.

Entries are numbers with :data:`ENTRY_BITS` fraction bits, raised by :data:`OFFSET` so that none is
negative. They stand side by side in plaintexts, in slots of whole bytes, in two ways: rows side by
side, for the product with a vector of weights, and columns side by side, for that of the transposed
block with a vector of residuals. A product of ciphertexts to exponents multiplies all slots at once
(bucketed multi-exponentiation: ``multi_power`` of the engines), so that per epoch no row is
encrypted and only results travel, masked in every slot and with a fresh randomiser.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fusion.crypto import rng
from fusion.crypto.paillier.residues import rows_of
from fusion.errors import InputInvalid, MessageInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from fusion.crypto.paillier.keys import PrivateKey, PublicKey
    from fusion.crypto.paillier.randomisers import Randomiser
    from fusion.crypto.paillier.residues import Rows

    Ints = NDArray[np.int64]
    Words = NDArray[np.uint64]

ENTRY_BITS: Final = 10
"""Fraction bits of an entry, whose size is at most 16."""

OFFSET: Final = 1 << 14
"""16 with :data:`ENTRY_BITS`: an entry raised by it has 15 bits, or is ``2 ** 15``."""

MASK_BITS: Final = 64
"""A mask is at least so many bits longer than what it hides: statistical distance 2^-64."""

PIECE: Final = 8192
"""Ciphertexts of one message."""

MAX_CELLS: Final = 1 << 25
"""Rows times columns of a block."""

_RAISED_BITS: Final = 15


@dataclass(frozen=True, slots=True)
class Slots:
    """How numbers stand in a plaintext.

    Attributes:
        size: Bytes of a slot: of a sum, :data:`MASK_BITS` more, and one bit for what they carry.
        count: Slots of a plaintext.
    """

    size: int
    count: int

    @classmethod
    def of(cls, key: PublicKey, exponent_bits: int, terms: int) -> Slots:
        """Return slots that hold masked sums of entries times exponents.

        Args:
            key: Of the plaintexts.
            exponent_bits: Of an exponent, below ``2 ** exponent_bits``.
            terms: Products in a sum.
        """
        bits = exponent_bits + _RAISED_BITS + terms.bit_length() + MASK_BITS + 1
        size = -(-bits // 8)
        return cls(size, (key.plaintext_bytes - 1) // size)

    def groups(self, numbers: int) -> int:
        """Return how many plaintexts so many numbers take."""
        return -(-numbers // self.count)

    def written(self, numbers: Words, width: int) -> Rows:
        """Write numbers below 2^64: a line of them becomes a line of plaintexts.

        Args:
            numbers: ``(lines, numbers)``.
            width: Bytes of a plaintext.

        Returns:
            ``(lines * groups, width)``.
        """
        lines, count = numbers.shape
        groups = self.groups(count)
        room = np.zeros((lines, groups * self.count), np.uint64)
        room[:, :count] = numbers
        parts = room.astype("<u8").view(np.uint8).reshape(lines * groups, self.count, 8)
        out = np.zeros((lines * groups, width), np.uint8)
        slots = out[:, : self.count * self.size].reshape(-1, self.count, self.size)
        slots[:, :, :8] = parts
        return out

    def masks(self, groups: int, width: int) -> Rows:
        """Return plaintexts that are uniform in every slot, but for its highest bit."""
        out = np.zeros((groups, width), np.uint8)
        data = rng.token(groups * self.count * self.size)
        drawn = np.frombuffer(data, np.uint8).reshape(groups, self.count, self.size).copy()
        drawn[:, :, -1] &= 0x7F
        out[:, : self.count * self.size] = drawn.reshape(groups, -1)
        return out

    def words(self, plaintexts: Rows, count: int) -> Words:
        """Return the numbers modulo 2^64, in order, of as many slots as ``count``."""
        slots = self._slots(plaintexts)[:count, :8]
        return np.ascontiguousarray(slots).view("<u8")[:, 0].astype(np.uint64, copy=False)

    def whole(self, plaintexts: Rows, count: int) -> list[int]:
        """Return the numbers, in order, of as many slots as ``count``."""
        slots = self._slots(plaintexts)[:count]
        return [int.from_bytes(each.tobytes(), "little") for each in slots]

    def _slots(self, plaintexts: Rows) -> Rows:
        """Return ``(slots, size)``.

        Raises:
            MessageInvalid: There is something above the slots: it was not a masked product.
        """
        used = self.count * self.size
        if plaintexts[:, used:].any():
            raise MessageInvalid("A ciphertext holds something else than masked sums.")
        return np.ascontiguousarray(plaintexts[:, :used]).reshape(-1, self.size)


@dataclass(frozen=True, slots=True)
class Shape:
    """A block's sizes, as both sides know them.

    Attributes:
        rows: Rows.
        columns: Columns.
        across: Slots of rows side by side, for sums over columns.
        down: Slots of columns side by side, for sums over rows.
    """

    rows: int
    columns: int
    across: Slots
    down: Slots

    @classmethod
    def of(cls, key: PublicKey, rows: int, columns: int, weight_bits: int) -> Shape:
        """Return the shape of a block under a key.

        Args:
            key: Its owner's.
            rows: Rows.
            columns: Columns.
            weight_bits: Of an exponent of a product over columns; one over rows has 64.

        Raises:
            InputInvalid: More cells than such a block may have.
        """
        if rows * columns > MAX_CELLS:
            raise InputInvalid(
                f"An encrypted block has at most {MAX_CELLS:,} entries, rows times columns.",
                hint="Use --backend dealer, or fewer rows or columns.",
            )
        across, down = Slots.of(key, weight_bits, columns), Slots.of(key, 64, rows)
        return cls(rows, columns, across, down)

    @property
    def ciphertexts(self) -> tuple[int, int]:
        """How many there are with rows, and with columns, side by side."""
        return (
            self.columns * self.across.groups(self.rows),
            self.rows * self.down.groups(self.columns),
        )

    def pieces(self) -> Iterator[tuple[int, int, int]]:
        """Return ``(way, first, count)`` of each message: way 0 is rows side by side."""
        for way, total in enumerate(self.ciphertexts):
            for first in range(0, total, PIECE):
                yield way, first, min(PIECE, total - first)


class OwnBlock:
    """The owner's side of its block."""

    def __init__(self, key: PrivateKey, randomiser: Randomiser, block: Ints, shape: Shape) -> None:
        """Take entries with :data:`ENTRY_BITS`, at most :data:`OFFSET` in size."""
        self._key, self._randomiser, self._shape = key, randomiser, shape
        self._raised = (block + OFFSET).astype(np.uint64)

    def piece(self, way: int, first: int, count: int) -> Rows:
        """Encrypt some of the block's plaintexts, those of one message."""
        shape, width = self._shape, self._key.public.plaintext_bytes
        lines = self._raised.T if way == 0 else self._raised
        slots = shape.across if way == 0 else shape.down
        groups = slots.groups(lines.shape[1])
        start, stop = first // groups, -(-(first + count) // groups)
        plain = slots.written(np.ascontiguousarray(lines[start:stop]), width)
        mine = plain[first - start * groups :][:count]
        return self._randomiser.encrypt(np.ascontiguousarray(mine))

    def scores(self, ciphertexts: Rows) -> Words:
        """Decrypt what came of a product over columns: masked sums, modulo 2^64, a row each."""
        return self._shape.across.words(self._key.decrypt(ciphertexts), self._shape.rows)

    def sums(self, ciphertexts: Rows) -> list[int]:
        """Decrypt what came of a product over rows: masked sums, a column each."""
        return self._shape.down.whole(self._key.decrypt(ciphertexts), self._shape.columns)


class OtherBlock:
    """Another's block, as it was received, encrypted."""

    def __init__(self, key: PublicKey, blinding: Randomiser, shape: Shape) -> None:
        """Take the owner's key, and what makes randomisers uniform."""
        self._key, self._blinding, self._shape = key, blinding, shape
        width = key.ciphertext_bytes
        self._held = [np.empty((count, width), np.uint8) for count in shape.ciphertexts]

    def take(self, way: int, first: int, ciphertexts: Rows) -> None:
        """Keep a piece, already checked to be units below N^2."""
        self._held[way][first : first + len(ciphertexts)] = ciphertexts

    def scores(self, weights: Sequence[int], bits: int) -> tuple[Rows, Words]:
        """Multiply with own weights, each below ``2 ** bits``.

        Returns:
            The masked product, encrypted, for the owner; and the own share, modulo 2^64, which
            with the owner's adds up to the product.
        """
        slots, shape = self._shape.across, self._shape
        groups = slots.groups(shape.rows)
        columns = self._held[0].reshape(shape.columns, groups, -1)
        total = common_power(self._key, columns, weights, bits)
        masks = slots.masks(groups, self._key.plaintext_bytes)
        raised = (OFFSET * sum(weights)) % (1 << 64)
        mine = np.uint64(0) - slots.words(masks, shape.rows) - np.uint64(raised)
        return self._blinded(total, masks), mine

    def sums(self, residuals: Words) -> tuple[Rows, list[int]]:
        """Multiply the transposed block with own words; return as :meth:`scores`, but integers."""
        slots, shape, key = self._shape.down, self._shape, self._key
        groups = slots.groups(shape.columns)
        exponents = residuals.astype("<u8").view(np.uint8).reshape(-1, 8)
        by_group = self._held[1].reshape(shape.rows, groups, -1)
        found = [
            key.ring.multi_power(np.ascontiguousarray(by_group[:, group]), exponents)
            for group in range(groups)
        ]
        masks = slots.masks(groups, key.plaintext_bytes)
        raised = OFFSET * sum(residuals.tolist())
        mine = [-mask - raised for mask in slots.whole(masks, shape.columns)]
        return self._blinded(rows_of(found, key.ciphertext_bytes), masks), mine

    def _blinded(self, total: Rows, masks: Rows) -> Rows:
        return self._key.product_ring.product([total, self._blinding.encrypt(masks)])


def common_power(
    key: PublicKey, columns: NDArray[np.uint8], exponents: Sequence[int], bits: int
) -> Rows:
    """Return, for every group, the product of each column's ciphertext to the column's exponent.

    All groups share the exponents, so that a bit of them is one product over all groups.

    Args:
        key: The key.
        columns: ``(columns, groups, bytes)``.
        exponents: The caller's own, one a column: which bits are set decides what is read.
        bits: Of the longest.
    """
    one = np.zeros(columns.shape[1:], np.uint8)
    one[:, 0] = 1
    total: Any = None
    for bit in reversed(range(bits)):
        chosen = [columns[j] for j, e in enumerate(exponents) if e >> bit & 1]
        factors = chosen if total is None else [total, total, *chosen]
        total = key.product_ring.product(factors) if factors else None
    return one if total is None else np.asarray(total)
