"""Epsilon, delta and noise: against another implementation, and against exact divergences."""

from __future__ import annotations

import json
import math
from decimal import Context, Decimal, localcontext
from pathlib import Path

import numpy as np
import pytest

from federated.privacy.accounting import (
    delta_of,
    epsilon_of,
    rho_of,
    rho_of_sum,
    sigma_for,
    sum_gap,
)
from federated.privacy.plan import TAIL, Plan, plan
from fusion.errors import InputInvalid

VECTORS = json.loads(
    (Path(__file__).parents[1] / "vectors" / "privacy" / "accounting.json").read_text("utf-8")
)


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: f"{case['epsilon_micro']}")
def test_another_accountant_agrees(case: dict[str, float]) -> None:
    """dp-accounting, Rényi: the same to its grid of orders; by loss distributions: less."""
    rho = rho_of(int(case["epsilon_micro"]), Decimal(repr(case["delta"])))
    assert float(rho) == pytest.approx(case["rho"], rel=1e-12)
    epsilon = case["epsilon_micro"] / 1e6
    assert case["rdp_epsilon"] == pytest.approx(epsilon, rel=1e-5)
    assert case["rdp_epsilon"] >= epsilon * (1 - 1e-6)
    assert case["pld_epsilon"] < epsilon


@pytest.mark.parametrize("epsilon_micro", [10_000, 100_000, 1_000_000, 8_000_000, 100_000_000])
@pytest.mark.parametrize("delta", ["1e-5", "1e-9"])
def test_there_and_back(epsilon_micro: int, delta: str) -> None:
    rho = rho_of(epsilon_micro, Decimal(delta))
    assert delta_of(rho, Decimal(epsilon_micro) / 1_000_000) <= Decimal(delta)
    assert epsilon_micro - 1 <= epsilon_of(rho, Decimal(delta)) <= epsilon_micro
    assert delta_of(rho * Decimal("1.001"), Decimal(epsilon_micro) / 1_000_000) > Decimal(delta)


def test_more_rho_is_more_epsilon_and_none_is_none() -> None:
    spent = [epsilon_of(Decimal(n) / 1000, Decimal("1e-6")) for n in range(0, 40, 5)]
    assert spent[0] == 0
    assert spent == sorted(set(spent))
    assert delta_of(Decimal(0), Decimal(1)) == 0


@pytest.mark.parametrize(("epsilon_micro", "delta"), [(0, "1e-6"), (1, "0"), (1, "1")])
def test_no_privacy_is_refused(epsilon_micro: int, delta: str) -> None:
    with pytest.raises(InputInvalid):
        rho_of(epsilon_micro, Decimal(delta))


def _sum_pmf(sigma: int, contributors: int) -> np.ndarray:
    values = np.arange(-20 * sigma, 20 * sigma + 1, dtype=float)
    one = np.exp(-(values**2) / (2.0 * sigma**2))
    one /= one.sum()
    total = one
    for _ in range(contributors - 1):
        total = np.convolve(total, one)
    return total


@pytest.mark.parametrize("sigma", [1, 2, 3])
@pytest.mark.parametrize("contributors", [2, 3, 5])
@pytest.mark.parametrize("distance", [1, 2])
def test_the_bound_on_a_sum_holds_where_it_can_be_computed(
    sigma: int, contributors: int, distance: int
) -> None:
    """Rényi divergences between a sum of discrete Gaussians and its shift, computed in full."""
    p = _sum_pmf(sigma, contributors)
    middle, reach = len(p) // 2, int(6 * sigma * math.sqrt(contributors))
    left = p[middle - reach : middle + reach + 1]
    right = p[middle - reach - distance : middle + reach + 1 - distance]
    rho = float(rho_of_sum(distance**2, sigma, contributors, 1))
    for order in (1.5, 2.0, 8.0):
        divergence = math.log(float((left**order * right ** (1 - order)).sum())) / (order - 1)
        assert divergence <= order * rho * (1 + 1e-9) + 1e-9


def test_the_gap_of_a_sum_is_negligible_from_eight_on() -> None:
    assert sum_gap(8, 1000, 1 << 24) < Decimal("1e-260")
    assert sum_gap(1, 1, 10) == 0


def test_noise_is_rounded_up() -> None:
    for sharers in (1, 2, 7):
        sigma = sigma_for(Decimal("0.01"), 1024**2, sharers)
        assert rho_of_sum(1024**2, sigma, sharers, 1 << 24) <= Decimal("0.01")
        assert rho_of_sum(1024**2, sigma - 2, sharers, 1 << 24) > Decimal("0.01")


# ------------------------------------------------------------------------------------ the plan


def made(**changes: float) -> Plan:
    asked: dict[str, float] = {
        "epsilon_micro": 1_000_000,
        "delta": 1e-6,
        "rounds": 10,
        "sharers": 2,
        "max_rows": 32_768,
        "value_bits": 32,
    }
    return plan(**{**asked, **changes})  # type: ignore[arg-type]


EPSILONS, SHARERS, ROUNDS = (100_000, 1_000_000, 8_000_000), (1, 2, 5), (1, 10, 100)
# Each pair of values is in a case that is always run; all cases take long.
RUNS = [
    pytest.param(
        epsilon, sharers, rounds, marks=() if (one + other + third) % 3 == 0 else pytest.mark.soak
    )
    for one, epsilon in enumerate(EPSILONS)
    for other, sharers in enumerate(SHARERS)
    for third, rounds in enumerate(ROUNDS)
]


@pytest.mark.parametrize(("epsilon_micro", "sharers", "rounds"), RUNS)
def test_all_sums_of_a_run_together_are_within_epsilon(
    epsilon_micro: int, sharers: int, rounds: int
) -> None:
    """Each sum's rho from its own integers, added up by who is in it, back to epsilon."""
    run = made(epsilon_micro=epsilon_micro, sharers=sharers, rounds=rounds, value_bits=36)
    rho = {
        purpose: rho_of_sum(r.sensitivity_squared, r.sigma, sharers, 1 << 24)
        for purpose, r in run.releases.items()
    }
    assert all(rho[purpose] <= r.rho for purpose, r in run.releases.items())
    training = rho["moments"] + rounds * rho["train"]
    for whole in (training, rho["evaluate"]):
        assert 0.99 * epsilon_micro < epsilon_of(whole, run.delta) <= epsilon_micro
    assert run.spent_micro(rounds, judged=True) == epsilon_micro
    spent = [run.spent_micro(n, judged=False) for n in sorted({0, 1, rounds // 2, rounds})]
    assert spent == sorted(set(spent))


def test_more_contributors_than_needed_only_add_noise() -> None:
    run = made(sharers=2)
    release = run.releases["train"]
    costs = [
        rho_of_sum(release.sensitivity_squared, release.sigma, n, 1 << 24) for n in (2, 3, 4, 9)
    ]
    assert costs == sorted(costs, reverse=True)


def test_slots_have_room_for_data_and_tail() -> None:
    for bits in range(28, 41):
        run = made(value_bits=bits)
        for release in run.releases.values():
            assert release.bound == 32_768 * release.unit
            assert release.bound + TAIL * release.sigma < 1 << (bits - 1)


def test_noise_that_does_not_fit_is_refused_with_the_bits_that_would_do() -> None:
    with pytest.raises(InputInvalid, match="it takes 27 bits a value"):
        made(value_bits=20)
    assert made(value_bits=27).releases["train"].unit >= 1024
    with pytest.raises(InputInvalid):
        made(value_bits=26)


def test_every_party_computes_the_same_noise_whatever_its_arithmetic() -> None:
    """Fixed values: a layout that differs by a digit is another layout."""
    rho_of.cache_clear()
    with localcontext(Context(prec=3)):
        run = made()
    assert run == made()
    assert {p: (r.unit, r.weight, r.sigma) for p, r in run.releases.items()} == {
        "moments": (32768, 8192, 342_217),
        "train": (32768, 8192, 360_728),
        "evaluate": (32768, 0, 104_988),
    }


def test_shares_too_small_for_their_unit_are_refused() -> None:
    """A thousand sharers of little noise: their sum would not be close to a discrete Gaussian."""
    asked = {"epsilon_micro": 100_000_000, "rounds": 1, "sharers": 999}
    with pytest.raises(InputInvalid, match="it takes 28 bits"):
        made(**asked, value_bits=27)
    assert min(r.sigma for r in made(**asked, value_bits=32).releases.values()) >= 8
