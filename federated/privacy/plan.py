"""From a study's epsilon to the noise of each of its sums. Pure, and the same at every party.

What is protected is a row: with any one row added to, or taken from, any one organisation's table,
everything that leaves the parties in a run is (epsilon, delta)-indistinguishable. A row either
trains or judges, by a rule that looks at that row alone, so the two kinds of sums share nothing:

=========== ======================== =============================================
sum         rows in it               its part of rho, the whole of which is epsilon
=========== ======================== =============================================
moments     training                 1/10, once
train       training                 9/10, in equal parts over the rounds
evaluate    hold-out                 all of it, once
=========== ======================== =============================================

Every contributor's noise is N_Z(0, sigma²), so chosen that ``sharers`` of them have enough
together: the quorum less the contributors that the study lets collude. A sum of more contributors
has more noise, never less. Claim: ``docs/claims/private-training.md``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Final, Literal

from federated.privacy.accounting import epsilon_of, exactly, rho_of, rho_of_sum, sigma_for
from fusion.crypto.gaussian import MAX_SIGMA
from fusion.errors import InputInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping

Purpose = Literal["moments", "train", "evaluate"]

UNITS: Final = tuple(1 << bits for bits in range(16, 9, -1))
"""What a row's clip may measure in units of the fixed point: from 65,536 down to 1,024."""
COUNT_SHARE: Final = 4
"""A row's count weighs a quarter of its clip: it costs a sixteenth more of rho."""
MIN_SIGMA: Final = 8
"""From here on a sum of discrete Gaussians is one, but for a share of 10^-260."""
TAIL: Final = 12
"""Noise beyond 12 sigma is cut: its probability is below 2^-102 a coordinate."""
MAX_SIZE: Final = 1 << 24
"""Most coordinates of a sum (a model has at most 16,000,000 parameters)."""
_MOMENTS: Final = Decimal("0.1")
_KEPT: Final = Decimal("0.999")
"""What the mechanisms use of delta; the rest is for the cut tails of all noise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """The noise of one kind of sum; all numbers but rho in units of the fixed point.

    Attributes:
        unit: A row's clip: the L2 norm of its part of the sum is at most this.
        weight: What a row adds to the count of rows; 0 in a sum that counts none.
        bound: No coordinate of a party's sum is beyond, before noise.
        sigma: Of each party's noise on each coordinate.
        rho: What one such sum costs at most.
    """

    unit: int
    weight: int
    bound: int
    sigma: int
    rho: Decimal

    @property
    def sensitivity_squared(self) -> int:
        """Square of the L2 distance that one row makes in the sum."""
        return self.unit**2 + self.weight**2


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The noise of a run.

    Attributes:
        epsilon_micro: Of the whole run, in millionths.
        delta: Of the whole run.
        rounds: Of training.
        sharers: Contributors whose noise suffices.
        releases: The noise of each purpose.
    """

    epsilon_micro: int
    delta: Decimal
    rounds: int
    sharers: int
    releases: Mapping[str, Release]

    @property
    def noise_multiplier(self) -> float:
        """Standard deviation of a training sum's noise, as a multiple of a row's clip."""
        release = self.releases["train"]
        return release.sigma * math.sqrt(self.sharers) / release.unit

    def spent_micro(self, rounds: int, *, judged: bool) -> int:
        """Return the epsilon that a row has lost, in millionths; never more than the run's.

        Args:
            rounds: Rounds of training that were opened, after the moments.
            judged: Whether the last model was judged.
        """
        with exactly():
            training = self.releases["moments"].rho + rounds * self.releases["train"].rho
            rho = max(training, self.releases["evaluate"].rho if judged else Decimal(0))
            return min(self.epsilon_micro, epsilon_of(rho, self.delta * _KEPT))


def plan(
    *,
    epsilon_micro: int,
    delta: float,
    rounds: int,
    sharers: int,
    max_rows: int,
    value_bits: int,
) -> Plan:
    """Return the noise of a run.

    Args:
        epsilon_micro: Of the whole run, in millionths.
        delta: Of the whole run.
        rounds: Of training.
        sharers: Contributors whose noise has to suffice.
        max_rows: Public bound on a party's rows.
        value_bits: Bits of a slot, before guard bits.

    Raises:
        InputInvalid: The noise does not fit beside the data; says how many bits would do.
    """
    exact = Decimal(repr(delta))
    with exactly():
        whole = rho_of(epsilon_micro, exact * _KEPT)
        parts: dict[Purpose, Decimal] = {
            "moments": whole * _MOMENTS,
            "train": whole * (1 - _MOMENTS) / rounds,
            "evaluate": whole,
        }
    releases: dict[str, Release] = {
        purpose: _release(purpose, rho, sharers, max_rows, value_bits)
        for purpose, rho in parts.items()
    }
    return Plan(
        epsilon_micro=epsilon_micro,
        delta=exact,
        rounds=rounds,
        sharers=sharers,
        releases=releases,
    )


def _release(
    purpose: Purpose, rho: Decimal, sharers: int, max_rows: int, value_bits: int
) -> Release:
    """Return the finest fixed point in which a party's sum and its noise have room."""
    room = (1 << (value_bits - 1)) - 1
    needed = 0
    for unit in UNITS:
        weight = 0 if purpose == "evaluate" else unit // COUNT_SHARE
        sigma = sigma_for(rho, unit**2 + weight**2, sharers)
        needed = max_rows * unit + TAIL * sigma
        if MIN_SIGMA <= sigma <= MAX_SIGMA and needed <= room:
            # Never cheaper than planned: what a round costs is told from this.
            cost = max(rho, rho_of_sum(unit**2 + weight**2, sigma, sharers, MAX_SIZE))
            return Release(unit=unit, weight=weight, bound=max_rows * unit, sigma=sigma, rho=cost)
    # With very many sharers and a large epsilon it is the noise that is too small for its unit.
    bits = max(needed.bit_length() + 1, value_bits + 1)
    msg = f"the noise for this epsilon does not fit: it takes {bits} bits a value"
    raise InputInvalid(msg)
