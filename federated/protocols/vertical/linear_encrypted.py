"""Generalised linear models without a third party: Paillier for products, transfers for the mean.

The same steps as with a dealer (:mod:`.linear`): weights, scores and residuals exist as two
shares, of which the label party has one; the *helper*, the first feature party, has the other of
scores and residuals, each owner the other of its own weights, the helper that of the label
party's. After CAESAR (Chen et al., KDD 2021), but for three things: an owner encrypts its block
once for the run (:mod:`.encrypted_blocks`), so that no row is encrypted in an epoch; shares of
gradients are integers, so that rounding can't fail; and the mean is a table that is read by
oblivious transfer (:mod:`.lookups`, :mod:`fusion.crypto.oblivious`), not a polynomial.
Who learns what: ``docs/claims/vertical.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from federated.protocols.vertical.encrypted_party import (
    MAX_WIDTH,
    RESIDUALS_STEP,
    SCORE_BITS,
    TABLES_STEP,
    Z_STEP,
    EncryptedParty,
)
from federated.protocols.vertical.linear_terms import LinearTerms, Target
from federated.protocols.vertical.lookups import VALUE_BITS
from federated.protocols.vertical.messages import Kind
from federated.protocols.vertical.packing import check_ciphertexts
from federated.protocols.vertical.permutations import system_words
from federated.protocols.vertical.ring import fixed
from federated.protocols.vertical.scripts import Due
from fusion.crypto.oblivious import SECRET_BITS, Chooser, Offerer
from fusion.errors import MessageInvalid

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from numpy.typing import NDArray

    from federated.protocols.vertical.encrypted_blocks import OtherBlock
    from federated.protocols.vertical.messages import Array
    from federated.protocols.vertical.scripts import Script
    from federated.protocols.vertical.shared_weights import SharedWeights
    from fusion.crypto.paillier.keys import PrivateKey

    Floats = NDArray[np.float64]
    Words = NDArray[np.uint64]
    Words_ = Generator[Due, Sequence[Array], Words]


class EncryptedLinearLabel(EncryptedParty):
    """The label party.

    Attributes:
        weights: Of its own block, when done.
        target: The scale of labels and scores.
    """

    _role, _first = "encrypted-label", True

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
        of_all = (Kind.OFFER, Kind.KEY, Kind.BLOCK, Kind.PRODUCT)
        kinds: dict[str, tuple[Kind, ...]] = dict.fromkeys(parties, of_all)
        kinds[parties[0]] += (Kind.BITS, Kind.REQUEST, Kind.TABLES, Kind.WEIGHTS)
        super().__init__([name, *parties], terms, block, key, kinds)
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
        for name, key, columns in zip(others, keys, widths[1:], strict=True):
            blocks.append((yield from self._read_block(name, key, columns)))
        yield from self._send_block(others[0])
        mine, *theirs = [self._weights(width) for width in widths]
        for epoch in self._epochs([mine, *theirs]):
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


class EncryptedLinearFeature(EncryptedParty):
    """A feature party; the first is the helper.

    Attributes:
        weights: Of its own block, when done.
    """

    _role, _first = "encrypted-feature", False

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
        label, helper, *others = names
        kinds: dict[str, tuple[Kind, ...]]
        kinds = dict.fromkeys(others if name == helper else (helper,), (Kind.SHARE,))
        kinds[label] = (Kind.START, Kind.REQUEST, Kind.PRODUCT, Kind.WEIGHTS)
        if name == helper:
            kinds[label] += (Kind.KEY, Kind.SEEDS, Kind.BLOCK, Kind.CHOICES)
        super().__init__(names, terms, block, key, kinds)
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
        for epoch in self._epochs([mine]):
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
        for epoch in self._epochs([mine, theirs]):
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
