"""Cell-key noise: a whole number that depends on the entities behind a value and on a secret.

The same set gets the same noise however a question is phrased, so that asking again does not
average it out (Fraser & Wooton 2005; Thompson, Broadfoot & Elazar 2013). The set's key comes from
keyed hashes of its entities; what noise it gets is read from HMAC-SHA-256 under the node's secret.
This is no differential privacy: who can choose many overlapping sets learns more with each.
"""

from __future__ import annotations

import hashlib
import hmac
from bisect import bisect_right
from functools import cache
from math import exp
from typing import Final

SECRET_BYTES: Final = 32
_ONE: Final = 2**64


def salt_of(secret: bytes, policy_digest: str) -> str:
    """Return what keys the hashes of entities in an engine's SQL: derived, so not the secret."""
    return hmac.new(secret, b"entities " + policy_digest.encode(), hashlib.sha256).hexdigest()[:32]


def noise(secret: bytes, family: str, key: int, sd_milli: int) -> int:
    """Return the noise of a value, in units of its rounding or largest contribution.

    Args:
        secret: Of the node.
        family: What is measured: values of different columns over one set get different noise.
        key: Of the set of entities.
        sd_milli: Standard deviation in thousandths.
    """
    if sd_milli == 0:
        return 0
    name = f"noise {family} {key % _ONE}".encode()
    drawn = int.from_bytes(hmac.new(secret, name, hashlib.sha256).digest()[:8], "big")
    bounds = _table(sd_milli)
    return bisect_right(bounds, drawn) - len(bounds) // 2


@cache
def _table(sd_milli: int) -> list[int]:
    """Return where a uniform 64-bit number passes from one value of the noise to the next.

    The values are those of a normal distribution on whole numbers, cut off at four deviations.
    """
    sd = sd_milli / 1000
    reach = max(1, round(4 * sd))
    weights = [exp(-0.5 * (value / sd) ** 2) for value in range(-reach, reach + 1)]
    total, passed, bounds = sum(weights), 0.0, []
    for weight in weights[:-1]:
        passed += weight
        bounds.append(min(_ONE - 1, round(passed / total * _ONE)))
    return bounds
