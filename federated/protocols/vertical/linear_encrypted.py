"""Generalised linear models without a third party: Paillier for products, transfers for the mean.

The same steps as with a dealer (:mod:`.linear`): weights, scores and residuals exist as two
shares, of which the label party has one; the *helper*, the first feature party, has the other of
scores and residuals, each owner the other of its own weights, the helper that of the label
party's. After CAESAR (Chen et al., KDD 2021), but for three things: an owner encrypts its block once
for the run (:mod:`.encrypted_blocks`), so that nothing of the size of a row is encrypted in an
epoch; shares of gradients are integers, so that rounding can't fail; and the mean is a table read by
oblivious transfer (:mod:`.lookups`, :mod:`fusion.crypto.oblivious`), not a polynomial.
Who learns what: ``docs/claims/vertical.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from gmpy2 import mpz

from federated.protocols.vertical.encrypted_blocks import ENTRY_BITS, OtherBlock, OwnBlock, Shape
from federated.protocols.vertical.linear_terms import WEIGHT_BITS, LinearTerms, Target
from federated.protocols.vertical.lookups import VALUE_BITS, Lookup
from federated.protocols.vertical.messages import CHUNK_BYTES, Kind, chunks
from federated.protocols.vertical.packing import check_ciphertexts
from federated.protocols.vertical.permutations import system_words
from federated.protocols.vertical.ring import fixed, forward
from federated.protocols.vertical.scripts import Due, Scripted
from federated.protocols.vertical.shared_weights import SharedWeights
from fusion.crypto.oblivious import SECRET_BITS, Chooser, Offerer
from fusion.crypto.paillier.keys import PublicKey
from fusion.crypto.paillier.modulus_proof import check_proof, prove
from fusion.crypto.paillier.randomisers import Exact, Tabled
from fusion.crypto.paillier.received import check_distance
from fusion.crypto.paillier.residues import rows_of
from fusion.errors import InputInvalid, MessageInvalid

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

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
_TABLE_BYTES: Final = 4 * CHUNK_BYTES
"""Of the tables of one message."""


class _Party(Scripted):
    """What label party and feature parties have in common."""

    def __init__(
        self, name: str, names: Sequence[str], terms: LinearTerms, block: Floats, key: PrivateKey
    ) -> None:
        if block.shape != (terms.rows, block.shape[1]) or not 0 < block.shape[1] <= MAX_WIDTH:
            raise InputInvalid("A block of a design matrix is not of the agreed size.")
        super().__init__(n for n in names if n != name)
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

    def _shape(self, key: PublicKey, width: int) -> Shape:
        return Shape.of(key, self._terms.rows, width, self._score_width)

    def _weights(self, width: int) -> SharedWeights:
        cut = ENTRY_BITS + VALUE_BITS + self._terms.row_bits - WEIGHT_BITS
        first = isinstance(self, EncryptedLinearLabel)
        return SharedWeights(self._terms, width, len(self._names), cut, first=first)

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


class EncryptedLinearLabel(_Party):
    """The label party.

    Attributes:
        weights: Of its own block, when done.
        target: The scale of labels and scores.
        epoch: The one that runs, from 1; 0 before.
    """

    def __init__(
        self,
        name: str,
        parties: Sequence[str],
        terms: LinearTerms,
        block: Floats,
        labels: Floats,
        key: PrivateKey,
    ) -> None:
        """Take what was agreed.

        Args:
            name: Its own name.
            parties: Feature parties; the first is the helper.
            terms: The terms.
            block: Own block of the design matrix, of the training rows.
            labels: Of the training rows.
            key: Its own, of two safe primes, for this run.
        """
        super().__init__(name, [name, *parties], terms, block, key)
        self.target = Target.of(terms.family, labels)
        self._labels = fixed(self.target.values, VALUE_BITS)
        self._chooser = Chooser()

    def script(self) -> Script:
        """See :class:`~.scripts.Scripted`."""
        terms, others = self._terms, self._names[1:]
        widths = [self._own_shape.columns]
        keys = []
        for name in others:
            (width,) = yield Due(name, Kind.OFFER, 0, 0, (("u4", ()),))
            if not 0 < int(width) <= MAX_WIDTH:
                raise MessageInvalid("A party offers no columns, or too many.")
            widths.append(int(width))
            keys.append((yield from self._read_key(name)))
        for name in others:
            self.send(name, Kind.START, 0, 0, np.array(widths, np.uint32))
        self._send_key(others[0])
        due = ("u1", (SECRET_BITS, keys[0].ciphertext_bytes))
        (bits,) = yield Due(others[0], Kind.BITS, 0, 0, (due,))
        check_ciphertexts(keys[0], bits)
        self.send(others[0], Kind.SEEDS, 0, 0, self._chooser.seeds(keys[0], bits))
        blocks = []
        for name, key, width in zip(others, keys, widths[1:], strict=True):
            blocks.append((yield from self._read_block(name, key, width)))
        yield from self._send_block(others[0])
        mine, *theirs = [self._weights(width) for width in widths]
        for epoch in range(terms.epochs):
            self.epoch = epoch + 1
            yield from self._epoch(epoch, blocks, mine, theirs)
        for name, weights in zip(others, theirs, strict=True):
            self.send(name, Kind.WEIGHTS, terms.epochs, 0, weights.words())
        (rest,) = yield Due(others[0], Kind.WEIGHTS, terms.epochs, 0, (("u8", (widths[0], 2)),))
        self.weights = mine.opened(rest)

    def _epoch(
        self,
        epoch: int,
        blocks: Sequence[OtherBlock],
        mine: SharedWeights,
        theirs: Sequence[SharedWeights],
    ) -> Script:
        others = self._names[1:]
        start = self.target.offset if self._terms.family == "logistic" else 0.0
        scores = fixed(np.array(start - self._lookup.centre), SCORE_BITS)
        for name, block, weights in zip(others, blocks, theirs, strict=True):
            scores = scores + self._share_scores(name, epoch, block, weights)
        scores = scores + (yield from self._own_scores(others[0], epoch, mine))
        residuals = (yield from self._means(epoch, scores)) - self._labels
        shares = [
            self._share_sums(name, epoch, block, residuals)
            for name, block in zip(others, blocks, strict=True)
        ]
        mine.step((yield from self._own_sums(others[0], epoch, residuals)))
        for weights, share in zip(theirs, shares, strict=True):
            weights.step(share)

    def _means(self, epoch: int, scores: Words) -> Words_:
        """Return the own share of means: one transfer a row."""
        helper, width = self._names[1], self._lookup.level_bits
        levels = self._lookup.levels(scores, SCORE_BITS).astype(np.uint16)
        parts = []
        for number, (first, count) in enumerate(self._rows_a_table()):
            step = TABLES_STEP + number
            choices = self._chooser.choose(levels[first : first + count], width)
            self.send(helper, Kind.CHOICES, epoch, step, choices)
            due = ("u8", (count, 1 << width))
            (tables,) = yield Due(helper, Kind.TABLES, epoch, step, (due,))
            parts.append(self._chooser.words(tables))
        return np.concatenate(parts)


class EncryptedLinearFeature(_Party):
    """A feature party; the first is the helper.

    Attributes:
        weights: Of its own block, when done.
    """

    def __init__(
        self, name: str, names: Sequence[str], terms: LinearTerms, block: Floats, key: PrivateKey
    ) -> None:
        """Take what was agreed.

        Args:
            name: Its own name.
            names: All parties: the label party, then the feature parties.
            terms: The terms.
            block: Own block of the design matrix, of the training rows.
            key: Its own, of two safe primes, for this run.
        """
        super().__init__(name, names, terms, block, key)
        self._name = name

    def script(self) -> Script:
        """See :class:`~.scripts.Scripted`."""
        terms, label, width = self._terms, self._names[0], self._own_shape.columns
        self.send(label, Kind.OFFER, 0, 0, np.array(width, np.uint32))
        self._send_key(label)
        (widths,) = yield Due(label, Kind.START, 0, 0, (("u4", (len(self._names),)),))
        label_width = int(widths[0])
        if not 0 < label_width <= MAX_WIDTH:
            raise MessageInvalid("The label party offers no columns, or too many.")
        if self._name == self._names[1]:
            yield from self._help(label_width)
            return
        yield from self._send_block(label)
        mine = self._weights(width)
        for epoch in range(terms.epochs):
            self.epoch = epoch + 1
            scores = yield from self._own_scores(label, epoch, mine)
            helper = self._names[1]
            self.send(helper, Kind.SHARE, epoch, Z_STEP, scores)
            due = (("u8", (terms.rows,)),)
            (residuals,) = yield Due(helper, Kind.SHARE, epoch, RESIDUALS_STEP, due)
            mine.step((yield from self._own_sums(label, epoch, residuals)))
        yield from self._open(mine)

    def _open(self, mine: SharedWeights) -> Script:
        """Take the other share of the own weights, at the end."""
        label, width = self._names[0], self._own_shape.columns
        due = (("u8", (width, 2)),)
        (rest,) = yield Due(label, Kind.WEIGHTS, self._terms.epochs, 0, due)
        self.weights = mine.opened(rest)

    def _help(self, label_width: int) -> Script:
        """Run to the end as the helper."""
        terms, label, width = self._terms, self._names[0], self._own_shape.columns
        offerer = Offerer()
        label_key = yield from self._read_key(label)
        public = self._key.public
        self.send(label, Kind.BITS, 0, 0, offerer.bits(self._randomiser, public))
        due = (("u1", (SECRET_BITS, public.ciphertext_bytes)),)
        (seeds,) = yield Due(label, Kind.SEEDS, 0, 0, due)
        check_ciphertexts(public, seeds)
        offerer.take(self._key, seeds)
        yield from self._send_block(label)
        block = yield from self._read_block(label, label_key, label_width)
        mine, theirs = self._weights(width), self._weights(label_width)
        for epoch in range(terms.epochs):
            self.epoch = epoch + 1
            scores = self._share_scores(label, epoch, block, theirs)
            scores = scores + (yield from self._own_scores(label, epoch, mine))
            for name in self._names[2:]:
                due_scores = (("u8", (terms.rows,)),)
                (part,) = yield Due(name, Kind.SHARE, epoch, Z_STEP, due_scores)
                scores = scores + part
            residuals = yield from self._offer(epoch, scores, offerer)
            for name in self._names[2:]:
                self.send(name, Kind.SHARE, epoch, RESIDUALS_STEP, residuals)
            share = self._share_sums(label, epoch, block, residuals)
            mine.step((yield from self._own_sums(label, epoch, residuals)))
            theirs.step(share)
        self.send(label, Kind.WEIGHTS, terms.epochs, 0, theirs.words())
        yield from self._open(mine)

    def _offer(self, epoch: int, scores: Words, offerer: Offerer) -> Words_:
        """Return the own share of means, drawn here, and offer tables of the rest."""
        label, lookup = self._names[0], self._lookup
        masks = system_words(self._terms.rows)
        levels = lookup.levels(scores, SCORE_BITS)
        for number, (first, count) in enumerate(self._rows_a_table()):
            step, rows = TABLES_STEP + number, slice(first, first + count)
            size = lookup.level_bits * -(-count // 8)
            due = (("u1", (SECRET_BITS, size)),)
            (choices,) = yield Due(label, Kind.CHOICES, epoch, step, due)
            tables = offerer.blinded(choices, lookup.tables(levels[rows], masks[rows]))
            self.send(label, Kind.TABLES, epoch, step, tables)
        return masks


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
