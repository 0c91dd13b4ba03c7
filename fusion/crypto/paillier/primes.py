"""Safe primes: p with (p - 1) / 2 prime as well, of an exact length.

Threshold decryption needs them (Shoup, EUROCRYPT 2000, section 2). No library on the list offers
them with an exact length, so this sieves a window of candidates q = 5 (mod 6) for both q and
2q + 1 at once and tests the survivors. Candidates after a random start are taken in order, the
way OpenSSL does it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

import gmpy2
import numpy as np
from gmpy2 import mpz

from fusion.crypto import rng

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

_SIEVE_BOUND: Final = 1 << 21
_WINDOW: Final = 1 << 18
_ROUNDS: Final = 40
_STEP: Final = 6


@lru_cache(maxsize=1)
def _sieving_primes() -> NDArray[np.int64]:
    """Primes from 5 up to the bound (2 and 3 are handled by the step)."""
    flags = np.ones(_SIEVE_BOUND, dtype=bool)
    flags[:2] = False
    for candidate in range(2, int(_SIEVE_BOUND**0.5) + 1):
        if flags[candidate]:
            flags[candidate * candidate :: candidate] = False
    primes = np.flatnonzero(flags).astype(np.int64)
    return primes[primes > 3]


def _survivors(start: int) -> NDArray[np.int64]:
    """Indices i for which neither q = start + 6i nor 2q + 1 has a small factor."""
    primes = _sieving_primes()
    big = mpz(start)
    residues = np.fromiter((int(big % int(r)) for r in primes), dtype=np.int64, count=len(primes))
    inverse = np.fromiter(
        (pow(_STEP, -1, int(r)) for r in primes), dtype=np.int64, count=len(primes)
    )
    first_q = (-residues * inverse) % primes
    first_p = (((primes - 1) // 2 - residues) * inverse) % primes
    alive = np.ones(_WINDOW, dtype=bool)
    for r, i, j in zip(primes.tolist(), first_q.tolist(), first_p.tolist(), strict=True):
        alive[i::r] = False
        alive[j::r] = False
    return np.flatnonzero(alive)


def safe_prime(bits: int, *, on_window: Callable[[], None] | None = None) -> int:
    """Return a safe prime of exactly ``bits`` bits whose two highest bits are set.

    Args:
        bits: Length of the prime; two of them make a modulus of exactly ``2 * bits`` bits.
        on_window: Called before each window of candidates, for a progress display.
    """
    while True:
        if on_window is not None:
            on_window()
        # q has bits - 1 bits; its two highest are set, so that p's are, whatever is added below.
        start = rng.bits(bits - 1) | (0b11 << (bits - 3))
        start += (5 - start) % _STEP
        for index in _survivors(start):
            q = mpz(start + _STEP * int(index))
            p = 2 * q + 1
            if q.bit_length() != bits - 1:
                break
            if not (gmpy2.is_strong_prp(q, 2) and gmpy2.is_strong_prp(p, 2)):
                continue
            if gmpy2.is_prime(q, _ROUNDS) and gmpy2.is_prime(p, _ROUNDS):
                return int(p)
