"""Rings of one and two digits: multiply, square, enter from bytes, leave to bytes.

A residue modulo n^2 is ``x0 + x1 n``. The Montgomery quotient q of ``x0 y0`` carries into the upper
digit: with ``x0 y0 + q n = r0 R``, the product is ``r0 + n (x1 y0 + x0 y1 - q) / R``. A product
costs 10 l^2 products of limbs instead of 16 l^2 for numbers of 2 l limbs, a squaring 7 instead of
12, and a product with a table entry ``t (1 + n u)``, whose u is only added up, 8.

Two vectors more than a place needs are never touched: bytes are read eight at a time, so rows have
eight bytes of room behind them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fusion.crypto.paillier.engines.kernels.montgomery import (
    Constants,
    accumulate,
    multiply,
    normalise,
    square,
)
from fusion.crypto.paillier.engines.kernels.moves import add_to, clear

if TYPE_CHECKING:
    from fusion.crypto.paillier.engines.engine import Digits
    from fusion.crypto.paillier.engines.kernels.shape import Size
    from fusion.crypto.paillier.engines.kernels.vocabulary import (
        Machine,
        Number,
        Place,
        Program,
        Routine,
        Vector,
    )

CHUNKS: Final = 4
"""A number that enters may be this many times as long as the modulus."""


@dataclass(frozen=True, slots=True)
class Digit:
    """A residue in memory: its lower digit, and, a digit further, its upper one."""

    lower: Place
    upper: Place


class DigitRing:
    """Routines of a ring, for one program."""

    def __init__(self, program: Program, size: Size, digits: Digits) -> None:
        """Define the routines that everything else calls."""
        self.size = size
        self.digits = digits
        self.limbs = size.limbs
        self.vectors = size.limbs * digits
        self._multiply = self._routine(program, "multiply", 1, quotient=True, minus=False)
        self._shifted: Routine = None
        self._crossed: Routine = None
        if digits == 2:
            self._shifted = self._routine(program, "shifted", 1, quotient=False, minus=True)
            self._crossed = self._routine(program, "crossed", 2, quotient=False, minus=True)
        self._square: Routine = None
        self._program = program

    def _routine(
        self, program: Program, name: str, products: int, *, quotient: bool, minus: bool
    ) -> Routine:
        size = self.size

        def text(m: Machine, c: Place, out: Place, q: Place, *factors: Place) -> None:
            pairs = [(factors[2 * i], factors[2 * i + 1]) for i in range(products)]
            constants = Constants(m, c, size)
            multiply(
                m, constants, out, pairs,
                quotient=q if quotient else None, minus=q if minus else None,
            )  # fmt: skip

        return program.define(name, "ppp" + "pp" * products, text)

    def _squaring(self) -> Routine:
        """Define the squaring when the first kernel asks for it."""
        if self._square is None:
            size = self.size

            def text(m: Machine, c: Place, out: Place, q: Place, x: Place) -> None:
                square(m, Constants(m, c, size), out, x, quotient=q)

            self._square = self._program.define("square", "pppp", text)
        return self._square

    # ------------------------------------------------------------------ arithmetic

    def digit(self, m: Machine, place: Place) -> Digit:
        """Return the two halves of a residue at ``place``."""
        return Digit(place, m.at(place, self.limbs))

    def times_digit(self, m: Machine, c: Place, x: Digit, t: Place, q: Place) -> None:
        """``x = x t`` for a t of one digit."""
        m.call(self._multiply, c, x.lower, q, x.lower, t)
        if self.digits == 2:
            m.call(self._shifted, c, x.upper, q, x.upper, t)

    def times(self, m: Machine, c: Place, out: Digit, x: Digit, y: Digit, q: Place) -> None:
        """``out = x y``; out must be neither."""
        m.call(self._multiply, c, out.lower, q, x.lower, y.lower)
        if self.digits == 2:
            m.call(self._crossed, c, out.upper, q, x.upper, y.lower, x.lower, y.upper)

    def squared(self, m: Machine, c: Place, out: Digit, x: Digit, q: Place, work: Place) -> None:
        """``out = x x``; out must not be x."""
        m.call(self._squaring(), c, out.lower, q, x.lower)
        if self.digits == 2:
            normalise(m, self.limbs, lambda j: m.add(m.load(x.upper, j), m.load(x.upper, j)), work)
            m.call(self._shifted, c, out.upper, q, work, x.lower)

    # ------------------------------------------------------------------ in and out

    def enter(
        self, m: Machine, c: Place, powers: Place, out: Digit, row: Place, stride: Number,
        chunks: Number, q: Place, digits: Digits,
    ) -> None:  # fmt: skip
        """``out`` = the row, times what ``powers`` says: chunk j is multiplied with power j.

        With ``R^(j+2)`` there, a residue enters in Montgomery form; with ``f R^(j+1)`` and one
        digit, a message enters multiplied with f.
        """
        vectors = self.limbs * digits
        part, x = m.scratch(self.limbs), m.scratch(vectors)

        clear(m, out.lower, vectors)

        def chunk(j: Number) -> None:
            start = m.bytes_at(row, m.times(j, self.limbs * m.shape.radix // 8))
            read_limbs(m, start, stride, part, self.limbs)
            power = self.digit(m, m.at(powers, m.times(j, vectors)))
            product = self.digit(m, x)
            m.call(self._multiply, c, product.lower, q, power.lower, part)
            if digits == 2:
                m.call(self._shifted, c, product.upper, q, power.upper, part)
            add_to(m, out.lower, x, vectors)

        m.loop(0, chunks, 1, (), chunk)
        for half in (out.lower, out.upper)[:digits]:
            normalise(m, self.limbs, lambda j, half=half: m.load(half, j), half)  # type: ignore[misc]

    def leave(
        self, m: Machine, c: Place, x: Digit, factor: Digit, row: Place, stride: Number, q: Place
    ) -> None:
        """Write ``x factor / R`` as rows, canonical."""
        limbs = self.limbs
        out = m.scratch(self.vectors)
        result = self.digit(m, out)
        self.times(m, c, result, x, factor, q)
        constants = Constants(m, c, self.size)
        over = self._reduced(m, constants, result.lower)
        if self.digits == 1:
            write_limbs(m, result.lower, row, stride, limbs)
            return
        normalise(m, limbs, lambda j: m.load(result.upper, j), result.upper, extra=over)
        self._reduced(m, constants, result.upper)
        self._reduced(m, constants, result.upper)
        whole = m.scratch(2 * limbs)
        accumulate(m, constants, whole, result.upper, result.lower)
        write_limbs(m, whole, row, stride, 2 * limbs)

    def _reduced(self, m: Machine, c: Constants, x: Place) -> Vector:
        """Subtract n where x is n or more; return where it was, as 0 or 1."""
        limbs = self.limbs
        borrow = m.zero
        rest = m.scratch(limbs)
        for j in range(limbs):
            value = m.difference(m.load(x, j), m.spread(c.n, j), borrow)
            m.store(m.low(value), rest, j)
            borrow = m.borrow(value)
        for j in range(limbs):
            m.store(m.unless_borrowed(borrow, m.load(rest, j), m.load(x, j)), x, j)
        return m.unless_borrowed(borrow, m.splat(1), m.zero)


def read_limbs(m: Machine, row: Place, stride: Number, out: Place, limbs: int) -> None:
    """Cut rows of bytes into limbs; 104 bits, thirteen bytes, at a time."""
    each = 104 // m.shape.radix

    def group(i: Number) -> None:
        start = m.bytes_at(row, m.times(i, 13))
        first = m.times(i, each)
        for j in range(each):
            byte, shift = divmod(j * m.shape.radix, 8)
            value = m.right(m.read_rows(m.bytes_at(start, byte), stride), shift)
            m.store(m.low(value), out, m.plus(first, j))

    m.loop(0, limbs // each, 1, (), group)


def write_limbs(m: Machine, x: Place, row: Place, stride: Number, limbs: int) -> None:
    """Join limbs into rows of bytes; rows have three bytes of room behind them."""
    radix = m.shape.radix
    each = 104 // radix

    def group(i: Number) -> None:
        start = m.bytes_at(row, m.times(i, 13))
        first = m.times(i, each)
        values = [m.load(x, m.plus(first, j)) for j in range(each)]
        low = high = m.zero
        for j, value in enumerate(values):
            shift = j * radix
            if shift < 64:
                low = m.either(low, m.left(value, shift))
            if shift + radix > 64:
                part = m.right(value, 64 - shift) if shift < 64 else m.left(value, shift - 64)
                high = m.either(high, part)
        m.write_rows(low, start, stride)
        m.write_rows(high, m.bytes_at(start, 8), stride)

    m.loop(0, limbs // each, 1, (), group)
