"""``comb``: one fixed base to a secret exponent each, times ``1 + n f message``.

The table has, for each window of the exponent, the base to each of the window's values. Windows are
the outer loop and batches the inner one, so that the part of the table in use stays in the nearest
cache. An entry is ``t (1 + n u)``: t is multiplied, u only added up, and the message with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fusion.crypto.paillier.engines.kernels.digits import Digit, DigitRing
from fusion.crypto.paillier.engines.kernels.montgomery import normalise
from fusion.crypto.paillier.engines.kernels.moves import add_to, clear, copy, rows_of_batch

if TYPE_CHECKING:
    from fusion.crypto.paillier.engines.engine import Digits
    from fusion.crypto.paillier.engines.kernels.shape import Size
    from fusion.crypto.paillier.engines.kernels.vocabulary import (
        Machine,
        Number,
        Place,
        Program,
        Vector,
    )

SIGNATURES: Final = {"comb": "ppppippipiiipi"}

WINDOW: Final = 6
"""Bits of the exponent at a time: all 64 entries are read; a larger table leaves the cache."""


def define(program: Program, size: Size, digits: Digits) -> None:
    """Define ``comb``."""
    ring = DigitRing(program, size, digits)
    held_vectors = held_for(size, digits)

    def comb(
        m: Machine, c: Place, powers: Place, one: Place, out: Place, out_stride: Number,
        table: Place, exponents: Place, stride: Number, messages: Place, message_stride: Number,
        chunks: Number, windows: Number, held: Place, batches: Number,
    ) -> None:  # fmt: skip
        q, row = m.scratch(ring.limbs), m.scratch(ring.vectors)

        def residue(b: Number) -> Digit:
            return ring.digit(m, m.at(held, m.times(b, held_vectors)))

        def fetch(w: Number, b: Number) -> None:
            base = rows_of_batch(m, exponents, stride, b)
            digit = m.read_digits(base, stride, m.times(w, WINDOW), WINDOW)
            _look_up(m, ring, table, w, digit, row)
            if digits == 2:
                add_to(m, _total(m, ring, residue(b)), m.at(row, ring.limbs), ring.limbs)

        def first(b: Number) -> None:
            x = residue(b)
            if digits == 2:
                message = rows_of_batch(m, messages, message_stride, b)
                total = ring.digit(m, _total(m, ring, x))
                ring.enter(m, c, powers, total, message, message_stride, chunks, q, 1)
                clear(m, x.upper, ring.limbs)
            fetch(0, b)
            copy(m, row, x.lower, ring.limbs)

        def turn(w: Number) -> None:
            def batch(b: Number) -> None:
                fetch(w, b)
                ring.times_digit(m, c, residue(b), row, q)

            m.loop(0, batches, 1, (), batch)

        def last(b: Number) -> None:
            x = residue(b)
            target = rows_of_batch(m, out, out_stride, b)
            ring.leave(m, c, x, Digit(one, _carried(m, ring, x, one)), target, out_stride, q)

        m.loop(0, batches, 1, (), first)
        m.loop(1, windows, 1, (), turn)
        m.loop(0, batches, 1, (), last)

    program.define("comb", SIGNATURES["comb"], comb, exported=True)


def _look_up(
    m: Machine, ring: DigitRing, table: Place, window: Number, digit: Vector, out: Place
) -> None:
    """Copy the entries that ``digit`` names in a window, reading all of them."""
    entry_bytes = m.shape.entry_bits // 8 << WINDOW
    start = m.bytes_at(table, m.times(window, entry_bytes * ring.vectors))

    def vector(k: Number) -> None:
        entries = m.bytes_at(start, m.times(k, entry_bytes))
        m.store(m.look_up(entries, WINDOW, digit), out, k)

    m.loop(0, ring.vectors, 1, (), vector)


def _total(m: Machine, ring: DigitRing, x: Digit) -> Place:
    """Return where the second digits of the entries are added up, behind the residue."""
    return m.at(x.lower, ring.vectors)


def _carried(m: Machine, ring: DigitRing, x: Digit, nothing: Place) -> Place:
    """Pass the carries of the added-up second digits on; with one digit there are none."""
    if ring.digits == 1:
        return nothing
    total = _total(m, ring, x)
    normalise(m, ring.limbs, lambda j: m.load(total, j), total)
    return total


def held_for(size: Size, digits: Digits) -> int:
    """Vectors that ``comb`` keeps for a batch between windows."""
    return size.limbs * (3 if digits == 2 else 1)
