"""Degree 2: plaintexts below N^2 in ciphertexts below N^3, a quarter fewer bytes a parameter.

Damgård and Jurik (PKC 2001, sections 3 and 4.2) generalise Paillier to ``c = (1+N)^m r^(N^s) mod
N^(s+1)``; degree s = 1 is Paillier's own. The randomiser is that of Damgård, Jurik and Nielsen
(Int. J. Inf. Secur. 9, 2010, section 4.2): ``h_s^rho`` with ``h_s = h^(N^(s-1)) mod N^(s+1)`` and
rho of half the key's length, under the same name and assumption as in degree 1, to which their
security reduces (PKC 2001, theorem 1). Everything about a degree that is more than a length is
here: the base, ``(1+N)^m`` by the binomial formula, and the logarithm that undoes it.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Final

import gmpy2
from gmpy2 import mpz

from fusion.crypto.paillier.engines.selection import current
from fusion.crypto.paillier.randomisers import Djn, Exact, generator, uniform_below
from fusion.crypto.paillier.residues import integers, rows_of

if TYPE_CHECKING:
    from gmpy2 import mpz as Integer

    from fusion.crypto.paillier.engines.engine import FixedBase, Ring
    from fusion.crypto.paillier.keys import PrivateKey, PublicKey
    from fusion.crypto.paillier.residues import Rows

DEGREES: Final = (1, 2)
"""The degrees there are; a layout, a vector's header and a dealt key each name theirs."""


def ciphertext_bytes(key: PublicKey, degree: int) -> int:
    """Fixed width of one serialised ciphertext of this degree."""
    return key.bits * (degree + 1) // 8


def plaintext_bytes(key: PublicKey, degree: int) -> int:
    """Fixed width of one plaintext row of this degree."""
    return key.bits * degree // 8


def product_ring(key: PublicKey, degree: int) -> Ring:
    """Integers modulo N^(degree + 1) in one digit, for products."""
    return current().ring(key.modulus ** (degree + 1))


def base(key: PublicKey) -> int:
    """``h_2 = h^N mod N^3``: what h, known modulo N^2, lifts to, whichever lift is taken."""
    return int(gmpy2.powmod(key.randomiser_base, key.n, key.n**3))


@lru_cache(maxsize=4)
def base_powers(key: PublicKey, engine: str) -> FixedBase:
    """Powers of h_2 modulo N^3; one table an engine."""
    del engine  # part of the cache's key: another engine has another table
    return product_ring(key, 2).fixed_base(base(key), key.randomiser_bits)


class DjnSquared(Djn):
    """``(1+N)^m h_2^rho mod N^3`` with rho of half the key's length, for m below N^2."""

    degree = 2

    def encrypt_with(self, plaintexts: Rows, exponents: Rows) -> Rows:
        """Encrypt with exponents that the caller keeps.

        Args:
            plaintexts: Below N^2.
            exponents: From :meth:`~fusion.crypto.paillier.randomisers.Djn.exponents`, each used
                once.
        """
        blinding = base_powers(self._key, current().name).powers(exponents)
        return _blinded(self._key, plaintexts, blinding)


class ExactSquared(Exact):
    """``(1+N)^m r^(N^2) mod N^3`` with r uniform, for whoever has the primes.

    Modulo p^3 the N^2-th residues are the p - 1 powers of ``g^(p^2)`` for a generator g of Z_p*, so
    a power with a uniform exponent below p - 1 is a uniform one, as in degree 1.
    """

    degree = 2

    @cached_property
    def _cubes(self) -> list[tuple[int, FixedBase]]:
        return [(prime, _residue_powers(prime)) for prime in (self._key.p, self._key.q)]

    def encrypt(self, plaintexts: Rows) -> Rows:
        """See :class:`~fusion.crypto.paillier.randomisers.Randomiser`."""
        parts = [
            integers(powers.powers(uniform_below(prime - 1, len(plaintexts))))
            for prime, powers in self._cubes
        ]
        p3, q3 = mpz(self._key.p) ** 3, mpz(self._key.q) ** 3
        inverse = gmpy2.invert(p3, q3)
        joined = (a + p3 * ((b - a) * inverse % q3) for a, b in zip(*parts, strict=True))
        public = self._key.public
        return _blinded(public, plaintexts, rows_of(joined, ciphertext_bytes(public, 2)))


def _residue_powers(prime: int) -> FixedBase:
    """Powers of ``g^(p^2) mod p^3``."""
    residue = gmpy2.powmod_sec(generator(prime), mpz(prime) ** 2, mpz(prime) ** 3)
    return current().ring(prime**3).fixed_base(int(residue), prime.bit_length())


def _blinded(key: PublicKey, plaintexts: Rows, blinding: Rows) -> Rows:
    """Multiply ``(1+N)^m`` and its blinding."""
    messages = (expand(m, key.n) for m in integers(plaintexts))
    clear = rows_of(messages, ciphertext_bytes(key, 2))
    return product_ring(key, 2).product([blinding, clear])


def expand(m: Integer, n: Integer) -> Integer:
    """Return ``(1+N)^m mod N^3 = 1 + mN + m(m-1)/2 N^2``, the binomial formula (section 3)."""
    return 1 + n * (m + n * ((m * (m - 1) >> 1) % n)) % n**3


def logarithm(t: Integer, n: Integer, degree: int) -> Integer:
    """Return m modulo N^degree from ``(1+N)^m = 1 + tN mod N^(degree + 1)`` (theorem 1's L).

    Degree 1 has ``m = t``. In degree 2, ``t = m + m(m-1)/2 N mod N^2``, and the second term needs m
    modulo N only, which is t modulo N.
    """
    if degree == 1:
        return t % n
    low = t % n
    return (t - n * ((low * (low - 1) >> 1) % n)) % (n * n)


def decrypt(key: PrivateKey, ciphertexts: Rows) -> Rows:
    """Return the plaintexts of degree 2, below N^2, by Chinese remainders.

    Args:
        key: The two primes.
        ciphertexts: Units modulo N^3.
    """
    p2, q2 = mpz(key.p) ** 2, mpz(key.q) ** 2
    at_p = _side(ciphertexts, key.p, key.q)
    at_q = _side(ciphertexts, key.q, key.p)
    inverse = gmpy2.invert(p2, q2)
    plaintexts = (a + p2 * ((b - a) * inverse % q2) for a, b in zip(at_p, at_q, strict=True))
    return rows_of(plaintexts, plaintext_bytes(key.public, 2))


def _side(ciphertexts: Rows, prime: int, other: int) -> list[Integer]:
    """Plaintexts modulo p^2: ``c^(p-1) = (1+pq)^e mod p^3`` with ``e = m(p-1) mod p^2``.

    The order of Z_(p^3)* is p^2 (p-1), so that ``r^(N^2 (p-1)) = 1``. Then
    ``(1+pq)^e = 1 + p (e q + e(e-1)/2 p q^2)``, solved for e modulo p and then modulo p^2.
    """
    p, q = mpz(prime), mpz(other)
    p2 = p * p
    one_over_q, one_over_order = gmpy2.invert(q, p2), gmpy2.invert(p - 1, p2)
    found = []
    for power in integers(current().ring(prime**3).power(ciphertexts, prime - 1)):
        t = (power - 1) // p
        low = t * one_over_q % p
        e = (t - (low * (low - 1) >> 1) * p * q * q) * one_over_q % p2
        found.append(e * one_over_order % p2)
    return found
