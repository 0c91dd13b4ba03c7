"""What may be spent: caps of policy and grant, and the refusal where too little is left.

A grant is signed with an epsilon. Under a policy of mode ``dp`` it holds: the rho that queries of
a grant spend together never goes beyond the grant's epsilon at the policy's delta, even if the
policy's own cap is higher.
"""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING

from fusion.crypto.concentrated import MICRO, epsilon_of, rho_of
from fusion.errors import QueryRefused
from fusion.stores.rho import Rho
from sandbox.refusals import RULES

if TYPE_CHECKING:
    from sandbox.policy import Budget


def delta_of(budget: Budget) -> Decimal:
    """Return the delta at which rho is told as epsilon."""
    return Decimal(10) ** -budget.delta_exponent


def cap_of(budget: Budget, epsilon_micro: int | None) -> Rho:
    """Return the most that may be spent in all.

    Args:
        budget: Of the policy.
        epsilon_micro: Of the grant, in millionths; None is nothing.
    """
    agreed = int(rho_of(epsilon_micro, delta_of(budget)) * MICRO) if epsilon_micro else 0
    return Rho(grant=min(budget.grant_rho_micro, agreed), dataset=budget.dataset_rho_micro)


@lru_cache(maxsize=256)
def epsilon_micro(rho_micro: int, delta: Decimal) -> int:
    """Return the epsilon that an amount of rho is at a delta, in millionths, rounded up."""
    return epsilon_of(Decimal(rho_micro) / MICRO, delta)


def beyond(asked: int, left: Rho) -> QueryRefused:
    """Return the refusal of a query that asks for more than is left; decided from charges alone."""
    message = (
        f"{RULES['Q-23'][0]} {asked} millionths of rho are asked for; the grant has {left.grant} "
        f"left, the dataset {left.dataset}."
    )
    hint = (
        f"Ask with --rho-micro {left.least}, for a noisier answer."
        if left.least
        else "Nothing is left; more is for the owner to allow: in the policy, or in another grant."
    )
    return QueryRefused(message, hint=hint, code="Q-23")
