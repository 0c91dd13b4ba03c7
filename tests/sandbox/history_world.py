"""A guarded ledger in memory over simulated people, and an analyst who asks for any sets."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Final

import numpy as np

from sandbox.history.decide import Rules, decide
from sandbox.history.predicates import Attribute, Condition, Definitions
from sandbox.history.request import Request, Scope, Status
from sandbox.history.state import State
from sandbox.history.thresholds import Draws, Policy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from sandbox.history.request import Decision

    Mask = NDArray[np.bool_]

SECRET: Final = bytes(range(32))
SCOPE: Final = Scope("o", "d", "g", "f", "2026-Q4")
NOISE: Final = 24.0
"""Normal noise of sd 2 and rounding to 5: variance 2.47 squared, over that of a fair bit, 1/4."""

UNLIMITED: Final = 10**6
LABELS: Final = Definitions([Attribute("label", 0, 2**40)])
"""Every set is one of its own by definition: nothing is proved equal."""


def codes_of(sets: Sequence[Mask]) -> NDArray[np.int32]:
    """Return the table whose cells are these disjoint sets."""
    codes = np.full(len(sets[0]), -1, dtype=np.int32)
    for cell, members in enumerate(sets):
        assert not (codes[members] >= 0).any()
        codes[members] = cell
    return codes


def sticky(values: NDArray[np.int64], sets: Sequence[Mask], seed: int) -> list[float]:
    """Return sums with noise that depends on the set alone, rounded to 5."""
    keys = np.random.default_rng(seed + 99).integers(0, 2**62, len(values))
    out = []
    for members in sets:
        name = int(np.bitwise_xor.reduce(keys[members], initial=0))
        noise = np.random.default_rng(name).normal(0, 2)
        out.append(5.0 * round((float(values[members].sum()) + noise) / 5))
    return out


class World:
    """People with one secret bit each, behind a guard."""

    def __init__(
        self,
        bits: NDArray[np.int64],
        noise: float,
        *,
        seed: int = 0,
        policy: Policy | None = None,
        guarded: bool = True,
    ) -> None:
        self.bits, self.noise, self.seed, self.guarded = bits, noise, seed, guarded
        self.state = State(len(bits))
        policy = policy or Policy(refusals=UNLIMITED)
        secret = seed.to_bytes(32, "big")
        self.rules = Rules(policy, Draws(secret, "s", len(bits)), LABELS)
        self.values: dict[str, float] = {}
        self.refused = self.asked = self.served = 0
        self._labels = count(1)

    def ask(self, *sets: Mask, group: str = "g") -> list[float | None]:
        """Return what is released of one table; a merged cell is no answer here."""
        true = [float(self.bits[members].sum()) for members in sets]
        if self.noise:
            true = sticky(self.bits, sets, self.seed)
        if not self.guarded:
            return [
                value if mask.sum() >= 10 else None for value, mask in zip(true, sets, strict=True)
            ]
        predicates = tuple(
            ((Condition("label", low=label, high=label),),)
            for _, label in zip(sets, self._labels, strict=False)
        )
        scope = Scope("o", "d", group, "f", "2026-Q4")
        request = Request(
            scope, "2026-11", "m", predicates, codes_of(sets), self.noise, merge=False
        )
        decision, addition = decide(self.state, request, self.rules, self.refused)
        self.asked += 1
        self.refused += decision.charged
        if addition is not None:
            self.state.absorb(f"Q-{self.asked}", "m", addition)
        return self._told(decision, true)

    def _told(self, decision: Decision, true: Sequence[float]) -> list[float | None]:
        told: list[float | None] = []
        for outcome, value in zip(decision.outcomes, true, strict=True):
            if outcome.status is Status.SERVED:
                self.served += 1
                self.values[outcome.source] = value
            # A snapped value is an earlier one: the analyst knows it, and is told that it is.
            snapped = outcome.status is Status.SNAPPED
            told.append(None if snapped else self.values.get(outcome.source))
        return told
