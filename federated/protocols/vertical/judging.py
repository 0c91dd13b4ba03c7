"""How good a finished linear model is, and what it tells: the label party is given its scores.

Each feature party has a partial score of every common row, from the finished weights, rounded as in
scoring (:data:`BITS`). The label party gets the sum over all feature parties, once, and with two or
more of them nothing else: all but the helper, the first, blind theirs for it with uniform words and
give the words to the label party. It is what scoring these rows with the model would give it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from federated.protocols.vertical.messages import Kind, chunks
from federated.protocols.vertical.permutations import system_words
from federated.protocols.vertical.ring import fixed, real
from federated.protocols.vertical.scripts import Due, Scripted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from federated.protocols.vertical.scripts import Script

    Floats = NDArray[np.float64]

BITS: Final = 32
"""Fraction bits of a score."""
_WORD: Final = 8


class JudgingLabel(Scripted):
    """The label party.

    Attributes:
        scores: Of all rows, all parties' together, when done.
    """

    def __init__(self, features: Sequence[str], scores: Floats) -> None:
        """Take who else takes part.

        Args:
            features: Feature parties; the first is the helper.
            scores: Own partial scores.
        """
        super().__init__(dict.fromkeys(features, (Kind.SHARE,)))
        self._features, self.scores = tuple(features), scores

    def script(self) -> Script:
        """See :class:`~.scripts.Scripted`."""
        helper, *others = self._features
        found = []
        for piece, (_, count) in enumerate(chunks(len(self.scores), _WORD)):
            due = (("u8", (count,)),)
            (total,) = yield Due(helper, Kind.SHARE, piece, 0, due)
            for name in others:
                (mask,) = yield Due(name, Kind.SHARE, piece, 0, due)
                total = total - mask
            found.append(total)
        self.scores = self.scores + real(np.concatenate(found), BITS)


class JudgingFeature(Scripted):
    """A feature party; the first is the helper."""

    def __init__(self, me: str, label: str, features: Sequence[str], scores: Floats) -> None:
        """Take who takes part.

        Args:
            me: This party.
            label: The label party.
            features: All feature parties; the first is the helper.
            scores: Own partial scores.
        """
        helper, *others = features
        super().__init__(dict.fromkeys(others if me == helper else (), (Kind.SHARE,)))
        self._me, self._label, self._helper, self._others = me, label, helper, others
        self._scores = fixed(scores, BITS)

    def script(self) -> Script:
        """See :class:`~.scripts.Scripted`."""
        for piece, (first, count) in enumerate(chunks(len(self._scores), _WORD)):
            total = self._scores[first : first + count]
            if self._me != self._helper:
                mask = system_words(count)
                self.send(self._label, Kind.SHARE, piece, 0, mask)
                self.send(self._helper, Kind.SHARE, piece, 0, total + mask)
                continue
            for name in self._others:
                (part,) = yield Due(name, Kind.SHARE, piece, 0, (("u8", (count,)),))
                total = total + part
            self.send(self._label, Kind.SHARE, piece, 0, total)
