"""The noise is the noise that is claimed: distributions, and what two neighbours can differ by.

Randomness is the operating system's and can't be made to repeat. Bounds are those of Dvoretzky,
Kiefer, Wolfowitz and Massart: an empirical distribution of n samples is off by more than
``sqrt(ln(2/a)/(2n))`` with a probability of at most a; a is 1e-11 for each comparison here.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from decimal import Decimal
from fractions import Fraction
from math import exp, log, sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fusion.crypto.concentrated import delta_of
from fusion.errors import EnvironmentUnfit
from sandbox.private import mechanism
from sandbox.private.mechanism import noisy, sigma_of
from sandbox.private.plan import MAX_SIGMA, MICRO, Noise, root_above
from sandbox.private.release import released
from tests.private.world import compiled, exact, tables, without, written

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[2]
SAMPLES = 12_000
OFF = sqrt(log(2 / 1e-11) / (2 * SAMPLES))


def noise(largest: int, cells: int, rho: Fraction) -> Noise:
    return Noise(1, largest, cells, Fraction(largest**2 * cells) / (2 * rho), rho)


def cumulated(samples: Sequence[int], points: Sequence[int]) -> list[float]:
    """Return the share of samples up to each point; points ascend."""
    ordered, found, place = sorted(samples), [], 0
    for point in points:
        while place < len(ordered) and ordered[place] <= point:
            place += 1
        found.append(place / len(ordered))
    return found


@pytest.mark.parametrize("own", [noise(1, 1, Fraction(1, 8)), noise(7, 3, Fraction(1, 50))])
def test_samples_are_discrete_gaussian_with_the_sigma_that_is_needed(own: Noise) -> None:
    samples = noisy([5] * SAMPLES, own)
    sigma = sigma_of(own)
    reach = int(8 * sigma) + 2
    points = range(-reach, reach + 1)
    weights = [exp(-(point**2) / (2 * sigma**2)) for point in points]
    passed, wanted = 0.0, []
    for weight in weights:
        passed += weight / sum(weights)
        wanted.append(passed)
    found = cumulated(samples, [point + 5 for point in points])
    assert max(abs(a - b) for a, b in zip(found, wanted, strict=True)) <= OFF


def test_two_neighbours_differ_by_no_more_than_epsilon_and_delta(tmp_path: Path) -> None:
    """The whole way of a query, asked of a table with and without one person, many times.

    For every interval (-inf, t] and its complement: P <= exp(epsilon)·Q + delta, both ways round.
    """
    sql = "select sum(income) from persons"
    rho_micro = 500_000
    statement = compiled(sql, rho_micro=rho_micro)
    whole = tables()
    one, other = (
        _answers(statement, written(tmp_path / name, found))
        for name, found in (("all", whole), ("less", without(whole, 1)))
    )
    # They do differ, so that there is something to hold back.
    assert abs(sum(one) - sum(other)) / SAMPLES > 500
    points = sorted({*one[::50], *other[::50]})
    left, right = cumulated(one, points), cumulated(other, points)
    for epsilon in (0.5, 1.0, 2.0, 3.0):
        delta = float(delta_of(Decimal(rho_micro) / MICRO, Decimal(repr(epsilon))))
        allowed = delta + OFF * (1 + exp(epsilon))
        for p, q in zip(left, right, strict=True):
            for here, there in ((p, q), (q, p), (1 - p, 1 - q), (1 - q, 1 - p)):
                assert here <= exp(epsilon) * there + allowed


def test_half_the_noise_would_be_found() -> None:
    """The comparison above has the power to see noise that is too small."""
    own = noise(1, 1, Fraction(2))
    one, other = noisy([0] * SAMPLES, own), noisy([1] * SAMPLES, own)
    points = range(-5, 6)
    left, right = cumulated(one, points), cumulated(other, points)
    epsilon = 0.5
    claimed = float(delta_of(Decimal("0.125"), Decimal(repr(epsilon))))
    allowed = claimed + OFF * (1 + exp(epsilon))
    assert any(p > exp(epsilon) * q + allowed for p, q in zip(left, right, strict=True))


def _answers(statement: Any, inputs: Any) -> list[int]:
    """Return many independent answers to a statement without groups, in units of its sum."""
    (cells,) = exact(statement, inputs)
    rows = [(*key, *sums) for key, sums in cells.items()]
    core = statement.compiled.cores[0]
    many = released(0, core, rows, [()] * SAMPLES, statement.noise)
    return [round(value * 10) for (value,) in many]


def test_our_arithmetic_and_that_of_the_library_agree() -> None:
    dp: Any = importlib.import_module("opendp.prelude")

    dp.enable_features("contrib")
    space = dp.vector_domain(dp.atom_domain(T="i64")), dp.l2_distance(T="f64")
    for largest, cells, rho in [
        (1, 1, Fraction(1, 2)), (10**9, 3, Fraction(1, 10**6)), (12_345, 17, Fraction(7, 3)),
    ]:  # fmt: skip
        own = noise(largest, cells, rho)
        made = dp.m.make_gaussian(*space, scale=sigma_of(own))
        theirs = made.map(float(root_above(Fraction(own.squared))))
        assert theirs == pytest.approx(float(rho), rel=1e-9)
        assert Fraction(sigma_of(own)) ** 2 >= own.variance


def test_noise_is_never_less_than_asked_for_by_rounding() -> None:
    for largest in (1, 2, 3, 7, 10**6 + 3, 10**15 - 1):
        for rho in (Fraction(1, 3), Fraction(1, 10**6), Fraction(10**6)):
            own = noise(largest, 5, rho)
            assert Fraction(own.squared) / (2 * Fraction(sigma_of(own)) ** 2) <= rho


def test_the_library_has_to_agree() -> None:
    honest = noise(10, 1, Fraction(1, 8))
    with pytest.raises(EnvironmentUnfit, match="does not agree"):
        noisy([0], Noise(1, 10, 1, honest.variance / 2, honest.rho))


def test_huge_sums_are_cut_off_and_no_sum_is_none() -> None:
    own = noise(1, 1, Fraction(1))
    (high, low) = noisy([10**30, -(10**30)], own)
    assert abs(high - mechanism.LARGEST) < 100
    assert abs(low + mechanism.LARGEST) < 100
    assert noisy([], own) == []
    assert MAX_SIGMA < 2**50


def test_without_the_library_it_is_said_what_to_install() -> None:
    code = (
        "import sys; sys.modules['opendp'] = None\n"
        "from sandbox.private.mechanism import check_available\n"
        "from fusion.errors import EnvironmentUnfit\n"
        "try: check_available()\n"
        "except EnvironmentUnfit as error: print(error.exit_code, error.hint)\n"
        "from fusion.errors import QueryRefused\n"
        "from sandbox.attached import attach\n"
        "from sandbox.private.answering import prepare_private\n"
        "from tests.private.world import POLICY\n"
        # A policy is not attached and a question not looked at, whichever they are.
        "try: attach(None, POLICY, 'policy.yaml', 'd', None)\n"
        "except EnvironmentUnfit as error: print(error.code)\n"
        "try: prepare_private(None, None, b'', 'duckdb')\n"
        "except QueryRefused as error: print(error.code)\n"
        "assert 'opendp.prelude' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    wanted = '3 Install it: pip install "banyan-fusion[dp]".\nF-300\nQ-18\n'
    assert done.stdout == wanted
