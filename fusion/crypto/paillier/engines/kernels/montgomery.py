"""Montgomery multiplication of vectors of residues (Montgomery, Math. Comp. 44, 1985).

One rule carries everything: column k of ``x * y`` is the sum of ``x[i] y[j]`` with i + j = k, or,
where the unit splits a product into halves, of ``lo(x[i] y[j])`` with i + j = k and
``hi(x[i] y[j])`` with i + j = k - 1. The limbs of one factor are taken a few *rows* at a time; the
columns of such a block run from low to high, and the last limbs of the other factor travel in
registers. Sizes are parameters, loops stay loops.

Inputs may be a few times the modulus (R is 2^16 times it); results are below twice the modulus.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from fusion.crypto.paillier.engines.kernels.shape import Size
    from fusion.crypto.paillier.engines.kernels.vocabulary import (
        Machine,
        Number,
        Place,
        Vector,
    )

Limbs = dict[int, "Vector"]


class Term(NamedTuple):
    """One product of two limbs, or one half of it, in a column."""

    high: bool
    x: Vector
    y: Vector


class Constants:
    """Where a modulus stands in memory, as 64-bit numbers.

    ``n``, its limbs; ``above``, one limb more: a multiple of n that is at least R, written so that
    any quotient can be taken from it limb by limb without a borrow; ``inverse`` of -n modulo one
    limb.
    """

    def __init__(self, m: Machine, place: Place, size: Size) -> None:
        """Lay the fields out from ``place``."""
        self.place = place
        self.size = size
        self.n = place
        self.above = m.words_at(place, size.limbs)
        self.inverse = m.words_at(place, 2 * size.limbs + 1)

    @staticmethod
    def words(size: Size) -> int:
        """64-bit numbers that the fields take, rounded up to whole vectors."""
        return -(-(2 * size.limbs + 2) // 8) * 8


def columns(m: Machine, k: int, x: Mapping[int, Vector], ys: Mapping[int, Vector]) -> list[Term]:
    """Return the terms of column k of ``x`` times the rows ``ys``."""
    terms = []
    for r, y in ys.items():
        if k - r in x:
            terms.append(Term(False, x[k - r], y))
        if m.shape.high and k - 1 - r in x:
            terms.append(Term(True, x[k - 1 - r], y))
    return terms


def total(m: Machine, start: Vector, *groups: Sequence[Term]) -> Vector:
    """Add terms to ``start``; halves and groups in chains of their own, so that none waits."""
    chains = [
        [term for term in group if term.high is high] for group in groups for high in (False, True)
    ]
    sums = [start]
    for index, chain in enumerate(chain for chain in chains if chain):
        running = start if index == 0 else m.zero
        for term in chain:
            running = (m.hi if term.high else m.lo)(running, term.x, term.y)
        if index == 0:
            sums[0] = running
        else:
            sums.append(running)
    while len(sums) > 1:
        pairs = [sums[i : i + 2] for i in range(0, len(sums), 2)]
        sums = [m.add(*pair) if len(pair) == 2 else pair[0] for pair in pairs]
    return sums[0]


def normalise(
    m: Machine, size: int, read: Callable[[int], Vector], out: Place, extra: Vector | None = None
) -> None:
    """Write limbs with their carries passed on; ``extra`` is added to the lowest."""
    carry = m.zero if extra is None else extra
    for j in range(size):
        value = m.add(read(j), carry)
        m.store(m.low(value), out, j)
        carry = m.carry(value)


def _quotients(
    m: Machine,
    c: Constants,
    held: Mapping[int, Vector],
    terms: Callable[[int], list[Term]],
    ns: Mapping[int, Vector],
) -> tuple[Limbs, Vector]:
    """Choose quotient limbs so that the lowest columns of a block vanish.

    Returns:
        The quotient's limbs, and the carry out of the columns.
    """
    inverse = m.spread(c.inverse)
    qs: Limbs = {}
    carry = m.zero
    for k in range(c.size.rows):
        value = total(m, m.add(held[k], carry), terms(k), columns(m, k, ns, qs))
        product = m.lo(m.zero, value, inverse)
        qs[k] = product if m.shape.high else m.low(product)
        carry = m.carry(m.lo(value, qs[k], ns[0]))
    return qs, carry


def multiply(
    m: Machine,
    c: Constants,
    out: Place,
    pairs: Sequence[tuple[Place, Place]],
    *,
    quotient: Place | None = None,
    minus: Place | None = None,
) -> None:
    """``out = (sum x y [+ multiple of n - minus]) / R mod n``; out may be any of the factors.

    Args:
        m: The machine.
        c: The modulus.
        out: Written last.
        pairs: One or two pairs of factors.
        quotient: Where the Montgomery quotient goes: with ``q`` there, ``x y + q n = out R``.
        minus: A quotient to be subtracted.
    """
    held = m.scratch(c.size.limbs + 1)
    top = _start(m, c, held, minus)
    m.loop(
        0, c.size.limbs, c.size.rows, (),
        lambda i: _multiply_block(m, c, held, i, pairs, quotient),
    )  # fmt: skip
    if minus is not None:
        m.store(m.add(m.load(held, 0), top), held, 0)
    normalise(m, c.size.limbs, lambda j: m.load(held, j), out)


def _multiply_block(
    m: Machine,
    c: Constants,
    held: Place,
    i: Number,
    pairs: Sequence[tuple[Place, Place]],
    quotient: Place | None,
) -> None:
    """Add the rows from limb i of the second factors, and move the columns down by as many."""
    limbs, rows = c.size.limbs, c.size.rows
    near = range(rows)
    ys = [{r: m.load(y, m.plus(i, r)) for r in near} for _, y in pairs]
    xs: list[Limbs] = [{j: m.load(x, j) for j in near} for x, _ in pairs]
    ns: Limbs = {j: m.spread(c.n, j) for j in near}

    def terms(k: int, xs: Sequence[Limbs]) -> list[Term]:
        return [t for x, y in zip(xs, ys, strict=True) for t in columns(m, k, x, y)]

    first = {k: m.load(held, k) for k in near}
    qs, carry = _quotients(m, c, first, lambda k: terms(k, xs), ns)
    if quotient is not None:
        for r in near:
            m.store(qs[r], quotient, m.plus(i, r))
    m.store(m.add(m.load(held, rows), carry), held, rows)

    def groups(window: Sequence[Vector]) -> list[list[Vector]]:
        return [list(window[g * rows : (g + 1) * rows]) for g in range(len(pairs) + 1)]

    def column(k: Number, *window: Vector) -> list[Vector]:
        moving = groups(window)
        for group, (x, _) in zip(moving, pairs, strict=False):
            group.append(m.load(x, k))
        moving[-1].append(m.spread(c.n, k))
        *wide, wide_n = [dict(enumerate(group)) for group in moving]
        value = total(m, m.load(held, k), terms(rows, wide), columns(m, rows, wide_n, qs))
        m.store(value, held, m.minus(k, rows))
        return [limb for group in moving for limb in group[1:]]

    window = m.loop(rows, limbs, 1, [x[j] for x in [*xs, ns] for j in near], column)
    *last, last_n = [dict(enumerate(group)) for group in groups(window)]
    for k in near:
        start = m.load(held, limbs) if k == 0 else m.zero
        value = total(m, start, terms(rows + k, last), columns(m, rows + k, last_n, qs))
        m.store(value, held, limbs - rows + k)


def _start(m: Machine, c: Constants, held: Place, minus: Place | None) -> Vector:
    """Fill the running columns; return what has to be added above the top one."""
    limbs = c.size.limbs
    for j in range(limbs + 1):
        if minus is None or j == limbs:
            m.store(m.zero, held, j)
        else:
            m.store(m.sub(m.spread(c.above, j), m.load(minus, j)), held, j)
    return m.zero if minus is None else m.spread(c.above, limbs)


def square(m: Machine, c: Constants, out: Place, x: Place, *, quotient: Place) -> None:
    """``out = x x / R mod n`` with its quotient; three quarters of the products of a multiply.

    A row i needs ``x[i] (x[i] + 2 (limbs above i))``. With d = 2x, carries passed on, the doubled
    limbs above i are d[i+1..], less the carry that came out of limb i: the low bit of d[i+1].
    """
    limbs, rows = c.size.limbs, c.size.rows
    reach = 2 * rows + 1
    doubled = m.scratch(limbs + rows + 2)
    normalise(m, limbs, lambda j: m.add(m.load(x, j), m.load(x, j)), doubled)
    for j in range(limbs, limbs + rows + 2):
        m.store(m.zero, doubled, j)
    held = m.scratch(2 * limbs + rows + 2)

    def clear(j: Number) -> None:
        m.store(m.zero, held, j)

    m.loop(0, 2 * limbs + rows + 2, 1, (), clear)

    def block(i: Number) -> None:
        near = range(rows)
        base = m.at(held, m.plus(i, i))
        here = m.at(doubled, i)
        ys = {r: m.load(x, m.plus(i, r)) for r in near}
        plain: Limbs = {j: m.load(here, j) for j in range(1, reach)}
        tails = {
            r: {r: ys[r], r + 1: m.even(plain[r + 1])} | {j: plain[j] for j in range(r + 2, reach)}
            for r in near
        }
        for k in range(reach):
            terms = [t for r in near for t in columns(m, k, tails[r], {r: ys[r]})]
            m.store(total(m, m.load(base, k), terms), base, k)

        def column(k: Number, *window: Vector) -> list[Vector]:
            wide = [*window, m.load(here, k)]
            terms = columns(m, rows, dict(enumerate(wide)), ys)
            m.store(total(m, m.load(base, k), terms), base, k)
            return wide[1:]

        window = [plain[j] for j in range(reach - rows, reach)]
        stop = m.minus(limbs + rows + 2, i)
        m.loop(reach, stop, 1, window, column)

    m.loop(0, limbs, rows, (), block)
    reduce(m, c, out, held, quotient=quotient)


def reduce(m: Machine, c: Constants, out: Place, held: Place, *, quotient: Place) -> None:
    """``out = held / R mod n`` for 2 limbs + 1 running columns, with its quotient."""
    limbs, rows = c.size.limbs, c.size.rows
    near = range(rows)

    def block(i: Number) -> None:
        base = m.at(held, i)
        ns: Limbs = {j: m.spread(c.n, j) for j in near}
        first = {k: m.load(base, k) for k in near}
        qs, carry = _quotients(m, c, first, lambda _: [], ns)
        for r in near:
            m.store(qs[r], quotient, m.plus(i, r))
        m.store(m.add(m.load(base, rows), carry), base, rows)

        def column(k: Number, *window: Vector) -> list[Vector]:
            wide = [*window, m.spread(c.n, k)]
            terms = columns(m, rows, dict(enumerate(wide)), qs)
            m.store(total(m, m.load(base, k), terms), base, k)
            return wide[1:]

        last = m.loop(rows, limbs, 1, [ns[j] for j in near], column)
        for k in near:
            terms = columns(m, rows + k, dict(enumerate(last)), qs)
            m.store(total(m, m.load(base, limbs + k), terms), base, limbs + k)

    m.loop(0, limbs, rows, (), block)
    upper = m.at(held, limbs)
    normalise(m, limbs, lambda j: m.load(upper, j), out)


def accumulate(m: Machine, c: Constants, out: Place, x: Place, start: Place) -> None:
    """``out = start + x n``, unreduced: the number of two digits that it stands for.

    Args:
        m: The machine.
        c: The modulus.
        out: 2 limbs vectors.
        x: The upper digit, below n.
        start: The lower digit, below n.
    """
    limbs, rows = c.size.limbs, c.size.rows
    held = m.scratch(2 * limbs)
    for j in range(2 * limbs):
        m.store(m.load(start, j) if j < limbs else m.zero, held, j)
    near = range(rows)

    def block(i: Number) -> None:
        base = m.at(held, i)
        ys = {r: m.load(x, m.plus(i, r)) for r in near}
        window = [m.spread(c.n, j) for j in near]
        first = dict(enumerate(window))
        for k in near:
            m.store(total(m, m.load(base, k), columns(m, k, first, ys)), base, k)

        def column(k: Number, *window: Vector) -> list[Vector]:
            wide = [*window, m.spread(c.n, k)]
            terms = columns(m, rows, dict(enumerate(wide)), ys)
            m.store(total(m, m.load(base, k), terms), base, k)
            return wide[1:]

        last = m.loop(rows, limbs, 1, window, column)
        for k in near:
            terms = columns(m, rows + k, dict(enumerate(last)), ys)
            m.store(total(m, m.load(base, limbs + k), terms), base, limbs + k)

    m.loop(0, limbs, rows, (), block)
    normalise(m, 2 * limbs, lambda j: m.load(held, j), out)
