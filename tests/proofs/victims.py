"""What the attacks are run against: a victim's ciphertexts, and whoever can see the sum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import gmpy2
from gmpy2 import mpz

from fusion.crypto import rng
from fusion.crypto.paillier.keys import PrivateKey
from fusion.crypto.paillier.randomisers import Djn
from fusion.crypto.paillier.residues import integers, rows_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gmpy2 import mpz as Integer

    from fusion.crypto.paillier.keys import PublicKey
    from fusion.crypto.paillier.residues import Rows
    from tests.keys import Dealt

SHIFT = 700
"""The honest sums here stay below ``2 ** SHIFT``: what is above it is the attacker's reading."""


@dataclass(frozen=True)
class Vector:
    """Plaintexts, exponents and the ciphertexts they make."""

    plaintexts: list[int]
    exponents: Rows
    rows: Rows


def vector(key: PublicKey, count: int = 4, bits: int = SHIFT - 8) -> Vector:
    """Make a vector of random plaintexts."""
    plaintexts = [rng.bits(bits) for _ in range(count)]
    blind = Djn(key)
    exponents = blind.exponents(count)
    rows = blind.encrypt_with(rows_of(plaintexts, key.plaintext_bytes), exponents)
    return Vector(plaintexts, exponents, rows)


def of(key: PublicKey, plaintexts: Sequence[int]) -> Vector:
    """Make a vector of given plaintexts."""
    blind = Djn(key)
    exponents = blind.exponents(len(plaintexts))
    rows = blind.encrypt_with(rows_of(plaintexts, key.plaintext_bytes), exponents)
    return Vector(list(plaintexts), exponents, rows)


def mauled(key: PublicKey, rows: Rows, shift: int = SHIFT) -> Rows:
    """``C^(2^shift) Enc(0)``: another's plaintext in high digits, by one who can't read it."""
    raised = [gmpy2.powmod(c, mpz(1) << shift, key.n_squared) for c in integers(rows)]
    return key.product_ring.product([rows_of(raised, key.ciphertext_bytes), zeros(key, len(rows))])


def inverted(key: PublicKey, rows: Rows) -> Rows:
    """``C^-1 Enc(0)``: cancels another's plaintext."""
    values = [gmpy2.invert(c, key.n_squared) for c in integers(rows)]
    return key.product_ring.product([rows_of(values, key.ciphertext_bytes), zeros(key, len(rows))])


def zeros(key: PublicKey, count: int) -> Rows:
    """Fresh encryptions of zero."""
    return of(key, [0] * count).rows


def opened(dealt: Dealt, *vectors: Rows) -> list[int]:
    """Return the sum that an aggregation without proofs would show."""
    key = dealt.key.public
    product = key.product_ring.product(vectors)
    return [int(m) for m in integers(PrivateKey(*dealt.primes).decrypt(product))]


def inverse(value: Integer | int, modulus: Integer | int) -> int:
    """Invert a number."""
    return int(gmpy2.invert(value, modulus))
