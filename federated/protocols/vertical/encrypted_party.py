"""What each party of a linear model without a third party does: block, products, state.

The exchanges of the two roles are in :mod:`.linear_encrypted`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from gmpy2 import mpz

from federated.frames import read_frame, write_frame
from federated.protocols.vertical.encrypted_blocks import ENTRY_BITS, OtherBlock, OwnBlock, Shape
from federated.protocols.vertical.kept import well_formed
from federated.protocols.vertical.linear_terms import WEIGHT_BITS, LinearTerms
from federated.protocols.vertical.lookups import VALUE_BITS, Lookup
from federated.protocols.vertical.messages import CHUNK_BYTES, Kind, chunks
from federated.protocols.vertical.packing import check_ciphertexts
from federated.protocols.vertical.ring import fixed, forward
from federated.protocols.vertical.scripts import Due, Scripted
from federated.protocols.vertical.shared_weights import SharedWeights
from fusion.crypto.paillier.keys import PublicKey
from fusion.crypto.paillier.modulus_proof import check_proof, prove
from fusion.crypto.paillier.randomisers import Exact, Tabled
from fusion.crypto.paillier.received import check_distance
from fusion.crypto.paillier.residues import rows_of
from fusion.errors import InputInvalid, MessageInvalid

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from federated.protocols.vertical.messages import Array
    from federated.protocols.vertical.scripts import Script
    from fusion.crypto.paillier.keys import PrivateKey
    from fusion.crypto.paillier.residues import Rows

    Floats = NDArray[np.float64]
    Words = NDArray[np.uint64]
    Rows_ = Generator[Due, Sequence[Array], Rows]
    Words_ = Generator[Due, Sequence[Array], Words]

MAX_WIDTH: Final = 4096
"""Columns of a block."""

DROPPED_BITS: Final = 8
"""Of the fraction bits of a weight, before it is multiplied for a score."""

SCORE_BITS: Final = ENTRY_BITS + WEIGHT_BITS - DROPPED_BITS

SCORES_STEP, Z_STEP, RESIDUALS_STEP, SUMS_STEP, TABLES_STEP = 0, 1, 2, 3, 16
_STATE: Final = "banyan.vertical-state/1"
_TABLE_BYTES: Final = 4 * CHUNK_BYTES
"""Of the tables of one message."""


class EncryptedParty(Scripted):
    """What label party and feature parties have in common.

    Attributes:
        epoch: The one that runs, from 1; 0 before.
        epochs_done: Epochs that are finished.
    """

    _role: str
    _first: bool

    def __init__(
        self,
        names: Sequence[str],
        terms: LinearTerms,
        block: Floats,
        key: PrivateKey,
        kinds: Mapping[str, Collection[Kind]],
    ) -> None:
        """Take what was agreed, the own block of the training rows, the own key; what may come."""
        if block.shape != (terms.rows, block.shape[1]) or not 0 < block.shape[1] <= MAX_WIDTH:
            raise InputInvalid("A block of a design matrix is not of the agreed size.")
        super().__init__(kinds)
        self._names = tuple(names)
        self._terms, self._key = terms, key
        self._lookup = Lookup.of(terms.family, terms.row_bits)
        self._score_width = SCORE_BITS + self._lookup.period_bits
        self._randomiser = Exact(key)
        self._block = fixed(block, ENTRY_BITS)
        # What a share of residuals lacks that was read as an integer, see _own_sums.
        self._short = [total << 64 for total in self._block.view(np.int64).sum(axis=0).tolist()]
        shape = self._shape(key.public, block.shape[1])
        self._own = OwnBlock(key, self._randomiser, self._block.view(np.int64), shape)
        self._own_shape = shape
        self.weights: Floats = np.zeros(0)
        self.epoch = 0
        self.epochs_done = 0
        self._kept: list[Words] = []

    def keep(self) -> bytes:
        """Return the state after the last finished epoch: shares, which alone are uniform."""
        widths = [kept.shape[1] for kept in self._kept]
        data = b"".join(kept.astype("<u8").tobytes() for kept in self._kept)
        head = {"schema": _STATE, "role": self._role, "step": self.epochs_done, "widths": widths}
        return write_frame(head, {"words": data})

    def go_on(self, state: bytes) -> None:
        """Go on after the epoch at which a state was kept; before :meth:`start`.

        Everything secret is drawn anew, so that nothing sent before fits to what is sent again.

        Raises:
            MessageInvalid: It is none of this kind of party.
        """
        head, arrays = read_frame(state)
        if (head.get("schema"), head.get("role")) != (_STATE, self._role):
            raise MessageInvalid("A kept state is not one of this kind of machine.")
        with well_formed():
            words, at = np.frombuffer(arrays["words"], "<u8").astype(np.uint64), 0
            for width in head["widths"]:
                self._kept.append(words[at : at + 4 * width].reshape(2, width, 2))
                at += 4 * width
            self.epochs_done = range(self._terms.epochs + 1)[head["step"]]

    def _epochs(self, weights: Sequence[SharedWeights]) -> Iterator[int]:
        """Return the epochs still to do, and keep the shares after each."""
        if self.epochs_done:
            if len(weights) != len(self._kept):
                raise MessageInvalid("A kept state is of other parties.")
            for each, kept in zip(weights, self._kept, strict=True):
                each.go_on(kept)
        for epoch in range(self.epochs_done, self._terms.epochs):
            self.epoch = epoch + 1
            yield epoch
            self._kept = [each.kept() for each in weights]
            self.epochs_done = epoch + 1

    def _shape(self, key: PublicKey, width: int) -> Shape:
        return Shape.of(key, self._terms.rows, width, self._score_width)

    def _weights(self, width: int) -> SharedWeights:
        cut = ENTRY_BITS + VALUE_BITS + self._terms.row_bits - WEIGHT_BITS
        return SharedWeights(self._terms, width, len(self._names), cut, first=self._first)

    # ------------------------------------------------------------------ blocks, once

    def _send_key(self, to: str) -> None:
        """Send the modulus, and the proof that encryption under it is what it should be."""
        public = self._key.public
        modulus = rows_of([public.n], public.residue_bytes)[0]
        proof = np.frombuffer(prove(self._key.p, self._key.q), np.uint8)
        self.send(to, Kind.KEY, 0, 0, modulus, proof)

    def _read_key(self, sender: str) -> Generator[Due, Sequence[Array], PublicKey]:
        """Take a key, if it is one that can be used.

        Raises:
            KeyRefused: The modulus is no sound one.
            VerificationFailed: The proof does not hold.
        """
        modulus, proof = yield Due(sender, Kind.KEY, 0, 0, (("u1", (None,)), ("u1", (None,))))
        key = PublicKey(int(mpz.from_bytes(modulus.tobytes(), "little")))
        check_distance(key)
        check_proof(key, proof.tobytes())
        return key

    def _send_block(self, to: str) -> Script:
        """Encrypt the own block as fast as it is asked for."""
        for number, (way, first, count) in enumerate(self._own_shape.pieces()):
            yield Due(to, Kind.REQUEST, number, 0, ())
            self.send(to, Kind.BLOCK, number, 0, self._own.piece(way, first, count))

    def _read_block(
        self, sender: str, key: PublicKey, width: int
    ) -> Generator[Due, Sequence[Array], OtherBlock]:
        shape = self._shape(key, width)
        block = OtherBlock(key, Tabled(key), shape)
        for number, (way, first, count) in enumerate(shape.pieces()):
            self.send(sender, Kind.REQUEST, number, 0)
            due = ("u1", (count, key.ciphertext_bytes))
            (rows,) = yield Due(sender, Kind.BLOCK, number, 0, (due,))
            check_ciphertexts(key, rows)
            block.take(way, first, rows)
        return block

    # ------------------------------------------------------------------ products, each epoch

    def _send_product(self, to: str, epoch: int, step: int, rows: Rows) -> None:
        for first, count in chunks(*rows.shape):
            self.send(to, Kind.PRODUCT, epoch, step, rows[first : first + count])

    def _read_product(self, sender: str, epoch: int, step: int, count: int) -> Rows_:
        width, parts = self._key.public.ciphertext_bytes, []
        for _, size in chunks(count, width):
            due = ("u1", (size, width))
            (rows,) = yield Due(sender, Kind.PRODUCT, epoch, step, (due,))
            check_ciphertexts(self._key.public, rows)
            parts.append(rows)
        return np.concatenate(parts)

    def _share_scores(
        self, to: str, epoch: int, block: OtherBlock, weights: SharedWeights
    ) -> Words:
        """Multiply another's block with the share of its weights that is here."""
        bits = self._score_width
        product, mine = block.scores(weights.exponents(DROPPED_BITS, bits), bits)
        self._send_product(to, epoch, SCORES_STEP, product)
        return mine

    def _own_scores(self, sender: str, epoch: int, weights: SharedWeights) -> Words_:
        """Return the own share of the own block's part of scores."""
        shape = self._own_shape
        count = shape.across.groups(shape.rows)
        product = yield from self._read_product(sender, epoch, SCORES_STEP, count)
        exponents = np.array(weights.exponents(DROPPED_BITS, self._score_width), np.uint64)
        return forward(self._block, exponents) + self._own.scores(product)

    def _share_sums(self, to: str, epoch: int, block: OtherBlock, residuals: Words) -> list[int]:
        product, mine = block.sums(residuals)
        self._send_product(to, epoch, SUMS_STEP, product)
        return mine

    def _own_sums(
        self, sender: str, epoch: int, residuals: Words
    ) -> Generator[Due, Sequence[Array], list[int]]:
        """Return the own share of the own block's gradient, summed over rows, as integers.

        Shares of a residual are words whose sum is ``2^64`` more than the residual, since one of
        them is uniform and the residual small; so the sums of the block's columns, 2^64 times, are
        too many.
        """
        shape = self._own_shape
        count = shape.down.groups(shape.columns)
        product = yield from self._read_product(sender, epoch, SUMS_STEP, count)
        mine = exact_sums(self._block, residuals)
        theirs = self._own.sums(product)
        return [a + b - short for a, b, short in zip(mine, theirs, self._short, strict=True)]

    def _rows_a_table(self) -> list[tuple[int, int]]:
        size = max(8, _TABLE_BYTES >> (3 + self._lookup.level_bits))
        rows = self._terms.rows
        return [(first, min(size, rows - first)) for first in range(0, rows, size)]


def exact_sums(block: Words, words: Words) -> list[int]:
    """Return the sums of each column's entries times words, as integers.

    Args:
        block: ``(rows, columns)``, signed, of at most 15 bits.
        words: One a row, from 0 to below 2^64.
    """
    signed = block.view(np.int64).astype(np.float64)
    limbs: list[Any] = [words >> np.uint64(16 * i) & np.uint64(0xFFFF) for i in range(4)]
    # 15 + 16 bits and 2^20 rows: every partial sum is an integer below 2^53, and exact.
    parts = signed.T @ np.stack(limbs, axis=1).astype(np.float64)
    return [sum(int(part) << (16 * i) for i, part in enumerate(line)) for line in parts.tolist()]
