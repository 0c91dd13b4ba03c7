"""Runs an attack over many targets, and says whether its success is what the claims bound it to."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, lgamma, log
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from tests.attacks import attacks as a
from tests.attacks import walking
from tests.attacks.people import make

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.attacks.attacks import Attack, Estimates
    from tests.attacks.people import People
    from tests.attacks.pipeline import Attacker, Owner

GUESS: Final = 0.5
BOUND: Final = 0.631
"""Best guess of a fair bit at leverage 0.1: Phi(sqrt(h / (1 - h)))."""

LUCK: Final = 1e-6
"""A bound is broken if so many hits are less likely than this where it holds."""

CROWD, PART, GROUP = 1200, 120, 128
"""People of a dataset, targets of one attacker; people of a dataset all of whom are targets."""


@dataclass(frozen=True)
class Case:
    """An attack, by which rules answers are released, and what is claimed of its success.

    Attributes:
        name: Of the attack.
        attack: It.
        release: One of :data:`tests.attacks.people.RELEASES`.
        bound: Of the success; None where nothing is claimed.
        whole: Whether everybody of a small dataset is a target at once.
        colleague: Who the second analyst is.
        part: Targets of one attacker.
        most: Targets, where nothing is claimed.
        made: Makes the people up.
    """

    name: str
    attack: Attack
    release: str
    bound: float | None = GUESS
    whole: bool = False
    colleague: Literal["same", "other"] = "same"
    part: int = PART
    most: int = 10**9
    made: Callable[[Owner, int, str, int], People] = make

    @property
    def title(self) -> str:
        """Name and release."""
        return f"{self.name} ({self.release})"


CASES: Final = (
    Case("differencing", a.differencing, "exact"),
    Case("differencing, in other words", a.other_words, "exact"),
    Case("tracker", a.tracker, "exact", part=6),
    Case("k-wise", a.k_wise, "exact", part=6),
    Case("totals minus cells", a.total_minus_cells, "exact", part=24),
    Case("mask vector", a.mask_vector, "exact"),
    Case("covariance reconstruction", a.covariances, "exact", whole=True),
    Case("rows added up", a.rows_added_up, "exact", part=6),
    Case("two analysts of an organisation", a.two_analysts, "exact"),
    Case("organisations of one pool", a.two_analysts, "pooled", colleague="other"),
    Case("averaging", a.averaging, "exact", BOUND),
    Case("averaging", a.averaging, "noise", BOUND),
    Case("noise exploitation", a.noise_exploitation, "noise", BOUND),
    Case("random subset sums", a.subset_sums, "exact", BOUND, whole=True),
    Case("random subset sums", a.subset_sums, "noise", BOUND, whole=True),
    Case("error bits", a.error_bits, "rules"),
    Case("count in a sum", a.count_in_sum, "rules"),
    Case(
        "analysts of two organisations",
        a.two_analysts,
        "exact",
        None,
        colleague="other",
        part=1,
        most=200,
    ),
    Case(
        "analysts of two organisations",
        a.two_analysts,
        "rules",
        None,
        colleague="other",
        part=1,
        most=200,
    ),
    Case(
        "analysts of two organisations",
        a.two_analysts,
        "noise",
        None,
        colleague="other",
        part=1,
        most=200,
    ),
    Case("a rare value", a.rare_value, "rules", None, most=200),
    Case("a rare value", a.rare_value, "noise", None, most=200),
    Case("threshold walk", walking.plainly, "rules", part=20, made=walking.make),
    Case("threshold walk, in other words", walking.in_other_words, "rules", part=30,
         made=walking.make),
    Case("threshold walk", walking.plainly, "sharp", None, part=30, most=200, made=walking.make),
    Case("threshold walk, in other words", walking.in_other_words, "sharp", None, part=30,
         most=200, made=walking.make),
    Case("factor walk", walking.by_a_factor, "rules", part=5, most=200, made=walking.make_thirds),
    Case("count walk", walking.by_a_count, "rules", part=5, most=200, made=walking.make_alone),
    Case("factor walk", walking.by_a_factor, "sharp", None, part=5, most=200,
         made=walking.make_thirds),
)  # fmt: skip


@dataclass(frozen=True)
class Found:
    """How an attack went.

    Attributes:
        case: The attack.
        targets: How many people.
        queries: Questions that were asked; several can be one statement.
        done: Share of targets about whom an estimate was to be had.
        success: Share of bits that were guessed right; a coin decides where there is no estimate.
        chance: Of so many hits if the bound is true; 1 where nothing is claimed.
    """

    case: Case
    targets: int
    queries: int
    done: float
    success: float
    chance: float

    @property
    def holds(self) -> bool:
        """Whether the claim is consistent with this."""
        return self.chance >= LUCK

    def document(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {
            "attack": self.case.name,
            "release": self.case.release,
            "targets": self.targets,
            "queries": self.queries,
            "done": round(self.done, 4),
            "success": round(self.success, 4),
            "bound": self.case.bound,
            "verdict": "not claimed" if self.case.bound is None else _VERDICTS[self.holds],
        }


_VERDICTS: Final = {True: "holds", False: "BROKEN"}


class Arena:
    """An owner's node with datasets to attack; each is made once."""

    def __init__(self, owner: Owner) -> None:
        """Take the node."""
        self._owner = owner
        self._people: dict[tuple[object, ...], People] = {}

    def _of(self, case: Case, count: int, seed: int) -> People:
        own = (case.made, case.release, count, seed)
        if own not in self._people:
            self._people[own] = case.made(self._owner, count, case.release, seed)
        return self._people[own]

    def run(self, case: Case, targets: int, *, guarded: bool = True) -> Found:
        """Attack so many people, or a few more where a dataset is a target as a whole."""
        draw = np.random.default_rng([23, len(case.title)])
        targets = min(targets, case.most)
        right = done = asked = attacked = seed = 0
        while attacked < targets:
            people = self._of(case, GROUP if case.whole else CROWD, seed)
            own = people.persons if case.whole else people.persons[: targets - attacked]
            size = len(own) if case.whole else case.part
            for first in range(0, len(own), size):
                some = own[first : first + size]
                who = _attacker(people, case, guarded=guarded)
                estimates: Estimates = case.attack(who, people, some, draw)
                for each, estimate in zip(some, estimates, strict=True):
                    guess = int(draw.integers(2)) if estimate is None else int(estimate > 0.5)
                    right += guess == each.bit
                    done += estimate is not None
                asked += who.asked + (who.colleague.asked if who.colleague else 0)
                attacked += len(some)
                who.close()
            seed += 1
        chance = 1.0 if case.bound is None else tail(right, attacked, case.bound)
        return Found(case, attacked, asked, done / attacked, right / attacked, chance)


def _attacker(people: People, case: Case, *, guarded: bool) -> Attacker:
    if case.colleague == "other":
        return people.dataset.two_organisations()
    return people.dataset.attacker(guarded=guarded)


def tail(right: int, of: int, share: float) -> float:
    """Return how likely at least so many hits are where each has this chance (binomial)."""
    if right <= 0:
        return 1.0
    logs = [
        lgamma(of + 1) - lgamma(n + 1) - lgamma(of - n + 1) + n * log(share)
        + (of - n) * log(1 - share)
        for n in range(right, of + 1)
    ]  # fmt: skip
    return min(1.0, sum(exp(each) for each in logs))
