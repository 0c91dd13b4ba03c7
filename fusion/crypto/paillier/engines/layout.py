"""How a ring stands in memory: constants, residues, and rows padded to whole batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import gmpy2
import numpy as np
from gmpy2 import mpz

from fusion.crypto.paillier.engines.arrays import aligned, joined, limbs_of, spread
from fusion.crypto.paillier.engines.kernels.digits import CHUNKS
from fusion.crypto.paillier.engines.kernels.montgomery import Constants

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fusion.crypto.paillier.engines.engine import Digits
    from fusion.crypto.paillier.engines.kernels.shape import Shape
    from fusion.crypto.paillier.residues import Rows

_ROOM: Final = 8
"""Bytes behind a row that a kernel may read or write."""


class RingLayout:
    """Integers modulo ``modulus ** digits``, for one shape.

    Attributes:
        r: The power of two that Montgomery multiplication divides by.
        vectors: Of a residue.
        part_bytes: Of a digit's limbs, written one behind the other.
        constants: What :class:`~.kernels.montgomery.Constants` reads.
        entry: ``R^2, R^3, ...``, by which the parts of a number are multiplied when it enters.
        one: The residue 1.
        units: The residue 1 in Montgomery form, and 1 itself.
    """

    def __init__(self, shape: Shape, modulus: int, digits: Digits) -> None:
        """Compute the constants."""
        self.shape = shape
        self.modulus = modulus
        self.digits = digits
        self.order = mpz(modulus) ** digits
        self.width = -(-modulus.bit_length() * digits // 8)
        self.size = shape.size(modulus.bit_length())
        self.r = mpz(1) << (shape.radix * self.size.limbs)
        self.vectors = self.size.limbs * digits
        self.part_bytes = self.size.limbs * shape.radix // 8
        self.constants = self._constants()
        self.entry = joined([self.residue(self.r ** (j + 2) % self.order) for j in range(CHUNKS)])
        self.one = self.residue(1)
        self.units = joined([self.residue(self.r % self.order), self.one])

    def _constants(self) -> NDArray[np.uint64]:
        limbs, radix, mask = self.size.limbs, self.shape.radix, self.shape.mask
        n = mpz(self.modulus)
        above = limbs_of([n * -(-self.r // n)], limbs + 1, radix)[0]
        # The same number, with limbs so large that any limb can be taken away from each.
        above[0] += np.uint64(1 << radix)
        above[1:limbs] += np.uint64(mask)
        above[limbs] -= np.uint64(1)
        block = aligned((Constants.words(self.size),))
        block[:limbs] = limbs_of([n], limbs, radix)[0]
        block[limbs : 2 * limbs + 1] = above
        block[2 * limbs + 1] = int(-gmpy2.invert(n, 1 << radix) % (1 << radix))
        return block

    def residue(self, value: Any) -> NDArray[np.uint64]:  # noqa: ANN401 -- an int or an mpz
        """Return a residue in every lane, lower digit first."""
        n = self.modulus
        return self.parts([mpz(value) % n, mpz(value) // n][: self.digits])

    def parts(self, values: Sequence[Any]) -> NDArray[np.uint64]:
        """Return numbers below R, one behind the other, in every lane."""
        flat = limbs_of(values, self.size.limbs, self.shape.radix).reshape(-1)
        return spread(flat, self.shape.lanes)

    def chunks(self, rows: Rows) -> int:
        """Return how many digits long the rows are.

        Raises:
            ValueError: Longer than a number that enters may be.
        """
        chunks: int = -(-rows.shape[1] // self.part_bytes)
        if chunks > CHUNKS:
            msg = f"rows of {rows.shape[1]} bytes are too long for this ring"
            raise ValueError(msg)
        return chunks

    def padded(self, rows: Rows, width: int) -> Rows:
        """Return rows of ``width`` bytes with room behind them, in whole batches; ones fill up."""
        count = -(-len(rows) // self.shape.lanes) * self.shape.lanes
        out = np.zeros((count, width + _ROOM), np.uint8)
        out[: len(rows), : min(width, rows.shape[1])] = rows[:, :width]
        out[len(rows) :, 0] = 1
        return out

    def results(self, count: int) -> Rows:
        """Return room for ``count`` residues as rows."""
        return np.zeros((count, self.part_bytes * self.digits + _ROOM), np.uint8)
