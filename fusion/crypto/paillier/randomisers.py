"""How a ciphertext is blinded; each way has a name, and the name travels in every header.

| name | for | distribution | rests on |
|---|---|---|---|
| ``exact`` | whoever holds the primes | uniform over all N-th residues | DCR alone |
| ``djn-half`` | everybody else; the default | h^rho, rho of half the key's length | DCR and DJN's |
| ``full`` | the reference | r^N, r uniform | DCR alone |
| ``tabled`` | whoever computes on others' | as ``full``, to 2^-64 | safe primes |
| ``short-exponent-B`` | nobody, unless asked for by name | h^rho, rho of B bits | a stronger one |

DCR: Paillier, EUROCRYPT 1999. ``djn-half``: Damgård, Jurik, Nielsen (Int. J. Inf. Secur. 9, 2010,
section 4.2), whose assumption is that h^rho with a half-size rho can't be told from a random power.
Claims: ``docs/claims/engines.md``.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Final, Protocol

import gmpy2
import numpy as np
from gmpy2 import mpz

from fusion.crypto import rng
from fusion.crypto.paillier.engines.selection import current
from fusion.crypto.paillier.residues import integers, not_below, rows_from, rows_of
from fusion.errors import InputInvalid, KeyRefused

if TYPE_CHECKING:
    from fusion.crypto.paillier.engines.engine import FixedBase
    from fusion.crypto.paillier.keys import PrivateKey, PublicKey
    from fusion.crypto.paillier.residues import Rows

IDS: Final = {"djn-half": 1, "exact": 2, "full": 3, "short-exponent": 4}
"""The byte that names a randomiser in a header; a short exponent's length stands behind it."""

EXPONENT_SLACK_BITS: Final = 128 + 128 + 24
"""Room in the table for the masking exponent of a proof (:mod:`.knowledge`)."""

_MIN_SHORT_BITS: Final = 256

_TABLED_SLACK_BITS: Final = 64
"""Bits by which an exponent is longer than N, so that its power is uniform to 2^-64."""


class Randomiser(Protocol):
    """Encrypts under one key.

    Attributes:
        name: As in the table above.
        degree: Of the ciphertexts (:mod:`~fusion.crypto.paillier.damgard_jurik`).
    """

    name: str
    degree: int

    def encrypt(self, plaintexts: Rows) -> Rows:
        """Return a fresh encryption of each plaintext, all below N to the degree."""
        ...


@lru_cache(maxsize=4)
def base_powers(key: PublicKey, engine: str) -> FixedBase:
    """Powers of h modulo N^2, shared by everything that needs them; one table an engine."""
    del engine  # part of the cache's key: another engine has another table
    bits = key.randomiser_bits + EXPONENT_SLACK_BITS
    return key.ring.fixed_base(int(key.randomiser_base), bits)


class Djn:
    """``(1 + mN) h^rho`` with rho of half the key's length."""

    name = "djn-half"
    degree = 1

    def __init__(self, key: PublicKey) -> None:
        """Take the key."""
        self._key = key
        self.exponent_bits = key.randomiser_bits

    def exponents(self, count: int) -> Rows:
        """Return ``count`` fresh exponents."""
        width = -(-self.exponent_bits // 8)
        rows = rows_from(rng.token(count * width), width).copy()
        rows[:, -1] &= 0xFF >> (-self.exponent_bits % 8)
        return rows

    def encrypt(self, plaintexts: Rows) -> Rows:
        """See :class:`Randomiser`."""
        return self.encrypt_with(plaintexts, self.exponents(len(plaintexts)))

    def encrypt_with(self, plaintexts: Rows, exponents: Rows) -> Rows:
        """Encrypt with exponents that the caller keeps, to prove knowledge of the plaintexts.

        Args:
            plaintexts: Below N.
            exponents: From :meth:`exponents`, each used once.
        """
        return base_powers(self._key, current().name).powers(exponents, plaintexts)


class ShortExponent(Djn):
    """A rho of a chosen, shorter length: faster, on an assumption that nobody has to make.

    Nothing in Banyan uses it; it is here for those who know that they want it.
    """

    def __init__(self, key: PublicKey, *, insecure_exponent_bits: int) -> None:
        """Take the key and the length.

        Raises:
            InputInvalid: Shorter than 256 bits, where exhaustive methods reach.
        """
        super().__init__(key)
        if not _MIN_SHORT_BITS <= insecure_exponent_bits <= key.randomiser_bits:
            msg = f"A short exponent has {_MIN_SHORT_BITS} to {key.randomiser_bits} bits."
            raise InputInvalid(msg)
        self.exponent_bits = insecure_exponent_bits
        self.name = f"short-exponent-{insecure_exponent_bits}"


class Full:
    """``(1 + mN) r^N`` with r uniform among the units: Paillier's own, and the slowest."""

    name = "full"
    degree = 1

    def __init__(self, key: PublicKey) -> None:
        """Take the key."""
        self._key = key

    def encrypt(self, plaintexts: Rows) -> Rows:
        """See :class:`Randomiser`."""
        key = self._key
        # A value below N that is no unit would be a factor of N: nobody meets one.
        bases = rows_of((rng.below(key.modulus - 1) + 1 for _ in plaintexts), key.residue_bytes)
        blinded = key.ring.power(bases, key.modulus)
        messages = rows_of((1 + m * key.n for m in integers(plaintexts)), key.ciphertext_bytes)
        return key.product_ring.product([blinded, messages])


class Tabled:
    """What ``full`` gives, to a statistical distance of 2^-64, for an N of two safe primes.

    The units modulo N are then four classes of squares, told apart by -1 and by any u of Jacobi
    symbol -1; and h, a hashed square, generates all N-th powers of squares (but for a chance of
    2^-1020). So h^rho with a rho 64 bits longer than N, times -1 or not, times u^N or not, is a
    uniform N-th residue. One table of powers does it: a sixth of the cost of ``full``.
    """

    name = "tabled"
    degree = 1

    def __init__(self, key: PublicKey) -> None:
        """Take the key, of which the maker says that its primes are safe."""
        self._key = key
        u = next(u for u in range(2, 10_000) if gmpy2.jacobi(u, key.n) == -1)
        other = gmpy2.powmod(u, key.n, key.n_squared)
        classes = (mpz(1), key.n_squared - 1, other, key.n_squared - other)
        self._classes = rows_of(classes, key.ciphertext_bytes)

    def encrypt(self, plaintexts: Rows) -> Rows:
        """See :class:`Randomiser`."""
        width = (self._key.bits + _TABLED_SLACK_BITS) // 8
        exponents = rows_from(rng.token(len(plaintexts) * width), width)
        powers = _long_powers(self._key, current().name).powers(exponents, plaintexts)
        chosen = np.frombuffer(rng.token(len(plaintexts)), np.uint8) & 3
        return self._key.product_ring.product([powers, self._classes[chosen]])


@lru_cache(maxsize=4)
def _long_powers(key: PublicKey, engine: str) -> FixedBase:
    """Powers of h to exponents longer than N; see :func:`base_powers`."""
    del engine
    return key.ring.fixed_base(int(key.randomiser_base), key.bits + _TABLED_SLACK_BITS)


class Exact:
    """What ``full`` gives, for whoever has the primes, at the price of two short powers.

    Modulo p^2 the N-th residues are the p - 1 powers of ``g^p`` for a generator g of Z_p*, so a
    power with a uniform exponent below p - 1 is a uniform N-th residue.
    """

    name = "exact"
    degree = 1

    def __init__(self, key: PrivateKey) -> None:
        """Take the private key.

        Raises:
            KeyRefused: A prime is not safe, so that no generator can be told.
        """
        self._key = key
        for prime in (key.p, key.q):
            if not gmpy2.is_prime((prime - 1) // 2):
                msg = "The exact randomiser needs safe primes."
                raise KeyRefused(msg, hint="Use djn-half, or make a key of safe primes.")

    @cached_property
    def _sides(self) -> tuple[tuple[int, FixedBase], tuple[int, FixedBase]]:
        p, q = self._key.p, self._key.q
        return (p, _generator_powers(p, q)), (q, _generator_powers(q, p))

    def encrypt(self, plaintexts: Rows) -> Rows:
        """See :class:`Randomiser`."""
        parts = []
        for prime, base in self._sides:
            exponents = uniform_below(prime - 1, len(plaintexts))
            parts.append(integers(base.powers(exponents, plaintexts)))
        p_squared, q_squared = mpz(self._key.p) ** 2, mpz(self._key.q) ** 2
        inverse = gmpy2.invert(p_squared, q_squared)
        joined = (
            a + p_squared * ((b - a) * inverse % q_squared) for a, b in zip(*parts, strict=True)
        )
        return rows_of(joined, self._key.public.ciphertext_bytes)


def generator(prime: int) -> int:
    """Return the smallest generator of Z_p* for a safe prime p."""
    return next(
        g
        for g in range(2, 1000)
        if gmpy2.powmod(g, (prime - 1) // 2, prime) != 1 and gmpy2.powmod(g, 2, prime) != 1
    )


def _generator_powers(prime: int, other: int) -> FixedBase:
    """Powers of ``g^p mod p^2``; a message m enters as ``1 + m q p``."""
    base = gmpy2.powmod_sec(generator(prime), prime, mpz(prime) ** 2)
    ring = current().ring(prime, 2)
    return ring.fixed_base(int(base), prime.bit_length(), factor=other % prime)


def uniform_below(bound: int, count: int) -> Rows:
    """Return uniform numbers below ``bound``, by rejection: which were rejected says nothing."""
    width = -(-bound.bit_length() // 8)
    kept: list[Rows] = []
    missing = count
    while missing:
        rows = rows_from(rng.token(width * (missing + missing // 2 + 8)), width).copy()
        rows[:, -1] &= 0xFF >> (-bound.bit_length() % 8)
        good = np.delete(rows, not_below(rows, bound), axis=0)[:missing]
        kept.append(good)
        missing -= len(good)
    return np.concatenate(kept)
