"""The one door to randomness: the operating system's generator, through ``secrets``.

Keys, nonces, masks and samples that protect somebody come from here and from nowhere else
(import-linter holds that). Generators for training are in ``federated/seeds.py``.
"""

from __future__ import annotations

import secrets


def token(n: int) -> bytes:
    """Return ``n`` random bytes."""
    return secrets.token_bytes(n)


def below(n: int) -> int:
    """Return a uniform integer in [0, n)."""
    return secrets.randbelow(n)


def bits(n: int) -> int:
    """Return a uniform integer in [0, 2**n)."""
    return secrets.randbits(n)
