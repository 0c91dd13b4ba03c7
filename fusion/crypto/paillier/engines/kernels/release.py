"""``release``: residues leave as canonical rows of bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusion.crypto.paillier.engines.kernels.moves import rows_of_batch

if TYPE_CHECKING:
    from fusion.crypto.paillier.engines.kernels.digits import DigitRing
    from fusion.crypto.paillier.engines.kernels.vocabulary import Machine, Number, Place, Program

RELEASE = "ppippi"


def define_release(program: Program, ring: DigitRing) -> None:
    """``release``: each residue of some batches, times ``factor / R``."""

    def release(
        m: Machine, c: Place, rows: Place, stride: Number, held: Place, factor: Place,
        batches: Number,
    ) -> None:  # fmt: skip
        q = m.scratch(ring.limbs)

        def batch(b: Number) -> None:
            x = ring.digit(m, m.at(held, m.times(b, ring.vectors)))
            row = rows_of_batch(m, rows, stride, b)
            ring.leave(m, c, x, ring.digit(m, factor), row, stride, q)

        m.loop(0, batches, 1, (), batch)

    program.define("release", RELEASE, release, exported=True)
