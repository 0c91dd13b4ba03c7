"""Coordinate-wise products: ``load``, ``accumulate`` as often as needed, ``release``.

Each Montgomery product leaves a factor 1/R behind; one multiplication at the end mends them all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fusion.crypto.paillier.engines.kernels.digits import DigitRing, read_limbs
from fusion.crypto.paillier.engines.kernels.moves import rows_of_batch
from fusion.crypto.paillier.engines.kernels.release import RELEASE, define_release

if TYPE_CHECKING:
    from fusion.crypto.paillier.engines.engine import Digits
    from fusion.crypto.paillier.engines.kernels.shape import Size
    from fusion.crypto.paillier.engines.kernels.vocabulary import Machine, Number, Place, Program

SIGNATURES: Final = {"load": "ppii", "accumulate": "pppiii", "release": RELEASE}


def define(program: Program, size: Size, digits: Digits) -> None:
    """Define the three; the ring has one digit."""
    ring = DigitRing(program, size, digits)
    limbs = size.limbs

    def load(m: Machine, held: Place, rows: Place, stride: Number, batches: Number) -> None:
        def batch(b: Number) -> None:
            row = rows_of_batch(m, rows, stride, b)
            read_limbs(m, row, stride, m.at(held, m.times(b, limbs)), limbs)

        m.loop(0, batches, 1, (), batch)

    def accumulate(
        m: Machine, c: Place, held: Place, rows: Place, stride: Number, batches: Number,
        step: Number,
    ) -> None:  # fmt: skip
        # A step of 0 multiplies every batch into the first one.
        q, other = m.scratch(limbs), m.scratch(limbs)

        def batch(b: Number) -> None:
            read_limbs(m, rows_of_batch(m, rows, stride, b), stride, other, limbs)
            x = ring.digit(m, m.at(held, m.times(m.times(b, step), limbs)))
            ring.times_digit(m, c, x, other, q)

        m.loop(0, batches, 1, (), batch)

    program.define("load", SIGNATURES["load"], load, exported=True)
    program.define("accumulate", SIGNATURES["accumulate"], accumulate, exported=True)
    define_release(program, ring)
