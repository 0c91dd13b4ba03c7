"""Kernels of the field of 2**255 - 19, in the vocabulary of the Paillier kernels.

A lane is one residue of several that are worked on side by side, cut into limbs as the unit likes
it (:class:`Form`). Every routine takes and leaves limbs that are *tight*: as wide as the form says,
but for a carry of a few bits. What is over 2**255 comes back times 19.

Nothing here branches on a residue or takes an address from one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fusion.crypto.paillier.engines.kernels.shape import Shape
    from fusion.crypto.paillier.engines.kernels.vocabulary import (
        Machine,
        Number,
        Place,
        Program,
        Routine,
        Vector,
    )

PRIME: Final = 2**255 - 19
_ONES: Final = (1 << 64) - 1

Limbs = list["Vector"]


def _times_19(m: Machine, x: Vector) -> Vector:
    return m.add(m.add(m.left(x, 4), m.left(x, 1)), x)


# ------------------------------------------------------------------ products, by form


def _wide_product(m: Machine, x: Limbs, y: Limbs) -> Limbs:
    """Multiply with IFMA: five limbs of 51 bits, all below 2**52.

    ``lo`` and ``hi`` give a product's halves at bit 52; at limbs of 51 bits the upper half counts
    twice (as in de Valence's IFMA back end of curve25519-dalek).
    """
    size = len(x)
    lows, highs = [m.zero] * (2 * size - 1), [m.zero] * (2 * size - 1)
    for i in range(size):
        for j in range(size):
            lows[i + j] = m.lo(lows[i + j], x[i], y[j])
            highs[i + j] = m.hi(highs[i + j], x[i], y[j])
    return _folded(m, lows, highs)


def _wide_square(m: Machine, x: Limbs) -> Limbs:
    """Square with IFMA: mixed products are counted twice by doubling their sums."""
    size = len(x)
    lows, highs = [m.zero] * (2 * size - 1), [m.zero] * (2 * size - 1)
    for i in range(size):
        for j in range(i + 1, size):
            lows[i + j] = m.lo(lows[i + j], x[i], x[j])
            highs[i + j] = m.hi(highs[i + j], x[i], x[j])
    lows = [low if low is m.zero else m.left(low, 1) for low in lows]
    highs = [high if high is m.zero else m.left(high, 1) for high in highs]
    for i in range(size):
        lows[2 * i] = m.lo(lows[2 * i], x[i], x[i])
        highs[2 * i] = m.hi(highs[2 * i], x[i], x[i])
    return _folded(m, lows, highs)


def _folded(m: Machine, lows: Sequence[Vector], highs: Sequence[Vector]) -> Limbs:
    """Return nine columns of lower and of upper halves as five."""
    columns = [lows[0]]
    columns += [m.add(lows[k], m.left(highs[k - 1], 1)) for k in range(1, len(lows))]
    columns.append(m.left(highs[-1], 1))
    size = len(columns) // 2
    return [m.add(columns[k], _times_19(m, columns[k + size])) for k in range(size)]


def _narrow_product(m: Machine, x: Limbs, y: Limbs) -> Limbs:
    """Multiply with VPMULUDQ: ten limbs of 26 and 25 bits in turn, factors below 2**32.

    Limb k stands for 2**ceil(25.5 k), so that a product of two odd limbs counts twice (Bernstein,
    Curve25519: new Diffie-Hellman speed records, 2006).
    """
    size = len(x)
    twice = [m.left(limb, 1) if at % 2 else limb for at, limb in enumerate(x)]
    over = [_times_19(m, limb) for limb in y]
    columns = []
    for k in range(size):
        column = m.zero
        for i in range(size):
            j = (k - i) % size
            factor = twice[i] if i % 2 and j % 2 else x[i]
            column = m.lo(column, factor, y[j] if i <= k else over[j])
        columns.append(column)
    return columns


def _narrow_square(m: Machine, x: Limbs) -> Limbs:
    """Square with VPMULUDQ: each mixed product once, counted twice."""
    size = len(x)
    twice = [m.left(limb, 1) for limb in x]
    over = [_times_19(m, limb) for limb in x]
    columns = []
    for k in range(size):
        column = m.zero
        for i in range(size):
            j = (k - i) % size
            if i > j:
                continue
            factor = x[i] if i == j else twice[i]
            if i % 2 and j % 2:
                factor = m.left(factor, 1)
            column = m.lo(column, factor, x[j] if i + j == k else over[j])
        columns.append(column)
    return columns


@dataclass(frozen=True, slots=True)
class Form:
    """How a residue is cut, and how two are multiplied.

    Attributes:
        widths: Bits of each limb, lowest first; 255 in all.
        rounds: How often carries are passed on after a product, until limbs are tight.
        slack: A tight limb is below 2**width + 2**slack.
        multiply: Returns the limbs of a product, not yet tight.
        square: The same of a square.
    """

    widths: tuple[int, ...]
    rounds: int
    slack: int
    multiply: Callable[[Machine, Limbs, Limbs], Limbs]
    square: Callable[[Machine, Limbs], Limbs]

    @property
    def size(self) -> int:
        """Limbs."""
        return len(self.widths)

    def offsets(self) -> list[int]:
        """Return where each limb begins, in bits."""
        return [sum(self.widths[:at]) for at in range(self.size)]

    def cut(self, value: int) -> list[int]:
        """Cut an integer below 2**255 into limbs."""
        return [
            value >> offset & ((1 << width) - 1)
            for offset, width in zip(self.offsets(), self.widths, strict=True)
        ]


WIDE: Final = Form((51,) * 5, 1, 14, _wide_product, _wide_square)
NARROW: Final = Form((26, 25) * 5, 2, 14, _narrow_product, _narrow_square)


def form_of(shape: Shape) -> Form:
    """Return the form that a vector unit works on."""
    return WIDE if shape.high else NARROW


# ------------------------------------------------------------------ residues in registers


class Arithmetic:
    """Residues of one form, in registers of one machine."""

    def __init__(self, m: Machine) -> None:
        """Take the form that the machine's unit works on."""
        self.m = m
        self.form = form_of(m.shape)

    def load(self, place: Place) -> Limbs:
        """Read a residue."""
        return [self.m.load(place, at) for at in range(self.form.size)]

    def store(self, limbs: Sequence[Vector], place: Place) -> None:
        """Write a residue."""
        for at, limb in enumerate(limbs):
            self.m.store(limb, place, at)

    def _mask(self, at: int) -> Vector:
        return self.m.splat((1 << self.form.widths[at]) - 1)

    def carried(self, limbs: Sequence[Vector]) -> Limbs:
        """Pass every limb's carry on, all at once."""
        m, widths = self.m, self.form.widths
        carries = [m.right(limb, width) for limb, width in zip(limbs, widths, strict=True)]
        low = [m.masked(limb, self._mask(at)) for at, limb in enumerate(limbs)]
        over = [_times_19(m, carries[-1]), *carries[:-1]]
        return [m.add(limb, carry) for limb, carry in zip(low, over, strict=True)]

    def _tight(self, limbs: Limbs) -> Limbs:
        for _ in range(self.form.rounds):
            limbs = self.carried(limbs)
        return limbs

    def product(self, x: Limbs, y: Limbs) -> Limbs:
        """Return x * y."""
        return self._tight(self.form.multiply(self.m, x, y))

    def squared(self, x: Limbs) -> Limbs:
        """Return x * x."""
        return self._tight(self.form.square(self.m, x))

    def total(self, x: Limbs, y: Limbs) -> Limbs:
        """Return x + y."""
        return self.carried([self.m.add(a, b) for a, b in zip(x, y, strict=True)])

    def difference(self, x: Limbs, y: Limbs) -> Limbs:
        """Return x - y: with 2p added, each limb of it larger than a tight one."""
        m = self.m
        twice = [2 * ((1 << width) - 1) for width in self.form.widths]
        twice[0] -= 36
        return self.carried(
            [m.sub(m.add(a, m.splat(offset)), b) for a, b, offset in zip(x, y, twice, strict=True)]
        )

    def chosen(self, mask: Vector, x: Limbs, y: Limbs) -> Limbs:
        """Return x where a mask is not zero, y elsewhere."""
        return [self.m.unless_borrowed(mask, b, a) for a, b in zip(x, y, strict=True)]

    def frozen(self, x: Limbs) -> Limbs:
        """Return the one representative below p."""
        m, widths = self.m, self.form.widths
        limbs = self.carried(x)
        # How often p is in it, 0 or 1: whether adding 19 carries out of bit 255.
        over = m.splat(19)
        for limb, width in zip(limbs, widths, strict=True):
            over = m.right(m.add(limb, over), width)
        carry, out = _times_19(m, over), []
        for at, limb in enumerate(limbs):
            value = m.add(limb, carry)
            out.append(m.masked(value, self._mask(at)))
            carry = m.right(value, widths[at])
        return out  # the last carry is what 2**255 * over was

    def odd(self, x: Limbs) -> Vector:
        """Return ones where the representative is odd: what RFC 9496 calls negative."""
        low = self.m.masked(self.frozen(x)[0], self.m.splat(1))
        return self.m.difference(self.m.zero, low, self.m.zero)

    def zero(self, x: Limbs) -> Vector:
        """Return ones where a residue is zero."""
        limbs = self.frozen(x)
        bits = limbs[0]
        for limb in limbs[1:]:
            bits = self.m.either(bits, limb)
        return self.m.unless_borrowed(bits, self.m.splat(_ONES), self.m.zero)


# ------------------------------------------------------------------ residues in memory


class Field:
    """Routines of a program over residues in memory, and the room for what they give."""

    def __init__(self, program: Program) -> None:
        """Define the routines."""

        def of_two(work: Callable[[Arithmetic, Limbs, Limbs], Limbs]) -> Callable[..., None]:
            def body(m: Machine, out: Place, x: Place, y: Place) -> None:
                at = Arithmetic(m)
                at.store(work(at, at.load(x), at.load(y)), out)

            return body

        def squared(m: Machine, out: Place, x: Place, times: Number) -> None:
            at = Arithmetic(m)

            def once(_turn: Number, *limbs: Vector) -> Limbs:
                return at.squared(list(limbs))

            at.store(m.loop(0, times, 1, at.load(x), once), out)

        self._product: Routine = program.define("product", "ppp", of_two(Arithmetic.product))
        self._total: Routine = program.define("total", "ppp", of_two(Arithmetic.total))
        self._difference: Routine = program.define(
            "difference", "ppp", of_two(Arithmetic.difference)
        )
        self._squared: Routine = program.define("squared", "ppi", squared)
        self._root: Routine = program.define("root", "pp", self._power)

    def _power(self, m: Machine, out: Place, x: Place) -> None:
        """Write x ** ((p - 5) / 8) = x ** (2**252 - 3)."""
        at = Residues(self, m)
        nine = at.mul(x, at.squared(at.squared(x), 2))
        eleven_twice = at.squared(at.mul(at.squared(x), nine))
        ones = at.mul(nine, eleven_twice)  # 2**5 - 1
        ten = at.mul(at.squared(ones, 5), ones)
        twenty = at.mul(at.squared(ten, 10), ten)
        forty = at.mul(at.squared(twenty, 20), twenty)
        fifty = at.mul(at.squared(forty, 10), ten)
        hundred = at.mul(at.squared(fifty, 50), fifty)
        two_hundred = at.mul(at.squared(hundred, 100), hundred)
        all_of_it = at.mul(at.squared(two_hundred, 50), fifty)  # 2**250 - 1
        at.mul(at.squared(all_of_it, 2), x, out)

    def call(self, m: Machine, name: str, out: Place, *arguments: object) -> None:
        """Call a routine by its name."""
        m.call(getattr(self, f"_{name}"), out, *arguments)


class Residues:
    """Residues of one routine: every operation writes to room of its own, unless told where."""

    def __init__(self, field: Field, m: Machine) -> None:
        """Work for a routine's machine."""
        self.m = m
        self.inside = Arithmetic(m)
        self._field = field

    def room(self, residues: int = 1) -> Place:
        """Return room for residues, undefined."""
        return self.m.scratch(residues * self.inside.form.size)

    def _new(self, name: str, out: Place | None, *arguments: object) -> Place:
        place = self.room() if out is None else out
        self._field.call(self.m, name, place, *arguments)
        return place

    def mul(self, x: Place, y: Place, out: Place | None = None) -> Place:
        """Return x * y."""
        return self._new("product", out, x, y)

    def add(self, x: Place, y: Place, out: Place | None = None) -> Place:
        """Return x + y."""
        return self._new("total", out, x, y)

    def sub(self, x: Place, y: Place, out: Place | None = None) -> Place:
        """Return x - y."""
        return self._new("difference", out, x, y)

    def squared(self, x: Place, times: int = 1) -> Place:
        """Return x ** (2 ** times)."""
        return self._new("squared", None, x, times)

    def root(self, x: Place) -> Place:
        """Return x ** ((p - 5) / 8)."""
        return self._new("root", None, x)

    def copy(self, x: Place, out: Place) -> None:
        """Write a residue somewhere else."""
        self.inside.store(self.inside.load(x), out)

    def _kept(self, limbs: Limbs) -> Place:
        place = self.room()
        self.inside.store(limbs, place)
        return place

    def constant(self, value: int) -> Place:
        """Return an integer in every lane."""
        return self._kept([self.m.splat(limb) for limb in self.inside.form.cut(value % PRIME)])

    def choose(self, mask: Vector, x: Place, y: Place) -> Place:
        """Return x where a mask is not zero, y elsewhere."""
        return self._kept(self.inside.chosen(mask, self.inside.load(x), self.inside.load(y)))

    def negated(self, x: Place) -> Place:
        """Return -x."""
        nothing = [self.m.zero] * self.inside.form.size
        return self._kept(self.inside.difference(nothing, self.inside.load(x)))

    def odd(self, x: Place) -> Vector:
        """Return ones where x is negative."""
        return self.inside.odd(self.inside.load(x))

    def magnitude(self, x: Place) -> Place:
        """Return x or -x, whichever is not negative."""
        return self.choose(self.odd(x), self.negated(x), x)

    def equal(self, x: Place, y: Place) -> Vector:
        """Return ones where x is y."""
        return self.inside.zero(self.inside.difference(self.inside.load(x), self.inside.load(y)))
