"""How full a ledger is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sandbox.history.leverage import Leverage
    from sandbox.history.thresholds import Policy


@dataclass(frozen=True, slots=True)
class Meter:
    """How full a ledger is.

    Attributes:
        cells: Released, with a row in the factor.
        largest: Leverage of anybody.
        used: Sum of all leverages, as a share of its bound.
        appearances: Released cells that a person is in: median, 99th percentile, most. An insider
            who knows everybody else learns with each of them (``docs/claims/history.md``).
    """

    cells: int
    largest: float
    used: float
    appearances: tuple[int, int, int]


def meter_of(leverage: Leverage, policy: Policy) -> Meter:
    """Return how full a ledger with this leverage is."""
    bound = policy.capacity * policy.h_max * leverage.entities
    counts = leverage.appearances
    at = np.percentile(counts, [50, 99, 100], method="higher") if len(counts) else np.zeros(3)
    return Meter(
        cells=leverage.rows,
        largest=float(leverage.h.max(initial=0)),
        used=float(leverage.h.sum() / bound) if bound else 0.0,
        appearances=(int(at[0]), int(at[1]), int(at[2])),
    )
