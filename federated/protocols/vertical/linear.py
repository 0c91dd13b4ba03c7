"""Generalised linear models over columns that stay apart, in shares, with a dealer.

Every epoch is one step of gradient descent with momentum over all rows. Weights, scores, residuals
and gradients exist as two shares, one at the label party, one at the feature parties: the *helper*,
the first of them, holds that of scores and residuals, each the one of its own weights. The sequence
of exchanges is :meth:`LinearLabelParty.script` and :meth:`LinearFeatureParty.script`; what each
party learns and assumes is in ``docs/claims/vertical.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from federated.protocols.vertical import kept as states
from federated.protocols.vertical.linear_dealing import (
    MAX_WIDTH,
    Cuts,
    FeatureMasks,
    LabelMasks,
    wave_lines,
)
from federated.protocols.vertical.linear_terms import (
    DATA_BITS,
    SCORE_BITS,
    STEP_BITS,
    WAVE_BITS,
    WEIGHT_BITS,
    LinearTerms,
    Target,
)
from federated.protocols.vertical.messages import Kind, chunks
from federated.protocols.vertical.permutations import Stream
from federated.protocols.vertical.ring import (
    Cut,
    backward,
    fixed,
    forward,
    masked,
    real,
    times,
    truncated,
)
from federated.protocols.vertical.scripts import Due, Scripted
from fusion.crypto import rng
from fusion.errors import InputInvalid, MessageInvalid

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Mapping, Sequence

    from numpy.typing import NDArray

    from federated.protocols.vertical.messages import Array
    from federated.protocols.vertical.scripts import Script

    Floats = NDArray[np.float64]
    Words = NDArray[np.uint64]
    Words_ = Generator[Due, Sequence[Array], Words]

OFFSET_STEP, Z_STEP, OPEN_STEP, E_STEP, G_STEP, CUT_STEP, STEP_STEP = range(7)


class _Block:
    """One block's weights in a share, and its steps."""

    def __init__(self, terms: LinearTerms, width: int, parties: int, *, first: bool) -> None:
        self.weights = np.zeros(width, np.uint64)
        self._before = self.weights
        self._factors = terms.step(parties)
        self._cut = terms.gradient_cut
        self._first = first

    def open_gradient(self, sums: Words, cut: Cut) -> Words:
        """Return the share to open, of the gradient's sum over rows."""
        return masked(sums, cut, first=self._first)

    def open_step(self, opened: Words, cuts: Cuts) -> Words:
        """Take the opened sums; return the share to open, of the new weights."""
        mean = truncated(opened, cuts.gradient, self._cut, first=self._first)
        gradient, decay, momentum = self._factors
        one = 1 << STEP_BITS
        share = times(self.weights, one + momentum - decay) - times(self._before, momentum)
        return masked(share - times(mean, gradient), cuts.step, first=self._first)

    @property
    def shares(self) -> tuple[Words, Words]:
        """The shares of the weights, and of those before."""
        return self.weights, self._before

    def go_on(self, shares: tuple[Words, Words]) -> None:
        """Take shares that were kept.

        Raises:
            MessageInvalid: They are of a block of another width.
        """
        if {len(words) for words in shares} != {len(self.weights)}:
            raise MessageInvalid("A kept state is of other columns.")
        self.weights, self._before = shares

    def finish(self, opened: Words, cuts: Cuts) -> None:
        """Take the opened weights: no one but their owner will ever have both shares."""
        self._before = self.weights
        self.weights = truncated(opened, cuts.step, STEP_BITS, first=self._first)


class _Party(Scripted):
    """What label party and feature parties have in common.

    Attributes:
        epochs_done: Epochs that are finished.
    """

    _role: str

    def __init__(
        self,
        name: str,
        names: Sequence[str],
        dealer: str,
        terms: LinearTerms,
        block: Floats,
        kinds: Mapping[str, Collection[Kind]],
    ) -> None:
        if block.shape != (terms.rows, block.shape[1]) or not 0 < block.shape[1] <= MAX_WIDTH:
            raise InputInvalid("A block of a design matrix is not of the agreed size.")
        super().__init__({**kinds, dealer: (Kind.DEALING,)})
        self._name, self._names, self._dealer = name, tuple(names), dealer
        self._terms = terms
        self._matrix = fixed(block, DATA_BITS)
        self._stream = self._seeded()
        self.weights: Floats = np.zeros(0)
        self.epochs_done = 0
        self._kept: states.Blocks = []

    def keep(self) -> bytes:
        """Return the state after the last finished epoch: shares, which alone are uniform."""
        return states.write_blocks(self._role, self.epochs_done, self._kept)

    def go_on(self, state: bytes) -> None:
        """Go on after the epoch at which a state was kept; before :meth:`start`.

        Raises:
            MessageInvalid: It is none of this kind of party.
        """
        self.epochs_done, self._kept = states.read_blocks(self._role, state)

    def _resume(self, blocks: Sequence[_Block]) -> None:
        """Give blocks the shares that were kept, if any were."""
        if self.epochs_done:
            if len(blocks) != len(self._kept):
                raise MessageInvalid("A kept state is of other parties.")
            for block, shares in zip(blocks, self._kept, strict=True):
                block.go_on(shares)

    def _finished(self, epoch: int, blocks: Sequence[_Block]) -> None:
        """Remember an epoch that is over."""
        self._kept = [block.shares for block in blocks]
        self.epochs_done = epoch + 1

    def _seeded(self) -> Stream:
        self._seed, self._matrix_seed = rng.token(32), rng.token(32)
        return Stream(self._seed)

    def _greet(self) -> None:
        """Send seeds to the dealer, and the width of the own block to everybody."""
        width = np.array(self._matrix.shape[1], np.uint32)
        seeds = (np.frombuffer(s, np.uint8) for s in (self._seed, self._matrix_seed))
        self.send(self._dealer, Kind.SEED, 0, 0, width, *seeds)

    def _send_blinded(self, to: str) -> None:
        """Send the own block, blinded once for the whole run."""
        rows, width = self._matrix.shape
        blinded = self._matrix - Stream(self._matrix_seed).words(rows, width)
        for first, count in chunks(rows, 8 * width):
            self.send(to, Kind.BLINDED, 0, 0, blinded[first : first + count])

    def _read_blinded(self, sender: str, width: int) -> Words_:
        parts = []
        for _, count in chunks(self._terms.rows, 8 * width):
            (part,) = yield Due(sender, Kind.BLINDED, 0, 0, (("u8", (count, width)),))
            parts.append(part)
        return np.concatenate(parts)

    def _share(self, to: str, epoch: int, step: int, words: Words) -> None:
        self.send(to, Kind.SHARE, epoch, step, words)

    def _words(self, sender: str, epoch: int, step: int, count: int) -> Words_:
        (words,) = yield Due(sender, Kind.SHARE, epoch, step, (("u8", (count,)),))
        return words

    def _function(self, opened: Words, dealt: Words, mask: Words, *, first: bool) -> Words:
        """Return the share of the mean, less the series' constant."""
        terms = self._terms
        if terms.series is None:
            cut = Cut(mask, dealt[0], dealt[1])
            return truncated(opened, cut, SCORE_BITS - terms.residual_bits, first=first)
        return terms.series.share(opened, dealt, SCORE_BITS, terms.residual_bits - WAVE_BITS)

    def _argument(self, share: Words, mask: Words, *, first: bool) -> Words:
        """Return the share of the score to open; only what is within the period leaves."""
        series = self._terms.series
        if series is None:
            return masked(share, Cut(mask, mask, mask), first=first)
        width = series.modulus_bits(SCORE_BITS)
        return (share + mask) & np.uint64((1 << width) - 1)

    def _finish(
        self,
        epoch: int,
        held: Sequence[tuple[int, _Block]],
        others: Sequence[str],
        cuts: Sequence[Cuts],
        sums: Sequence[Words],
    ) -> Script:
        """Truncate gradients, then weights, each with whoever holds the other share.

        Args:
            epoch: Which.
            held: Blocks and their numbers; 0 is the label party's.
            others: Holder of each block's other share.
            cuts: Masks.
            sums: Shares of each gradient, summed over rows.
        """
        shares = [
            b.open_gradient(s, c.gradient) for (_, b), s, c in zip(held, sums, cuts, strict=True)
        ]
        for step in (CUT_STEP, STEP_STEP):
            for (number, _), other, share in zip(held, others, shares, strict=True):
                self._share(other, epoch, _step(step, number), share)
            for i, (number, block) in enumerate(held):
                count = len(shares[i])
                rest = yield from self._words(others[i], epoch, _step(step, number), count)
                if step == CUT_STEP:
                    shares[i] = block.open_step(shares[i] + rest, cuts[i])
                else:
                    block.finish(shares[i] + rest, cuts[i])


class LinearLabelParty(_Party):
    """The label party.

    Attributes:
        weights: Of its own block, when done.
        target: The scale of labels and scores.
        epoch: The one that runs, from 1; 0 before.
    """

    _role = "label"

    def __init__(
        self,
        name: str,
        parties: Sequence[str],
        dealer: str,
        terms: LinearTerms,
        block: Floats,
        labels: Floats,
    ) -> None:
        """Take what was agreed.

        Args:
            name: Its own name.
            parties: Feature parties; the first is the helper.
            dealer: Who deals.
            terms: The terms.
            block: Own block of the design matrix, of the training rows.
            labels: Of the training rows.
        """
        of_all = (Kind.OFFER, Kind.BLINDED, Kind.SHARE)
        kinds: dict[str, tuple[Kind, ...]] = dict.fromkeys(parties, of_all)
        kinds[parties[0]] += (Kind.WEIGHTS,)
        super().__init__(name, [name, *parties], dealer, terms, block, kinds)
        self.target = Target.of(terms.family, labels)
        self.epoch = 0

    def script(self) -> Script:
        """See :class:`~.scripts.Scripted`."""
        terms, names, helper = self._terms, self._names, self._names[1]
        self._greet()
        widths = [self._matrix.shape[1]]
        for name in names[1:]:
            (width,) = yield Due(name, Kind.OFFER, 0, 0, (("u4", ()),))
            if not 0 < int(width) <= MAX_WIDTH:
                raise MessageInvalid("A party offers no columns, or too many.")
            widths.append(int(width))
        for name in names[1:]:
            self.send(name, Kind.START, 0, 0, np.array(widths, np.uint32))
        self._send_blinded(helper)
        blinded = []
        for name, width in zip(names[1:], widths[1:], strict=True):
            blinded.append((yield from self._read_blinded(name, width)))
        blocks = [_Block(terms, width, len(names), first=True) for width in widths]
        self._resume(blocks)
        for epoch in range(self.epochs_done, terms.epochs):
            self.epoch = epoch + 1
            self.send(self._dealer, Kind.REQUEST, epoch, 0)
            masks = LabelMasks.draw(self._stream, terms, widths)
            yield from self._epoch(epoch, masks, blocks, blinded)
            self._finished(epoch, blocks)
        for name, block in zip(names[1:], blocks[1:], strict=True):
            self.send(name, Kind.WEIGHTS, terms.epochs, 0, block.weights)
        (rest,) = yield Due(helper, Kind.WEIGHTS, terms.epochs, 0, (("u8", (widths[0],)),))
        self.weights = real(blocks[0].weights + rest, WEIGHT_BITS)

    def _epoch(
        self, epoch: int, masks: LabelMasks, blocks: list[_Block], blinded: list[Words]
    ) -> Script:
        names, rows, helper, mine = self._names, self._terms.rows, self._names[1], blocks[0]
        width = self._matrix.shape[1]
        for name, block, cross in zip(names[1:], blocks[1:], masks.crosses, strict=True):
            self._share(name, epoch, OFFSET_STEP, block.weights - cross.vector)
        shapes = ("u8", (rows,)), ("u8", (width,))
        dealt_scores, dealt_sums = yield Due(self._dealer, Kind.DEALING, epoch, 0, shapes)
        offset = yield from self._words(helper, epoch, OFFSET_STEP, width)
        scores = forward(self._matrix, mine.weights + offset) + dealt_scores
        for matrix, cross in zip(blinded, masks.crosses, strict=True):
            scores += forward(matrix, cross.vector) + cross.scores
        residuals = yield from self._residuals(epoch, scores, masks)
        for name, cross in zip(names[1:], masks.crosses, strict=True):
            self._share(name, epoch, E_STEP, residuals - cross.residuals)
        offset = yield from self._words(helper, epoch, E_STEP, rows)
        sums = [backward(self._matrix, residuals + offset) + dealt_sums]
        for matrix, cross in zip(blinded, masks.crosses, strict=True):
            sums.append(backward(matrix, cross.residuals) + cross.sums)
        yield from self._steps(epoch, blocks, masks.cuts, sums)

    def _residuals(self, epoch: int, scores: Words, masks: LabelMasks) -> Words_:
        """Open the blinded scores; return the share of means less labels."""
        terms, helper = self._terms, self._names[1]
        start = self.target.offset if terms.series else 0.0
        scores = scores + fixed(np.array(start), SCORE_BITS)
        own = self._argument(scores, masks.argument, first=True)
        self._share(helper, epoch, OPEN_STEP, own)
        other = yield from self._words(helper, epoch, OPEN_STEP, terms.rows)
        means = self._function(own + other, masks.waves, masks.argument, first=True)
        constant = terms.series.constant if terms.series else 0.0
        return means - fixed(self.target.values - constant, terms.residual_bits)

    def _steps(
        self, epoch: int, blocks: list[_Block], cuts: Sequence[Cuts], sums: list[Words]
    ) -> Script:
        """Truncate gradients, then weights, each with whoever holds the other share."""
        others = [self._names[1], *self._names[1:]]
        yield from self._finish(epoch, list(enumerate(blocks)), others, cuts, sums)


def _step(step: int, block: int) -> int:
    """Number a step; that of the label party's own block is apart."""
    return step + (0 if block else 10)


class LinearFeatureParty(_Party):
    """A feature party; the first is the helper.

    Attributes:
        weights: Of its own block, when done.
    """

    _role = "feature"

    def __init__(
        self,
        name: str,
        names: Sequence[str],
        dealer: str,
        terms: LinearTerms,
        block: Floats,
    ) -> None:
        """Take what was agreed.

        Args:
            name: Its own name.
            names: All parties: the label party, then the feature parties.
            dealer: Who deals.
            terms: The terms.
            block: Own block of the design matrix, of the training rows.
        """
        label, helper, *others = names
        # Those that are not the helper hear of it alone; it hears of all.
        kinds: dict[str, tuple[Kind, ...]]
        kinds = dict.fromkeys(others if name == helper else (helper,), (Kind.SHARE,))
        kinds[label] = (Kind.START, Kind.SHARE, Kind.WEIGHTS)
        kinds[label] += (Kind.BLINDED,) if name == helper else ()
        super().__init__(name, names, dealer, terms, block, kinds)
        self._helper = self._names[1] == name

    def script(self) -> Script:
        """See :class:`~.scripts.Scripted`."""
        terms, label, width = self._terms, self._names[0], self._matrix.shape[1]
        self._greet()
        self.send(label, Kind.OFFER, 0, 0, np.array(width, np.uint32))
        (widths,) = yield Due(label, Kind.START, 0, 0, (("u4", (len(self._names),)),))
        label_width = int(widths[0])
        if not 0 < label_width <= MAX_WIDTH:
            raise MessageInvalid("The label party offers no columns, or too many.")
        self._send_blinded(label)
        mine = _Block(terms, width, len(self._names), first=False)
        theirs = _Block(terms, label_width, len(self._names), first=False)
        if self._helper:
            self._blinded = yield from self._read_blinded(label, label_width)
        held = [theirs, mine] if self._helper else [mine]
        self._resume(held)
        for epoch in range(self.epochs_done, terms.epochs):
            masks = FeatureMasks.draw(self._stream, terms, width, label_width, helper=self._helper)
            yield from self._epoch(epoch, masks, mine, theirs)
            self._finished(epoch, held)
        if self._helper:
            self.send(label, Kind.WEIGHTS, terms.epochs, 0, theirs.weights)
        (rest,) = yield Due(label, Kind.WEIGHTS, terms.epochs, 0, (("u8", (width,)),))
        self.weights = real(mine.weights + rest, WEIGHT_BITS)

    def _epoch(self, epoch: int, masks: FeatureMasks, mine: _Block, theirs: _Block) -> Script:
        label, rows, width = self._names[0], self._terms.rows, self._matrix.shape[1]
        shapes = ("u8", (rows,)), ("u8", (width,)), ("u8", (2, width)), ("u8", (2, width))
        dealt = yield Due(self._dealer, Kind.DEALING, epoch, 0, shapes)
        if masks.cross is not None:
            self._share(label, epoch, OFFSET_STEP, theirs.weights - masks.cross.vector)
        offset = yield from self._words(label, epoch, OFFSET_STEP, width)
        scores = forward(self._matrix, mine.weights + offset) + dealt[0]
        held, sums, cuts = [], [], []
        if masks.cross is not None:
            residuals = yield from self._helped(epoch, scores, masks)
            self._share(label, epoch, E_STEP, residuals - masks.cross.residuals)
            first, second = self._dealt_cuts
            cuts.append(Cuts(Cut(masks.label_gradient, *first), Cut(masks.label_step, *second)))
            sums.append(backward(self._blinded, masks.cross.residuals) + masks.cross.sums)
            held.append((0, theirs))
        else:
            helper = self._names[1]
            self._share(helper, epoch, Z_STEP, scores)
            residuals = yield from self._words(helper, epoch, G_STEP, rows)
        offset = yield from self._words(label, epoch, E_STEP, rows)
        sums.append(backward(self._matrix, residuals + offset) + dealt[1])
        cuts.append(Cuts(Cut(masks.gradient, *dealt[2]), Cut(masks.step, *dealt[3])))
        held.append((1, mine))
        yield from self._finish(epoch, held, [label] * len(held), cuts, sums)

    def _helped(self, epoch: int, scores: Words, masks: FeatureMasks) -> Words_:
        """Put the feature parties' shares of scores together; return the share of residuals."""
        label, terms = self._names[0], self._terms
        assert masks.cross is not None  # noqa: S101 - the helper has one
        width = len(masks.cross.vector)
        shapes = ("u8", (2, width)), ("u8", (2, width))
        self._dealt_cuts = yield Due(self._dealer, Kind.DEALING, epoch, 1, shapes)
        waves = np.empty((wave_lines(terms), terms.rows), np.uint64)
        for line in range(len(waves)):
            shape = (("u8", (terms.rows,)),)
            (waves[line],) = yield Due(self._dealer, Kind.DEALING, epoch, 2 + line, shape)
        total = scores + forward(self._blinded, masks.cross.vector) + masks.cross.scores
        for name in self._names[2:]:
            total += yield from self._words(name, epoch, Z_STEP, terms.rows)
        own = self._argument(total, masks.argument, first=False)
        self._share(label, epoch, OPEN_STEP, own)
        other = yield from self._words(label, epoch, OPEN_STEP, terms.rows)
        residuals = self._function(own + other, waves, masks.argument, first=False)
        for name in self._names[2:]:
            self._share(name, epoch, G_STEP, residuals)
        return residuals
