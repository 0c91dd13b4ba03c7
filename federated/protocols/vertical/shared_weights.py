"""A block's weights in two shares modulo 2^128, and a step of them without anybody's help.

Gradients come as integers that add up, so that dropping fraction bits of each share can't fail. Of
new weights each share drops its bits by itself (Mohassel, Zhang, IEEE S&P 2017, section 4.1), which
is wrong with a chance of the number's size over the modulus: below 2^-80 for weights below 2^8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from federated.protocols.vertical.linear_terms import STEP_BITS, WEIGHT_BITS
from fusion.errors import MessageInvalid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from federated.protocols.vertical.linear_terms import LinearTerms

    Floats = NDArray[np.float64]
    Words = NDArray[np.uint64]

MODULUS: Final = 1 << 128
_WORD: Final = (1 << 64) - 1


class SharedWeights:
    """One share of a block's weights."""

    def __init__(
        self, terms: LinearTerms, width: int, parties: int, cut: int, *, first: bool
    ) -> None:
        """Begin at 0.

        Args:
            terms: The terms.
            width: Columns of the block.
            parties: All of them.
            cut: Fraction bits of a gradient, summed over rows, that are too many.
            first: Whether this is the label party's share.
        """
        self._now = [0] * width
        self._before = [0] * width
        self._factors = terms.step(parties)
        self._cut, self._first = cut, first

    def step(self, sums: Sequence[int]) -> None:
        """Take a step.

        Args:
            sums: Own share of the gradient, summed over rows; with the other's it adds up to it as
                an integer.
        """
        gradient, decay, momentum = self._factors
        keep = (1 << STEP_BITS) + momentum - decay
        longer = [
            keep * now - momentum * before - gradient * (total >> self._cut)
            for now, before, total in zip(self._now, self._before, sums, strict=True)
        ]
        self._before, self._now = self._now, [self._cut_step(value) for value in longer]

    def _cut_step(self, value: int) -> int:
        if self._first:
            return (value % MODULUS) >> STEP_BITS
        return -((-value % MODULUS) >> STEP_BITS) % MODULUS

    def exponents(self, drop: int, bits: int) -> list[int]:
        """Return the share without its last ``drop`` bits, modulo ``2 ** bits``."""
        return [(value >> drop) % (1 << bits) for value in self._now]

    def words(self) -> Words:
        """Return the share as ``(width, 2)`` words, the low one first."""
        return _halves(self._now)

    def kept(self) -> Words:
        """Return the shares of the weights and of those before: ``(2, width, 2)``."""
        return np.stack([_halves(self._now), _halves(self._before)])

    def go_on(self, kept: Words) -> None:
        """Take shares that were kept.

        Raises:
            MessageInvalid: They are of a block of another width.
        """
        if kept.shape != (2, len(self._now), 2):
            raise MessageInvalid("A kept state is of other columns.")
        self._now, self._before = (
            [low + (high << 64) for low, high in half] for half in kept.tolist()
        )

    def opened(self, other: Words) -> Floats:
        """Return the weights, with the other's :meth:`words`."""
        found = []
        for value, (low, high) in zip(self._now, other.tolist(), strict=True):
            total = (value + low + (high << 64)) % MODULUS
            signed = total - MODULUS if total >= MODULUS // 2 else total
            found.append(signed / (1 << WEIGHT_BITS))
        return np.array(found)


def _halves(values: Sequence[int]) -> Words:
    return np.array([(v & _WORD, v >> 64) for v in values], np.uint64).reshape(-1, 2)
