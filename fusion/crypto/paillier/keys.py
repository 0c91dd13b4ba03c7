"""The Paillier public key: what it must satisfy, its randomiser base and its fingerprint.

Paillier, EUROCRYPT 1999, with g = N + 1, so that ``phe`` and we read each other's ciphertexts;
randomisers after Damgård, Jurik and Nielsen (Int. J. Inf. Secur. 9, 2010, section 4.2):
``c = (1 + mN) h^rho mod N^2`` with rho of half the key's length. The base ``h`` is the N-th power
of a square that is hashed from N, so nobody chooses it and everybody recomputes it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import gmpy2
import phe.paillier
from gmpy2 import mpz

from fusion.crypto.hashing import hexdigest
from fusion.crypto.paillier.engines.selection import current
from fusion.crypto.paillier.residues import integers, rows_of
from fusion.errors import KeyRefused

if TYPE_CHECKING:
    from gmpy2 import mpz as Integer

    from fusion.crypto.paillier.engines.engine import Ring
    from fusion.crypto.paillier.residues import Rows

KEY_BITS: Final = (2048, 3072, 4096)
"""Accepted modulus lengths."""

SECURITY_BITS: Final = {2048: 112, 3072: 128, 4096: 152}
"""Estimated maximum security strength: NIST SP 800-57 Part 1 Rev. 5, table 2; 4096 bits stand in
SP 800-56B Rev. 2, appendix D."""

RANDOMISER: Final = "djn-half"
"""Name of the randomiser that a key's holders agree on, part of its fingerprint."""

SMALL_FACTOR_BOUND: Final = 1 << 16
"""A modulus has no prime factor up to this; the proof of :mod:`.modulus_proof` builds on it."""


@dataclass(frozen=True, slots=False)
class PublicKey:
    """A modulus that passed every check a public modulus can be given.

    Attributes:
        modulus: N, an odd composite of exactly 2048, 3072 or 4096 bits.
    """

    modulus: int

    def __post_init__(self) -> None:
        """Refuse a modulus that can't be a sound Paillier key.

        Raises:
            KeyRefused: Wrong length, even, prime, a perfect power, or with a small factor.
        """
        n = mpz(self.modulus)
        if n.bit_length() not in KEY_BITS:
            msg = f"A Paillier modulus of {n.bit_length()} bits is refused."
            raise KeyRefused(msg, hint=f"Use one of {', '.join(map(str, KEY_BITS))} bits.")
        if gmpy2.gcd(n, gmpy2.primorial(SMALL_FACTOR_BOUND)) != 1:
            msg = "The Paillier modulus has a small factor."
            raise KeyRefused(msg, hint="Hold a new key ceremony.")
        if gmpy2.is_prime(n) or gmpy2.is_power(n):
            msg = "The Paillier modulus is a prime or a perfect power, not a product of two primes."
            raise KeyRefused(msg, hint="Hold a new key ceremony.")

    @cached_property
    def n(self) -> Integer:
        """N as a gmpy2 integer."""
        return mpz(self.modulus)

    @cached_property
    def n_squared(self) -> Integer:
        """N^2."""
        return self.n * self.n

    @property
    def bits(self) -> int:
        """Length of N in bits."""
        return self.modulus.bit_length()

    @property
    def security_bits(self) -> int:
        """Estimated maximum security strength, as NIST names it."""
        return SECURITY_BITS[self.bits]

    @property
    def ciphertext_bytes(self) -> int:
        """Fixed width of one serialised ciphertext."""
        return self.bits // 4

    @property
    def residue_bytes(self) -> int:
        """Fixed width of one residue modulo N, such as a partial decryption."""
        return self.bits // 8

    @property
    def randomiser_bits(self) -> int:
        """Length of the exponent rho: half the key's."""
        return self.bits // 2

    @cached_property
    def randomiser_root(self) -> Integer:
        """``x^2 mod N`` with x hashed from N: the N-th root of :attr:`randomiser_base`."""
        width = self.residue_bytes
        stream = hashlib.shake_256(b"banyan/djn-base/v1" + self.modulus.to_bytes(width, "big"))
        x = mpz(int.from_bytes(stream.digest(width + 16), "big")) % self.n
        return x * x % self.n

    @cached_property
    def randomiser_base(self) -> Integer:
        """``h = (x^2)^N mod N^2``: an N-th residue nobody chose."""
        return gmpy2.powmod(self.randomiser_root, self.n, self.n_squared)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal, over the modulus and the name of the randomiser."""
        return hexdigest(
            "banyan/paillier-key/v1",
            self.modulus.to_bytes(self.residue_bytes, "big"),
            RANDOMISER.encode(),
        )

    @property
    def plaintext_bytes(self) -> int:
        """Fixed width of one plaintext row."""
        return self.bits // 8

    @property
    def ring(self) -> Ring:
        """Integers modulo N^2 in two digits, for powers."""
        return current().ring(self.modulus, 2)

    @property
    def product_ring(self) -> Ring:
        """Integers modulo N^2 in one digit, for products."""
        return current().ring(self.modulus**2)

    @property
    def root_ring(self) -> Ring:
        """Integers modulo N."""
        return current().ring(self.modulus)

    @cached_property
    def phe(self) -> phe.paillier.PaillierPublicKey:
        """The same key as a ``phe`` object."""
        return phe.paillier.PaillierPublicKey(self.modulus)


@dataclass(frozen=True, slots=False, repr=False)
class PrivateKey:
    """The two primes, for a single key holder: decrypts, and encrypts faster than others can.

    A hub never has one. ``repr`` shows nothing.

    Attributes:
        p: A prime.
        q: Another prime of the same length.
    """

    p: int
    q: int

    def __post_init__(self) -> None:
        """Refuse primes that make no Paillier key.

        Raises:
            KeyRefused: Not two different primes of one length, or N is not prime to phi(N).
        """
        sizes = {self.p.bit_length(), self.q.bit_length()}
        if self.p == self.q or len(sizes) != 1:
            msg = "A private key needs two different primes of the same length."
            raise KeyRefused(msg)
        if not (gmpy2.is_prime(self.p) and gmpy2.is_prime(self.q)):
            msg = "One of the two numbers of a private key is not prime."
            raise KeyRefused(msg)
        if gmpy2.gcd(self.p * self.q, (self.p - 1) * (self.q - 1)) != 1:
            msg = "The modulus and the order of its group have a common factor."
            raise KeyRefused(msg, hint="Make other primes.")

    @cached_property
    def public(self) -> PublicKey:
        """The public side, checked."""
        return PublicKey(self.p * self.q)

    def decrypt(self, ciphertexts: Rows) -> Rows:
        """Return the plaintexts, below N; Paillier 1999, section 7 (Chinese remainders).

        Args:
            ciphertexts: Units modulo N^2.
        """
        p, q = mpz(self.p), mpz(self.q)
        at_p = self._side(ciphertexts, self.p, self.q)
        at_q = self._side(ciphertexts, self.q, self.p)
        inverse = gmpy2.invert(p, q)
        plaintexts = (a + p * ((b - a) * inverse % q) for a, b in zip(at_p, at_q, strict=True))
        return rows_of(plaintexts, self.public.plaintext_bytes)

    @staticmethod
    def _side(ciphertexts: Rows, prime: int, other: int) -> list[Integer]:
        """Plaintexts modulo one prime: c^(p-1) = 1 - m q p (mod p^2)."""
        r = mpz(prime)
        powers = current().ring(prime, 2).power(ciphertexts, prime - 1)
        scale = gmpy2.invert(-mpz(other), r)
        return [(x - 1) // r * scale % r for x in integers(powers)]
