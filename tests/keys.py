"""A dealt key for tests: 2048 bits, 3 of 4 holders, made once a test session."""

from __future__ import annotations

from dataclasses import dataclass

from fusion.crypto.paillier.primes import safe_prime
from fusion.crypto.paillier.threshold import ThresholdKey, deal


@dataclass(frozen=True, slots=True)
class Dealt:
    """What the dealer knows during a ceremony."""

    key: ThresholdKey
    shares: tuple[int, ...]
    primes: tuple[int, int]


def deal_for_tests() -> Dealt:
    """Deal a real key with real safe primes."""
    p, q = safe_prime(1024), safe_prime(1024)
    key, shares = deal(p, q, threshold=3, holders=4)
    return Dealt(key, tuple(shares), (p, q))
