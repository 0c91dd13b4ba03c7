"""What the dealer deals for a generalised linear model, an epoch at a time.

Every mask of a party comes from the seed that it shares with the dealer; what has to fit to the
masks of both sides travels. So the dealer's messages are the second halves of correlations, which
alone are uniform, and it is sent nothing but seeds and sizes.

Names: the label party holds one half of every share, the *helper* (the first feature party) the
other half of scores and residuals. Blocks are numbered from 0, the label party's first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from federated.protocols.vertical.linear_terms import (
    SCORE_BITS,
    STEP_BITS,
    WAVE_BITS,
    LinearTerms,
)
from federated.protocols.vertical.messages import Kind
from federated.protocols.vertical.permutations import SEED_BYTES, Stream
from federated.protocols.vertical.ring import Cut, backward, cut_values, fixed, forward
from federated.protocols.vertical.scripts import Due, Scripted
from fusion.errors import MessageInvalid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from federated.protocols.vertical.scripts import Script

    Words = NDArray[np.uint64]


MAX_WIDTH: Final = 4096
"""Columns of a block."""
MAX_CELLS: Final = 1 << 28
"""Rows times columns of all blocks: a dealer holds a word for each, whatever parties ask of it."""


@dataclass(frozen=True, slots=True)
class Cross:
    """Masks of the holder of a vector, for the product of the other's matrix with it.

    Attributes:
        vector: Blinds what goes into the forward product.
        scores: Own half of its correlation.
        residuals: Blinds what goes into the backward product.
        sums: Own half of its correlation.
    """

    vector: Words
    scores: Words
    residuals: Words
    sums: Words

    @classmethod
    def draw(cls, stream: Stream, rows: int, width: int) -> Cross:
        """Draw from a seed."""
        return cls(stream.words(width), stream.words(rows), stream.words(rows), stream.words(width))


@dataclass(frozen=True, slots=True)
class Cuts:
    """Masks of the two truncations of a block: of its gradient, and of its step."""

    gradient: Cut
    step: Cut

    @classmethod
    def draw(cls, stream: Stream, width: int) -> Cuts:
        """Draw all of both from a seed: the label party's."""
        first, second = (Cut(*stream.words(3, width)) for _ in range(2))
        return cls(first, second)


@dataclass(frozen=True, slots=True)
class LabelMasks:
    """What the label party draws for an epoch."""

    crosses: tuple[Cross, ...]
    cuts: tuple[Cuts, ...]
    argument: Words
    waves: Words

    @classmethod
    def draw(cls, stream: Stream, terms: LinearTerms, widths: Sequence[int]) -> LabelMasks:
        """Draw: a :class:`Cross` for each other block, truncations for all, and the function's."""
        crosses = tuple(Cross.draw(stream, terms.rows, width) for width in widths[1:])
        cuts = tuple(Cuts.draw(stream, width) for width in widths)
        return cls(crosses, cuts, stream.words(terms.rows), _waves(stream, terms))


def _waves(stream: Stream, terms: LinearTerms) -> Words:
    """Draw shares for the function: waves of a series, or a truncation's middle and top."""
    return stream.words(wave_lines(terms), terms.rows)


def wave_lines(terms: LinearTerms) -> int:
    """Return how many words a row the function takes."""
    return 2 * terms.series.harmonics if terms.series else 2


@dataclass(frozen=True, slots=True)
class FeatureMasks:
    """What a feature party draws for an epoch.

    Attributes:
        gradient: Blinds its gradient's truncation.
        step: Blinds its step's.
        cross: The helper's, for the label party's block.
        label_gradient: The helper's, for the truncations of the label party's block.
        label_step: Likewise.
        argument: The helper's, for scores.
    """

    gradient: Words
    step: Words
    cross: Cross | None
    label_gradient: Words
    label_step: Words
    argument: Words

    @classmethod
    def draw(
        cls, stream: Stream, terms: LinearTerms, width: int, label_width: int, *, helper: bool
    ) -> FeatureMasks:
        """Draw from a seed."""
        gradient, step = stream.words(2, width)
        if not helper:
            nothing = np.empty(0, np.uint64)
            return cls(gradient, step, None, nothing, nothing, nothing)
        cross = Cross.draw(stream, terms.rows, label_width)
        first, second = stream.words(2, label_width)
        return cls(gradient, step, cross, first, second, stream.words(terms.rows))


def correlated(matrix: Words, cross: Cross) -> tuple[Words, Words]:
    """Return the matrix holder's halves of both correlations."""
    scores = forward(matrix, cross.vector) - cross.scores
    return scores, backward(matrix, cross.residuals) - cross.sums


def _cut_halves(label: Cut, other: Words, bits: int) -> Words:
    """Return the other party's middle and top of a truncation: ``(2, width)``."""
    middle, top = cut_values(label.mask + other, bits)
    return np.stack([middle - label.middle, top - label.top])


class LinearDealer(Scripted):
    """Deals for every epoch that the label party asks for."""

    def __init__(
        self, terms: LinearTerms, label_party: str, parties: Sequence[str], first: int = 0
    ) -> None:
        """Take who takes part.

        Args:
            terms: The terms.
            label_party: Its name.
            parties: Feature parties; the first is the helper.
            first: The epoch to begin with: those before are finished.
        """
        seeds = dict.fromkeys(parties, (Kind.SEED,))
        super().__init__({label_party: (Kind.SEED, Kind.REQUEST), **seeds})
        self._terms = terms
        self._first = first
        self._names = (label_party, *parties)

    def script(self) -> Script:
        """See :class:`~.scripts.Scripted`."""
        widths: list[int] = []
        streams, matrices = [], []
        for name in self._names:
            shapes = ("u4", ()), ("u1", (SEED_BYTES,)), ("u1", (SEED_BYTES,))
            width, seed, matrix_seed = yield Due(name, Kind.SEED, 0, 0, shapes)
            cells = self._terms.rows * (sum(widths) + int(width))
            if not 0 < int(width) <= MAX_WIDTH or cells > MAX_CELLS:
                raise MessageInvalid("A block is larger than what can be dealt.")
            streams.append(Stream(seed.tobytes()))
            widths.append(int(width))
            matrices.append(Stream(matrix_seed.tobytes()).words(self._terms.rows, int(width)))
        for epoch in range(self._first, self._terms.epochs):
            yield Due(self._names[0], Kind.REQUEST, epoch, 0, ())
            self._deal(epoch, streams, matrices, widths)

    def _deal(
        self, epoch: int, streams: list[Stream], matrices: list[Words], widths: list[int]
    ) -> None:
        terms = self._terms
        label = LabelMasks.draw(streams[0], terms, widths)
        others = [
            FeatureMasks.draw(streams[i], terms, widths[i], widths[0], helper=i == 1)
            for i in range(1, len(self._names))
        ]
        helper = others[0]
        assert helper.cross is not None  # noqa: S101 - the first is the helper
        self.send(self._names[0], Kind.DEALING, epoch, 0, *correlated(matrices[0], helper.cross))
        for i, masks in enumerate(others, start=1):
            halves = correlated(matrices[i], label.crosses[i - 1])
            cuts = self._cuts(label.cuts[i], masks.gradient, masks.step)
            self.send(self._names[i], Kind.DEALING, epoch, 0, *halves, *cuts)
        cuts = self._cuts(label.cuts[0], helper.label_gradient, helper.label_step)
        waves = self._function(label.argument + helper.argument) - label.waves
        self.send(self._names[1], Kind.DEALING, epoch, 1, *cuts)
        # Line by line, so that no message is too long.
        for line, wave in enumerate(waves):
            self.send(self._names[1], Kind.DEALING, epoch, 2 + line, wave)

    def _cuts(self, label: Cuts, gradient: Words, step: Words) -> tuple[Words, Words]:
        return (
            _cut_halves(label.gradient, gradient, self._terms.gradient_cut),
            _cut_halves(label.step, step, STEP_BITS),
        )

    def _function(self, mask: Words) -> Words:
        series = self._terms.series
        if series is None:
            middle, top = cut_values(mask, SCORE_BITS - self._terms.residual_bits)
            return np.stack([middle, top])
        return fixed(series.waves(mask, SCORE_BITS), WAVE_BITS)
