"""Kernels of the field of 2**255 - 19, in the vocabulary of the Paillier kernels.

A lane is one residue of eight that are worked on side by side, cut into five limbs of 51 bits. The
unit multiplies 52-bit numbers, so what is multiplied has limbs below 2**52: every routine leaves
limbs below 2**51 + 2**14 (*tight*) and takes such. ``lo`` and ``hi`` give a product's halves at bit
52; at limbs of 51 bits the upper half counts twice (as in de Valence's IFMA back end of
curve25519-dalek). What is over 2**255 comes back times 19.

Nothing here branches on a residue or takes an address from one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fusion.crypto.paillier.engines.kernels.vocabulary import (
        Machine,
        Number,
        Place,
        Program,
        Routine,
        Vector,
    )

LIMBS: Final = 5
RADIX: Final = 51
PRIME: Final = 2**255 - 19
_MASK: Final = (1 << RADIX) - 1
_TWICE_PRIME: Final = (2 * (_MASK - 18), *(4 * [2 * _MASK]))
"""2p, each limb larger than a tight one."""
_ONES: Final = (1 << 64) - 1

Limbs = list["Vector"]


def limbs_of(value: int) -> list[int]:
    """Cut an integer below 2**255 into limbs, lowest first."""
    return [value >> RADIX * at & _MASK for at in range(LIMBS)]


def load(m: Machine, place: Place) -> Limbs:
    """Read a residue."""
    return [m.load(place, at) for at in range(LIMBS)]


def store(m: Machine, limbs: Sequence[Vector], place: Place) -> None:
    """Write a residue."""
    for at, limb in enumerate(limbs):
        m.store(limb, place, at)


def _times_19(m: Machine, x: Vector) -> Vector:
    return m.add(m.add(m.left(x, 4), m.left(x, 1)), x)


def tightened(m: Machine, limbs: Sequence[Vector]) -> Limbs:
    """Pass every limb's carry on, all at once; limbs below 2**60 or so become tight."""
    mask = m.splat(_MASK)
    carries = [m.right(limb, RADIX) for limb in limbs]
    low = [m.masked(limb, mask) for limb in limbs]
    over = [_times_19(m, carries[-1]), *carries[:-1]]
    return [m.add(limb, carry) for limb, carry in zip(low, over, strict=True)]


def _folded(m: Machine, lows: Sequence[Vector], highs: Sequence[Vector]) -> Limbs:
    """Return nine columns of lower and of upper halves as a tight residue."""
    columns = [lows[0]]
    columns += [m.add(lows[k], m.left(highs[k - 1], 1)) for k in range(1, 2 * LIMBS - 1)]
    columns.append(m.left(highs[-1], 1))
    return tightened(m, [m.add(columns[k], _times_19(m, columns[k + LIMBS])) for k in range(LIMBS)])


def product(m: Machine, x: Limbs, y: Limbs) -> Limbs:
    """Return x * y; tight."""
    lows, highs = [m.zero] * (2 * LIMBS - 1), [m.zero] * (2 * LIMBS - 1)
    for i in range(LIMBS):
        for j in range(LIMBS):
            lows[i + j] = m.lo(lows[i + j], x[i], y[j])
            highs[i + j] = m.hi(highs[i + j], x[i], y[j])
    return _folded(m, lows, highs)


def square(m: Machine, x: Limbs) -> Limbs:
    """Return x * x; tight. Mixed products are counted twice by doubling their sums."""
    size = 2 * LIMBS - 1
    lows, highs = [m.zero] * size, [m.zero] * size
    for i in range(LIMBS):
        for j in range(i + 1, LIMBS):
            lows[i + j] = m.lo(lows[i + j], x[i], x[j])
            highs[i + j] = m.hi(highs[i + j], x[i], x[j])
    lows = [low if low is m.zero else m.left(low, 1) for low in lows]
    highs = [high if high is m.zero else m.left(high, 1) for high in highs]
    for i in range(LIMBS):
        lows[2 * i] = m.lo(lows[2 * i], x[i], x[i])
        highs[2 * i] = m.hi(highs[2 * i], x[i], x[i])
    return _folded(m, lows, highs)


def total(m: Machine, x: Limbs, y: Limbs) -> Limbs:
    """Return x + y; tight."""
    return tightened(m, [m.add(a, b) for a, b in zip(x, y, strict=True)])


def difference(m: Machine, x: Limbs, y: Limbs) -> Limbs:
    """Return x - y; tight."""
    return tightened(
        m,
        [
            m.sub(m.add(a, m.splat(offset)), b)
            for a, b, offset in zip(x, y, _TWICE_PRIME, strict=True)
        ],
    )


def chosen(m: Machine, mask: Vector, x: Limbs, y: Limbs) -> Limbs:
    """Return x where a mask is not zero, y elsewhere."""
    return [m.unless_borrowed(mask, b, a) for a, b in zip(x, y, strict=True)]


def frozen(m: Machine, x: Limbs) -> Limbs:
    """Return the one representative below p of a tight residue."""
    mask = m.splat(_MASK)
    limbs = tightened(m, x)
    # How often p is in it, 0 or 1: whether adding 19 carries out of bit 255.
    over = m.right(m.add(limbs[0], m.splat(19)), RADIX)
    for limb in limbs[1:]:
        over = m.right(m.add(limb, over), RADIX)
    carry = _times_19(m, over)
    out = []
    for limb in limbs:
        value = m.add(limb, carry)
        out.append(m.masked(value, mask))
        carry = m.right(value, RADIX)
    return out  # the last carry is what 2**255 * over was


def odd(m: Machine, x: Limbs) -> Vector:
    """Return ones where the representative is odd, which is what RFC 9496 calls negative."""
    low = m.masked(frozen(m, x)[0], m.splat(1))
    return m.difference(m.zero, low, m.zero)


def zero(m: Machine, x: Limbs) -> Vector:
    """Return ones where a residue is zero."""
    limbs = frozen(m, x)
    bits = limbs[0]
    for limb in limbs[1:]:
        bits = m.either(bits, limb)
    return m.unless_borrowed(bits, m.splat(_ONES), m.zero)


class Field:
    """Routines of a program over residues in memory, and the room for what they give."""

    def __init__(self, program: Program) -> None:
        """Define the routines."""

        def of_two(work: Callable[[Machine, Limbs, Limbs], Limbs]) -> Callable[..., None]:
            def body(m: Machine, out: Place, x: Place, y: Place) -> None:
                store(m, work(m, load(m, x), load(m, y)), out)

            return body

        def squared(m: Machine, out: Place, x: Place, times: Number) -> None:
            def once(_turn: Number, *limbs: Vector) -> Limbs:
                return square(m, list(limbs))

            store(m, m.loop(0, times, 1, load(m, x), once), out)

        self._product: Routine = program.define("product", "ppp", of_two(product))
        self._total: Routine = program.define("total", "ppp", of_two(total))
        self._difference: Routine = program.define("difference", "ppp", of_two(difference))
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
        store(m, load(m, at.mul(at.squared(all_of_it, 2), x)), out)

    def call(self, m: Machine, name: str, out: Place, *arguments: object) -> None:
        """Call a routine by its name."""
        m.call(getattr(self, f"_{name}"), out, *arguments)


class Residues:
    """Residues of one routine: every operation writes to room of its own, unless told where."""

    def __init__(self, field: Field, m: Machine) -> None:
        """Work for a routine's machine."""
        self.m = m
        self._field = field

    def _new(self, name: str, out: Place | None, *arguments: object) -> Place:
        place = self.m.scratch(LIMBS) if out is None else out
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

    def squared(self, x: Place, times: int = 1, out: Place | None = None) -> Place:
        """Return x ** (2 ** times)."""
        return self._new("squared", out, x, times)

    def root(self, x: Place) -> Place:
        """Return x ** ((p - 5) / 8)."""
        return self._new("root", None, x)

    def constant(self, value: int) -> Place:
        """Return an integer in every lane."""
        place = self.m.scratch(LIMBS)
        store(self.m, [self.m.splat(limb) for limb in limbs_of(value % PRIME)], place)
        return place

    def choose(self, mask: Vector, x: Place, y: Place) -> Place:
        """Return x where a mask is not zero, y elsewhere."""
        place = self.m.scratch(LIMBS)
        store(self.m, chosen(self.m, mask, load(self.m, x), load(self.m, y)), place)
        return place

    def negated(self, x: Place) -> Place:
        """Return -x."""
        place = self.m.scratch(LIMBS)
        nothing = [self.m.zero] * LIMBS
        store(self.m, difference(self.m, nothing, load(self.m, x)), place)
        return place

    def odd(self, x: Place) -> Vector:
        """Return ones where x is negative."""
        return odd(self.m, load(self.m, x))

    def magnitude(self, x: Place) -> Place:
        """Return x or -x, whichever is not negative."""
        return self.choose(self.odd(x), self.negated(x), x)

    def equal(self, x: Place, y: Place) -> Vector:
        """Return ones where x is y."""
        return zero(self.m, difference(self.m, load(self.m, x), load(self.m, y)))
