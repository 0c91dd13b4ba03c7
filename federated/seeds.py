"""Training randomness: splits, initial weights, batches. Repeatable, and of no use for privacy.

The one place that makes numpy generators. What privacy rests on comes from ``fusion.crypto.rng``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from numpy.random import PCG64, Generator

from fusion.crypto.hashing import digest

if TYPE_CHECKING:
    from numpy.random import Generator as NumpyGenerator


def generator(*words: str | int) -> NumpyGenerator:
    """Return the generator that these words name; the same words, the same numbers, everywhere."""
    parts = (f"{type(word).__name__}:{word}".encode() for word in words)
    return Generator(PCG64(int.from_bytes(digest("banyan/seed/v1", *parts), "big")))
