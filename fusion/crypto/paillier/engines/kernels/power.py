"""``power``: each row to one secret exponent, by fixed windows (HAC, algorithm 14.82).

All powers of a table are read for each window and the wanted one is kept by a mask, so neither an
address nor a branch depends on the exponent; its length does show.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fusion.crypto.paillier.engines.kernels.digits import DigitRing
from fusion.crypto.paillier.engines.kernels.moves import copy, rows_of_batch

if TYPE_CHECKING:
    from fusion.crypto.paillier.engines.engine import Digits
    from fusion.crypto.paillier.engines.kernels.digits import Digit
    from fusion.crypto.paillier.engines.kernels.shape import Size
    from fusion.crypto.paillier.engines.kernels.vocabulary import Machine, Number, Place, Program

SIGNATURES: Final = {"power": "ppppipiipii"}

WINDOW: Final = 4
"""Bits of the exponent at a time."""


def define(program: Program, size: Size, digits: Digits) -> None:
    """Define ``power``."""
    ring = DigitRing(program, size, digits)
    vectors = ring.vectors

    def power(
        m: Machine, c: Place, powers: Place, units: Place, out: Place, out_stride: Number,
        rows: Place, stride: Number, chunks: Number, exponent: Place, windows: Number,
        batches: Number,
    ) -> None:  # fmt: skip
        q, work = m.scratch(ring.limbs), m.scratch(ring.limbs)
        table = m.scratch(vectors << WINDOW)
        x, y, pick = (m.scratch(vectors) for _ in range(3))

        def entry(i: Number) -> Digit:
            return ring.digit(m, m.at(table, m.times(i, vectors)))

        def choose(i: Number, out: Place) -> None:
            """Copy the power that window i of the exponent names, the most significant first."""
            bit = m.times(m.minus(m.minus(windows, 1), i), WINDOW)
            _choose(m, table, vectors, m.read_digit(exponent, bit, WINDOW), out)

        def step(i: Number) -> None:
            for source, target in ((x, y), (y, x), (x, y), (y, x)):
                ring.squared(m, c, ring.digit(m, target), ring.digit(m, source), q, work)
            choose(i, pick)
            ring.times(m, c, ring.digit(m, y), ring.digit(m, x), ring.digit(m, pick), q)
            copy(m, y, x, vectors)

        def fill(i: Number) -> None:
            ring.times(m, c, entry(i), entry(m.minus(i, 1)), entry(1), q)

        def batch(b: Number) -> None:
            copy(m, units, table, vectors)
            row = rows_of_batch(m, rows, stride, b)
            ring.enter(m, c, powers, entry(1), row, stride, chunks, q, digits)
            m.loop(2, 1 << WINDOW, 1, (), fill)
            choose(0, x)
            m.loop(1, windows, 1, (), step)
            one = ring.digit(m, m.at(units, vectors))
            target = rows_of_batch(m, out, out_stride, b)
            ring.leave(m, c, ring.digit(m, x), one, target, out_stride, q)

        m.loop(0, batches, 1, (), batch)

    program.define("power", SIGNATURES["power"], power, exported=True)


def _choose(m: Machine, table: Place, vectors: int, digit: Number, out: Place) -> None:
    """Copy entry ``digit`` of the table, reading all of them."""
    masks = [m.equals(i, digit) for i in range(1 << WINDOW)]

    def vector(k: Number) -> None:
        value = m.zero
        for i, mask in enumerate(masks):
            kept = m.masked(m.load(m.at(table, m.plus(k, i * vectors))), mask)
            value = m.either(value, kept)
        m.store(value, out, k)

    m.loop(0, vectors, 1, (), vector)
