"""How good a finished linear model is: the label party is given scores of the rows that judge.

Each feature party has a partial score of such a row. The label party gets the sum over all feature
parties, and with two or more of them nothing else: all but the helper, the first, blind theirs for
it with uniform words and give the words to the label party. Of rows that train nobody gets a score.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from federated.protocols.vertical.messages import Kind
from federated.protocols.vertical.permutations import system_words
from federated.protocols.vertical.ring import fixed, real
from federated.protocols.vertical.scripts import Due, Scripted

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from federated.protocols.vertical.scripts import Script

    Floats = NDArray[np.float64]

BITS: Final = 32
"""Fraction bits of a score."""


class JudgingLabel(Scripted):
    """The label party.

    Attributes:
        scores: Of the rows that judge, all parties' together, when done.
    """

    def __init__(self, features: Sequence[str], scores: Floats) -> None:
        """Take who else takes part.

        Args:
            features: Feature parties; the first is the helper.
            scores: Own partial scores.
        """
        super().__init__(features)
        self._features, self.scores = tuple(features), scores

    def script(self) -> Script:
        """See :class:`~.scripts.Scripted`."""
        due = (("u8", (len(self.scores),)),)
        helper, *others = self._features
        (total,) = yield Due(helper, Kind.SHARE, 0, 0, due)
        for name in others:
            (mask,) = yield Due(name, Kind.SHARE, 0, 0, due)
            total = total - mask
        self.scores = self.scores + real(total, BITS)


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
        super().__init__(others if me == helper else ())
        self._me, self._label, self._helper, self._others = me, label, helper, others
        self._scores = fixed(scores, BITS)

    def script(self) -> Script:
        """See :class:`~.scripts.Scripted`."""
        total = self._scores
        if self._me != self._helper:
            mask = system_words(len(total))
            self.send(self._label, Kind.SHARE, 0, 0, mask)
            self.send(self._helper, Kind.SHARE, 0, 0, total + mask)
            return
        for name in self._others:
            (part,) = yield Due(name, Kind.SHARE, 0, 0, (("u8", (len(total),)),))
            total = total + part
        self.send(self._label, Kind.SHARE, 0, 0, total)
