"""Attacks through the guard alone: no better than a guess, or no better than the leverage allows.

Each guess is about a fair bit. Unguarded, the same attacks succeed: they are real.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, Final

import numpy as np
import pytest

from sandbox.history.request import noise_units
from tests.sandbox.history_attacks import ATTACKS, run, subsets
from tests.sandbox.history_people import Desk, People, by
from tests.sandbox.history_world import NOISE, World, sticky

if TYPE_CHECKING:
    from numpy.typing import NDArray

TARGETED: Final = [
    "differencing",
    "tracker",
    "k-wise",
    "total minus cells",
    "isolate 2 to 9",
    "telescoping",
]
BOUND: Final = 0.631
"""Best guess of a fair bit at leverage 0.1: Phi(sqrt(h / (1 - h)))."""

FEW: Final = 80
MANY: Final = 2000


def _at_most(success: float, bound: float, targets: int) -> None:
    """Three standard deviations of a share above the bound are luck."""
    assert success <= bound + 3 * sqrt(0.25 / targets)


def _exact(name: str, targets: int, *, shared: bool = False) -> None:
    success, done = run(ATTACKS[name], targets, 0.0, shared=shared)
    assert done == 0
    _at_most(success, 0.5, targets)


def _bounded(name: str, targets: int, noise: float) -> None:
    _at_most(run(ATTACKS[name], targets, noise)[0], BOUND, targets)


@pytest.mark.parametrize("name", TARGETED)
def test_exact_answers_tell_no_more_than_a_guess(name: str) -> None:
    _exact(name, FEW)


@pytest.mark.parametrize("name", TARGETED)
def test_without_the_guard_exact_answers_tell_everything(name: str) -> None:
    assert run(ATTACKS[name], 20, 0.0, guarded=False) == (1, 1)


@pytest.mark.parametrize("name", ["differencing", "k-wise", "telescoping"])
def test_two_analysts_of_a_group_learn_no_more_than_one(name: str) -> None:
    _exact(name, FEW // 2, shared=True)


@pytest.mark.parametrize("noise", [0.0, NOISE])
@pytest.mark.parametrize("name", ["averaging", "averaging apart"])
def test_averaging_is_bounded(name: str, noise: float) -> None:
    _bounded(name, FEW // 2, noise)


@pytest.mark.parametrize("name", TARGETED)
def test_noisy_answers_tell_no_more_than_the_bound(name: str) -> None:
    _bounded(name, FEW, NOISE)


@pytest.mark.parametrize("noise", [0.0, NOISE])
def test_random_subset_sums_are_bounded(noise: float) -> None:
    success, _ = subsets(256, 2, noise)
    _at_most(success, BOUND, 2 * 128)


def test_without_the_guard_averaging_and_subset_sums_succeed_in_spite_of_noise() -> None:
    assert run(ATTACKS["averaging apart"], 30, NOISE, guarded=False)[0] > 0.6
    assert subsets(256, 2, NOISE, guarded=False)[0] > 0.85


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", TARGETED)
def test_two_thousand_targets_exact(name: str) -> None:
    _exact(name, MANY)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("noise", [0.0, NOISE])
@pytest.mark.parametrize("name", ["averaging", "averaging apart"])
def test_two_thousand_targets_averaged(name: str, noise: float) -> None:
    _bounded(name, MANY, noise)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("queries", [256, 1024])
@pytest.mark.parametrize("noise", [0.0, NOISE])
def test_two_thousand_targets_of_subset_sums(queries: int, noise: float) -> None:
    success, _ = subsets(queries, 16, noise)
    _at_most(success, BOUND, 16 * 128)


# ---------------------------------------------------------------------- what a refusal tells


def test_decisions_are_the_same_bytes_for_any_values() -> None:
    """The values are not even an argument: bits are shuffled, everything else stays."""
    told = []
    for turn in range(2):
        draw = np.random.default_rng(4)
        bits = draw.integers(0, 2, 300)
        world = World(np.random.default_rng(turn).permutation(bits), 0.0)
        asked = [draw.random(300) < 0.5 for _ in range(40)]
        told.append([world.ask(members)[0] is None for members in asked])
    assert told[0] == told[1]
    assert 0 < sum(told[0]) < 40


def _padded(present: bool, padding: int, tries: int, seed: int) -> list[bool]:
    """Ask for a set, then without the target and its padding; tell which were refused.

    Padding is fresh for each try, so that each has a draw of its own.
    """
    draw = np.random.default_rng([5, seed])
    people = 400
    world = World(draw.integers(0, 2, people), NOISE, seed=seed)
    refused = []
    for _ in range(tries):
        members = draw.random(people) < 0.6
        others = draw.choice(np.arange(1, people), padding, replace=False)
        members[others], members[0] = True, present
        less = members.copy()
        less[others] = less[0] = False
        world.ask(members)
        refused.append(world.ask(less) == [None])
    return refused


def _presence(padding: int, tries: int, trials: int) -> float:
    """Return the best success at telling presence from how many of the tries were refused."""
    counts: NDArray[np.int64] = np.zeros((2, tries + 1), dtype=np.int64)
    for seed in range(trials):
        for present in (False, True):
            counts[int(present), sum(_padded(present, padding, tries, 2 * seed + present))] += 1
    return float(counts.max(axis=0).sum() / (2 * trials))


@pytest.mark.parametrize("padding", [0, 9])
def test_padding_up_to_k_does_not_tell_who_is_there(padding: int) -> None:
    trials = 100
    _at_most(_presence(padding, 1, trials), 0.6, 2 * trials)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("tries", [1, 5])
@pytest.mark.parametrize("padding", range(0, 30, 3))
def test_any_padding_tells_little_within_the_refusals_of_a_month(padding: int, tries: int) -> None:
    trials = 1000
    _at_most(_presence(padding, tries, trials), 0.6, 2 * trials)


def test_the_noise_that_is_counted_is_the_noise_that_is_added() -> None:
    draw = np.random.default_rng(13)
    bits = draw.integers(0, 2, 400)
    sets = [draw.random(400) < 0.5 for _ in range(3000)]
    errors = np.array(sticky(bits, sets, 1)) - [float(bits[members].sum()) for members in sets]
    assert noise_units(float(errors.var()), 0, 1) == pytest.approx(NOISE, rel=0.1)
    assert abs(errors.mean()) < 0.2


def test_a_refresh_with_one_joiner_or_leaver_is_the_same_sets() -> None:
    """The cohort is frozen: what changed in the data is not in the codes, and adds nothing."""
    people = People(5000)
    desk = Desk(people)
    cells = by("district", *(f"d{n:02}" for n in range(24)))
    desk.ask(*cells)
    rows = desk.state.leverage.rows
    december = desk.ask(*cells, month="2026-12")
    assert {outcome.status for outcome in december} <= {"cached", "merged", "withheld"}
    assert desk.state.leverage.rows == rows
