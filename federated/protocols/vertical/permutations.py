"""Uniform permutations and words, from the system's generator or from a seed that two share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR

from fusion.crypto import rng

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Ints = NDArray[np.int64]
    Words = NDArray[np.uint64]

SEED_BYTES: Final = 32


class Stream:
    """AES-256 in counter mode (NIST SP 800-38A) under a seed: words that look uniform.

    A seed serves one stream, so that the counter may begin at 0.
    """

    def __init__(self, seed: bytes) -> None:
        """Take 32 bytes."""
        self._encryptor = Cipher(AES256(seed), CTR(bytes(16))).encryptor()

    def words(self, *shape: int) -> Words:
        """Return the next words."""
        count = int(np.prod(shape, dtype=np.int64))
        data = self._encryptor.update(bytes(8 * count))
        return np.frombuffer(data, "<u8").astype(np.uint64, copy=False).reshape(shape)

    def permutation(self, count: int) -> Ints:
        """Return the next permutation."""
        return _by_keys(count, lambda: self.words(count))


def system_words(*shape: int) -> Words:
    """Return words from the system's generator."""
    count = int(np.prod(shape, dtype=np.int64))
    return np.frombuffer(rng.token(8 * count), np.uint64).reshape(shape)


def uniform_permutation(count: int) -> Ints:
    """Return a permutation from the system's generator."""
    return _by_keys(count, lambda: system_words(count))


def _by_keys(count: int, draw: Callable[[], Words]) -> Ints:
    """Sort by random keys; where two are equal draw all again, so that every order is as likely."""
    while True:
        keys = draw()
        order = np.argsort(keys)
        ascending = keys[order]
        if count < 2 or (ascending[1:] != ascending[:-1]).all():
            return order.astype(np.int64, copy=False)
