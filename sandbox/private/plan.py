"""Which sums a statement needs, how far one entity can move each, and how rho is split among them.

Neighbours are tables of which one has all rows of one entity more. A sum is a vector with a number
for each cell of a core. One entity counts in at most L0 cells (:mod:`sandbox.private.bounding`), in
each with at most Linf, so that she moves the vector by at most ``Linf·sqrt(L0)`` in the L2 norm.
Noise of the discrete Gaussian with ``sigma² = Linf²·L0/(2·rho)`` makes it rho-zCDP (Bun & Steinke,
TCC 2016; Canonne, Kamath & Steinke, NeurIPS 2020, theorem 4). A statement's rho is split into equal
parts, one for each of its sums; they add up. All that is made of the sums costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import isqrt
from typing import TYPE_CHECKING, Final

from sandbox.private.domains import keys_of
from sandbox.refusals import refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandbox.policy import Policy
    from sandbox.private.domains import Domain
    from sandbox.relations import Core, Statistic

MICRO: Final = 1_000_000
MAX_SUMS: Final = 32
"""Most noisy sums of a statement."""

MAX_SIGMA: Final = 2**48
"""Largest standard deviation in units of a sum: far from where 64 bits end."""

SPREAD: Final = frozenset({"var_samp", "var_pop", "stddev_samp", "stddev_pop"})
ANSWERED: Final = SPREAD | {"entities", "count", "sum", "mean"}
"""Kinds of statistics that are made of sums."""


@dataclass(frozen=True, slots=True)
class Sum:
    """One noisy vector.

    Attributes:
        core: Which core it is of.
        measure: Which of its measures.
        entities: Whether entities are counted that have it, instead of adding up.
        about: Taken off each value before it is added up, as a scaled whole number: the middle of
            the column's bounds, for averages and variances.
        root: Of a sum of squares about that: the measure whose values are squared.
    """

    core: int
    measure: int
    entities: bool = False
    about: int = 0
    root: int | None = None


@dataclass(frozen=True, slots=True)
class Noise:
    """What is added to a sum.

    Attributes:
        unit: What one entity's part is divided by (and cut off after) before it is added up: a
            power of ten, 1 unless the bound is huge.
        largest: The most that one entity counts in a cell, in units (Linf).
        cells: The most cells that one entity counts in (L0).
        variance: Squared sigma of the discrete Gaussian, in squared units: a lower bound.
        rho: What the sum may spend.
    """

    unit: int
    largest: int
    cells: int
    variance: Fraction
    rho: Fraction

    @property
    def squared(self) -> int:
        """Squared sensitivity in the L2 norm, in squared units."""
        return self.largest**2 * self.cells


@dataclass(frozen=True, slots=True)
class Private:
    """What a statement releases under differential privacy.

    Attributes:
        cores: The cores that the result stands on, by number.
        domains: Of each of them, the values of its keys.
        cells: Of each of them, the most cells that one entity counts in.
        sums: Every noisy vector, each once.
    """

    cores: tuple[int, ...]
    domains: tuple[tuple[Domain, ...], ...]
    cells: tuple[int, ...]
    sums: tuple[Sum, ...]

    def of(self, core: int) -> list[Sum]:
        """Return the vectors of a core."""
        return [each for each in self.sums if each.core == core]


def plan(cores: Sequence[Core], used: Sequence[int], policy: Policy) -> Private:
    """Return what has to be released for a statement.

    Args:
        cores: Its cores.
        used: Numbers of those that its result stands on.
        policy: What may be asked, of mode ``dp``.

    Raises:
        QueryRefused: A statistic is not made of sums (Q-21), groups are not known (Q-22), or there
            are too many (Q-16).
    """
    sums: dict[Sum, None] = {}
    for number in used:
        for statistic in cores[number].statistics:
            if statistic.kind not in ANSWERED:
                raise refusal("Q-21")
            sums.update(dict.fromkeys(needed(number, cores[number], statistic)))
    if len(sums) > MAX_SUMS:
        raise refusal("Q-16", f"A statement has at most {MAX_SUMS} counts and sums.")
    domains = tuple(keys_of(cores[number], policy) for number in used)
    cells = tuple(most_cells(cores[number], policy) for number in used)
    return Private(tuple(used), domains, cells, tuple(sums))


def needed(number: int, core: Core, of: Statistic) -> tuple[Sum, ...]:
    """Return the vectors that a statistic is made of, in the order of its measures."""
    if of.kind == "entities" and core.measures[of.measures[0]].bound > 1:
        return (Sum(number, of.measures[0], entities=True),)
    if of.kind == "mean":
        return Sum(number, of.measures[0]), Sum(number, of.measures[1], about=middle(core, of))
    if of.kind in SPREAD:
        count, total, squares = of.measures
        about = middle(core, of)
        root = total if about else None
        return (
            Sum(number, count),
            Sum(number, total, about=about),
            Sum(number, squares, about=about, root=root),
        )
    return tuple(Sum(number, each) for each in of.measures)


def middle(core: Core, of: Statistic) -> int:
    """Return what is taken off each value, so that one entity moves the sum of them less.

    Nothing where the sum itself is asked for as well, which is then released once for both.
    """
    measure = of.measures[1]
    if any(each.kind == "sum" and measure in each.measures for each in core.statistics):
        return 0
    low, high = _bounds(core, measure)
    return (low + high) // 2


def _bounds(core: Core, measure: int) -> tuple[int, int]:
    """Return least and greatest value of a row of a measure, as scaled whole numbers."""
    kind = core.rows.outputs[core.measures[measure].value or 0].value.type
    scale = 10**kind.scale
    return int(kind.low * scale // 1), -int(-kind.high * scale // 1)


def bound_of(each: Sum, core: Core) -> int:
    """Return the most that one entity counts in a cell (Linf), as a scaled whole number."""
    measure = core.measures[each.measure]
    if each.entities:
        return 1
    if each.about == 0:
        return measure.bound
    low, high = _bounds(core, each.measure if each.root is None else each.root)
    whole, half = max(abs(low), abs(high)), max(high - each.about, each.about - low)
    if each.root is not None:
        whole, half = whole**2, half**2
    # As many rows of one entity as without taking anything off.
    return max(1, -(-measure.bound * half // max(1, whole)))


def most_cells(core: Core, policy: Policy) -> int:
    """Return in how many cells one entity counts at most (L0)."""
    if core.keys == 0 or core.rows.single or policy.budget is None:
        return 1
    return max(1, min(policy.budget.contributions, core.rows.rows))


def noise_of(each: Sum, core: Core, cells: int, rho: Fraction) -> Noise:
    """Return the noise of a sum that may spend rho.

    Raises:
        QueryRefused: There is no noise large enough (Q-14).
    """
    bound = bound_of(each, core)
    unit = 1
    while unit <= bound:
        # What is left of a part that was divided, and cut off or rounded, is at most this.
        largest = bound if unit == 1 else bound // unit + 1
        variance = Fraction(largest**2 * cells) / (2 * rho)
        if variance <= MAX_SIGMA**2:
            return Noise(unit, largest, cells, variance, rho)
        unit *= 10
    raise refusal("Q-14")


def share(rho_micro: int, sums: int) -> Fraction:
    """Return the part of a statement's rho that each of its sums may spend."""
    return Fraction(rho_micro, MICRO * sums)


def root_above(of: Fraction) -> Fraction:
    """Return a number that is not below the square root, and hardly above it."""
    scaled = 10**24
    return Fraction(isqrt(of.numerator * scaled**2 // of.denominator) + 1, scaled)
