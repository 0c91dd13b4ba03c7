"""``enter``, ``scatter``, ``collapse``, ``release``: many bases to public exponents of their own.

Pippenger's method (SIAM J. Comput. 9, 1980). Each lane works on a window of its own: it multiplies
every base into the bucket that the base's digit in that window names. ``collapse`` gives the
product of each bucket to its number, by running products. Addresses depend on the exponents, which
is why these must be public.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fusion.crypto.paillier.engines.kernels.digits import DigitRing
from fusion.crypto.paillier.engines.kernels.moves import copy, rows_of_batch
from fusion.crypto.paillier.engines.kernels.release import RELEASE, define_release

if TYPE_CHECKING:
    from fusion.crypto.paillier.engines.engine import Digits
    from fusion.crypto.paillier.engines.kernels.shape import Size
    from fusion.crypto.paillier.engines.kernels.vocabulary import Machine, Number, Place, Program

SIGNATURES: Final = {
    "enter": "ppppiii",
    "scatter": "ppppi",
    "collapse": "ppp",
    "release": RELEASE,
}

WINDOW: Final = 8
"""Bits of an exponent at a time."""


def define(program: Program, size: Size, digits: Digits) -> None:
    """Define the four."""
    ring = DigitRing(program, size, digits)
    _define_enter(program, ring)
    _define_scatter(program, ring)
    _define_collapse(program, ring)
    define_release(program, ring)


def _define_enter(program: Program, ring: DigitRing) -> None:
    """``enter``: rows to residues in Montgomery form."""

    def enter(
        m: Machine, c: Place, powers: Place, held: Place, rows: Place, stride: Number,
        chunks: Number, batches: Number,
    ) -> None:  # fmt: skip
        q = m.scratch(ring.limbs)

        def batch(b: Number) -> None:
            x = ring.digit(m, m.at(held, m.times(b, ring.vectors)))
            row = rows_of_batch(m, rows, stride, b)
            ring.enter(m, c, powers, x, row, stride, chunks, q, ring.digits)

        m.loop(0, batches, 1, (), batch)

    program.define("enter", SIGNATURES["enter"], enter, exported=True)


def _define_scatter(program: Program, ring: DigitRing) -> None:
    """``scatter``: each residue into the buckets that its bytes at ``choices`` name."""
    vectors, lanes = ring.vectors, program.shape.lanes

    def scatter(
        m: Machine, c: Place, buckets: Place, held: Place, choices: Place, batches: Number
    ) -> None:
        q, x, bucket, out = m.scratch(ring.limbs), *(m.scratch(vectors) for _ in range(3))

        def residue(b: Number, lane: Number) -> None:
            base = m.at(held, m.times(b, vectors))
            at = m.bytes_at(choices, m.times(m.plus(m.times(b, lanes), lane), lanes))
            places = [m.at(buckets, m.times(m.byte(at, i), vectors)) for i in range(lanes)]

            def take(k: Number) -> None:
                m.store(m.spread_lane(base, k, lane), x, k)
                m.store(m.read_buckets(places, k), bucket, k)

            def put(k: Number) -> None:
                m.write_buckets(m.load(out, k), places, k)

            m.loop(0, vectors, 1, (), take)
            ring.times(m, c, ring.digit(m, out), ring.digit(m, bucket), ring.digit(m, x), q)
            m.loop(0, vectors, 1, (), put)

        def batch(b: Number) -> None:
            m.loop(0, lanes, 1, (), lambda lane: residue(b, lane))

        m.loop(0, batches, 1, (), batch)

    program.define("scatter", SIGNATURES["scatter"], scatter, exported=True)


def _define_collapse(program: Program, ring: DigitRing) -> None:
    """``collapse``: the product of each bucket to its number."""
    vectors = ring.vectors
    top = (1 << WINDOW) - 1

    def collapse(m: Machine, c: Place, buckets: Place, out: Place) -> None:
        q, running, work = m.scratch(ring.limbs), m.scratch(vectors), m.scratch(vectors)

        def bucket(i: Number) -> None:
            place = m.at(buckets, m.times(m.minus(top, i), vectors))
            for x, y in ((running, place), (out, running)):
                ring.times(m, c, ring.digit(m, work), ring.digit(m, x), ring.digit(m, y), q)
                copy(m, work, x, vectors)

        copy(m, m.at(buckets, top * vectors), running, vectors)
        copy(m, running, out, vectors)
        m.loop(1, top, 1, (), bucket)

    program.define("collapse", SIGNATURES["collapse"], collapse, exported=True)
