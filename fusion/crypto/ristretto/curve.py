"""Kernels of ristretto255 (RFC 9496, 4): decode, multiply by one secret scalar, map, encode.

A point is four residues X, Y, Z, T of extended twisted Edwards coordinates (Hisil, Wong, Carter,
Dawson 2008). All lanes are multiplied by the same scalar, four bits at a time with signed digits;
a digit is looked up by reading all nine entries of the table, so no address depends on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fusion.crypto.ristretto.field import PRIME, Field, Residues, form_of

if TYPE_CHECKING:
    from fusion.crypto.paillier.engines.kernels.vocabulary import (
        Machine,
        Number,
        Place,
        Program,
        Routine,
        Vector,
    )

SIGNATURES: Final = {"multiply": "ppppi", "from_uniform": "ppi"}
"""What is exported: ``multiply(points, digits, out, good, batches)`` and
``from_uniform(halves, out, batches)``.

Points are a vector a limb; ``good`` is one vector a batch, ones where a point
decoded. Halves are two residues of which RFC 9496 makes one point.
"""
DIGITS: Final = 64
"""Of a scalar, four bits each, from -8 to 8."""
_ENTRIES: Final = 8

_D: Final = -121665 * pow(121666, -1, PRIME) % PRIME
_SQRT_M1: Final = pow(2, (PRIME - 1) // 4, PRIME)
# RFC 9496, 4.1; which of two roots each is matters, so they stand as they are written there.
_SQRT_AD_MINUS_ONE: Final = (
    25063068953384623474111414158702152701244531502492656460079210482610430750235
)
_INVSQRT_A_MINUS_D: Final = (
    54469307008909316920995813868745141605393597292927456921205312896311721017578
)
_ONE_MINUS_D_SQ: Final = (1 - _D * _D) % PRIME
_D_MINUS_ONE_SQ: Final = (_D - 1) ** 2 % PRIME


def digits_of(scalar: int, count: int = DIGITS) -> list[int]:
    """Return a scalar below 2**253 as pairs of numbers, highest digit first: size, then sign."""
    digits, carry = [], 0
    for at in range(count):
        digit = (scalar >> 4 * at & 15) + carry
        carry = int(digit >= 8)
        digits.append(digit - 16 * carry)
    return [number for digit in reversed(digits) for number in (abs(digit), int(digit < 0))]


def coordinates(m: Machine, point: Place) -> tuple[Place, Place, Place, Place]:
    """Return where X, Y, Z and T of a point are."""
    size = form_of(m.shape).size
    x, y, z, t = (m.at(point, size * at) for at in range(4))
    return x, y, z, t


class Curve:
    """Routines of a program over points in memory."""

    def __init__(self, program: Program, digits: int = DIGITS) -> None:
        """Define the routines.

        Args:
            program: Where.
            digits: Of a scalar; fewer for tests on the model.
        """
        self._digits = digits
        self._size = form_of(program.shape).size
        self._field = Field(program)
        self._ratio: Routine = program.define("ratio", "pppp", self._sqrt_ratio)
        self._encode: Routine = program.define("encode", "pp", self._encoded)
        self._decode: Routine = program.define("decode", "ppp", self._decoded)
        self._double: Routine = program.define("double", "pp", self._doubled)
        self._double_3: Routine = program.define("double_3", "p", self._doubled_thrice)
        self._cache: Routine = program.define("cache", "pp", self._cached)
        self._add: Routine = program.define("add", "ppp", self._added)
        self._pick: Routine = program.define("pick", "ppp", self._picked)
        self._map: Routine = program.define("map", "pp", self._elligator)
        program.define("multiply", SIGNATURES["multiply"], self._multiply, exported=True)
        program.define("from_uniform", SIGNATURES["from_uniform"], self._uniform, exported=True)

    # ------------------------------------------------------------------ roots

    def _sqrt_ratio(self, m: Machine, out: Place, square: Place, u: Place, v: Place) -> None:
        """Write the non-negative root of u/v or of i*u/v, and where it is the first (4.2)."""
        at = Residues(self._field, m)
        cube = at.mul(at.squared(v), v)
        seventh = at.mul(at.squared(cube), v)
        root = at.mul(at.mul(u, cube), at.root(at.mul(u, seventh)))
        check = at.mul(v, at.squared(root))
        minus, i = at.negated(u), at.constant(_SQRT_M1)
        correct, flipped = at.equal(check, u), at.equal(check, minus)
        turned = m.either(flipped, at.equal(check, at.mul(minus, i)))
        root = at.choose(turned, at.mul(root, i), root)
        at.copy(at.magnitude(root), out)
        m.store(m.either(correct, flipped), square)

    def _root_of(self, at: Residues, u: Place, v: Place) -> tuple[Place, Vector]:
        out, square = at.room(), at.m.scratch(1)
        at.m.call(self._ratio, out, square, u, v)
        return out, at.m.load(square)

    # ------------------------------------------------------------------ encodings

    def _decoded(self, m: Machine, point: Place, good: Place, s: Place) -> None:
        """Write a point, and ones where its encoding is one of any (4.3.1).

        Whether it is reduced and even is for the caller, who has the bytes.
        """
        at = Residues(self._field, m)
        one = at.constant(1)
        ss = at.squared(s)
        u1, u2 = at.sub(one, ss), at.add(one, ss)
        u2_squared = at.squared(u2)
        weighted = at.mul(at.constant(_D), at.squared(u1))
        v = at.sub(at.negated(weighted), u2_squared)
        inverse, square = self._root_of(at, one, at.mul(v, u2_squared))
        den_x = at.mul(inverse, u2)
        den_y = at.mul(at.mul(inverse, den_x), v)
        x, y, z, t = coordinates(m, point)
        at.copy(at.magnitude(at.mul(at.add(s, s), den_x)), x)
        at.mul(u1, den_y, y)
        at.copy(one, z)
        at.mul(x, y, t)
        bad = m.either(at.odd(t), at.equal(y, at.constant(0)))
        m.store(m.unless_borrowed(bad, square, m.zero), good)

    def _encoded(self, m: Machine, out: Place, point: Place) -> None:
        """Write the canonical residue of a point (4.3.2)."""
        at = Residues(self._field, m)
        x, y, z, t = coordinates(m, point)
        u1, u2 = at.mul(at.add(z, y), at.sub(z, y)), at.mul(x, y)
        inverse, _ = self._root_of(at, at.constant(1), at.mul(u1, at.squared(u2)))
        den1, den2 = at.mul(inverse, u1), at.mul(inverse, u2)
        z_inv = at.mul(at.mul(den1, den2), t)
        i = at.constant(_SQRT_M1)
        enchanted = at.mul(den1, at.constant(_INVSQRT_A_MINUS_D))
        rotate = at.odd(at.mul(t, z_inv))
        x_out = at.choose(rotate, at.mul(y, i), x)
        y_out = at.choose(rotate, at.mul(x, i), y)
        den = at.choose(rotate, enchanted, den2)
        y_out = at.choose(at.odd(at.mul(x_out, z_inv)), at.negated(y_out), y_out)
        s = at.magnitude(at.mul(den, at.sub(z, y_out)))
        at.inside.store(at.inside.frozen(at.inside.load(s)), out)

    # ------------------------------------------------------------------ the group law

    def _doubled(self, m: Machine, out: Place, point: Place) -> None:
        """Write 2P, all four coordinates."""
        self._twice(m, out, point, with_t=True)

    def _doubled_thrice(self, m: Machine, point: Place) -> None:
        """Write 8P in place, without T, which a doubling does not read."""

        def once(_turn: Number) -> None:
            self._twice(m, point, point, with_t=False)

        m.loop(0, 3, 1, (), once)

    def _twice(self, m: Machine, out: Place, point: Place, *, with_t: bool) -> None:
        at = Residues(self._field, m)
        x, y, z, _ = coordinates(m, point)
        a, b, zz = at.squared(x), at.squared(y), at.squared(z)
        h = at.add(a, b)
        e = at.sub(h, at.squared(at.add(x, y)))
        g = at.sub(a, b)
        f = at.add(at.add(zz, zz), g)
        x3, y3, z3, t3 = coordinates(m, out)
        at.mul(e, f, x3)
        at.mul(g, h, y3)
        at.mul(f, g, z3)
        if with_t:
            at.mul(e, h, t3)

    def _cached(self, m: Machine, out: Place, point: Place) -> None:
        """Write Y + X, Y - X, 2Z and 2dT: what an addition reads of its second point."""
        at = Residues(self._field, m)
        x, y, z, t = coordinates(m, point)
        first, second, third, fourth = coordinates(m, out)
        at.add(y, x, first)
        at.sub(y, x, second)
        at.add(z, z, third)
        at.mul(t, at.constant(2 * _D), fourth)

    def _added(self, m: Machine, out: Place, point: Place, cached: Place) -> None:
        """Write the sum of a point and a cached one; complete, so that no case is special."""
        at = Residues(self._field, m)
        x, y, z, t = coordinates(m, point)
        plus, minus, z2, t2 = coordinates(m, cached)
        a = at.mul(at.sub(y, x), minus)
        b = at.mul(at.add(y, x), plus)
        c, d = at.mul(t, t2), at.mul(z, z2)
        e, f, g, h = at.sub(b, a), at.sub(d, c), at.add(d, c), at.add(b, a)
        x3, y3, z3, t3 = coordinates(m, out)
        at.mul(e, f, x3)
        at.mul(g, h, y3)
        at.mul(f, g, z3)
        at.mul(e, h, t3)

    # ------------------------------------------------------------------ by a scalar

    def _picked(self, m: Machine, out: Place, table: Place, digit: Place) -> None:
        """Write the table's entry of a signed digit; all of them are read."""
        at = Residues(self._field, m)
        wide = 4 * self._size
        size, sign = m.word(digit, 0), m.word(digit, 1)
        masks = [m.equals(entry, size) for entry in range(_ENTRIES + 1)]
        # The neutral element, cached: 1, 1, 2, 0.
        found = [m.zero] * wide
        for limb, value in ((0, 1), (self._size, 1), (2 * self._size, 2)):
            found[limb] = m.masked(m.splat(value), masks[0])
        for entry in range(_ENTRIES):
            for limb in range(wide):
                part = m.masked(m.load(table, entry * wide + limb), masks[entry + 1])
                found[limb] = m.either(found[limb], part)
        held = at.room(4)
        at.inside.store(found, held)
        plus, minus, z2, t2 = coordinates(m, held)
        negative = m.equals(1, sign)
        parts = (
            at.choose(negative, minus, plus),
            at.choose(negative, plus, minus),
            z2,
            at.choose(negative, at.negated(t2), t2),
        )
        for place, part in zip(coordinates(m, out), parts, strict=True):
            at.copy(part, place)

    def _tabulated(self, m: Machine, point: Place) -> Place:
        """Return P, 2P, ... 8P, cached."""
        at = Residues(self._field, m)
        table, multiple = at.room(4 * _ENTRIES), at.room(4)
        m.call(self._cache, table, point)
        for part, place in zip(coordinates(m, point), coordinates(m, multiple), strict=True):
            at.copy(part, place)

        def following(entry: Number) -> None:
            m.call(self._add, multiple, multiple, table)
            m.call(self._cache, m.at(table, m.times(entry, 4 * self._size)), multiple)

        m.loop(1, _ENTRIES, 1, (), following)
        return table

    def _multiply(
        self, m: Machine, points: Place, digits: Place, out: Place, good: Place, batches: Number
    ) -> None:
        at = Residues(self._field, m)
        point, total, picked = at.room(4), at.room(4), at.room(4)

        def batch(index: Number) -> None:
            place = m.times(index, self._size)
            m.call(self._decode, point, m.at(good, index), m.at(points, place))
            table = self._tabulated(m, point)
            neutral = [m.zero] * (4 * self._size)
            neutral[self._size] = neutral[2 * self._size] = m.splat(1)
            at.inside.store(neutral, total)

            def digit(turn: Number) -> None:
                m.call(self._double_3, total)
                m.call(self._double, total, total)
                m.call(self._pick, picked, table, m.words_at(digits, m.times(turn, 2)))
                m.call(self._add, total, total, picked)

            m.loop(0, self._digits, 1, (), digit)
            m.call(self._encode, m.at(out, place), total)

        m.loop(0, batches, 1, (), batch)

    # ------------------------------------------------------------------ from uniform bytes

    def _elligator(self, m: Machine, out: Place, t: Place) -> None:
        """Write the point of a residue (4.3.4, MAP)."""
        at = Residues(self._field, m)
        one, d = at.constant(1), at.constant(_D)
        r = at.mul(at.constant(_SQRT_M1), at.squared(t))
        u = at.mul(at.add(r, one), at.constant(_ONE_MINUS_D_SQ))
        minus_one = at.negated(one)
        v = at.mul(at.sub(minus_one, at.mul(r, d)), at.add(r, d))
        root, square = self._root_of(at, u, v)
        turned = at.negated(at.magnitude(at.mul(root, t)))
        s = at.choose(square, root, turned)
        c = at.choose(square, minus_one, r)
        n = at.mul(at.mul(c, at.sub(r, one)), at.constant(_D_MINUS_ONE_SQ))
        n = at.sub(n, v)
        ss = at.squared(s)
        w0 = at.mul(at.add(s, s), v)
        w1 = at.mul(n, at.constant(_SQRT_AD_MINUS_ONE))
        w2, w3 = at.sub(one, ss), at.add(one, ss)
        x, y, z, t_out = coordinates(m, out)
        at.mul(w0, w3, x)
        at.mul(w2, w1, y)
        at.mul(w1, w3, z)
        at.mul(w0, w2, t_out)

    def _uniform(self, m: Machine, halves: Place, out: Place, batches: Number) -> None:
        at = Residues(self._field, m)
        first, second, cached = at.room(4), at.room(4), at.room(4)

        def batch(index: Number) -> None:
            half = m.at(halves, m.times(index, 2 * self._size))
            m.call(self._map, first, half)
            m.call(self._map, second, m.at(half, self._size))
            m.call(self._cache, cached, second)
            m.call(self._add, first, first, cached)
            m.call(self._encode, m.at(out, m.times(index, self._size)), first)

        m.loop(0, batches, 1, (), batch)
