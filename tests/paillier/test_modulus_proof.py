"""The proof that a modulus fits Paillier: complete, and each of its checks bites."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import gmpy2
import pytest
from gmpy2 import mpz

from fusion.crypto import rng
from fusion.crypto.paillier import modulus_proof
from fusion.crypto.paillier.keys import SMALL_FACTOR_BOUND, PublicKey
from fusion.crypto.paillier.modulus_proof import ROOTS, check_proof, prove
from fusion.errors import KeyRefused, VerificationFailed

if TYPE_CHECKING:
    from tests.keys import Dealt


def prime(bits: int, step: int = 2, residue: int = 1) -> int:
    """A random prime of ``bits`` bits, ``residue`` modulo ``step``, its two highest bits set."""
    while True:
        start = mpz(rng.bits(bits) | (0b11 << (bits - 2)))
        number = start - start % step + residue
        if number.bit_length() == bits and gmpy2.is_prime(number):
            return int(number)


@lru_cache(maxsize=1)
def unfit() -> tuple[PublicKey, int, int]:
    """A modulus whose prime q is 1 modulo its prime p, with p and q: powers of N are not unique."""
    p = prime(683)
    while True:
        q = prime(1365, 2 * p, 1)
        if (p * q).bit_length() == 2048:
            return PublicKey(p * q), p, q


def test_an_honest_modulus_is_proved(dealt: Dealt) -> None:
    check_proof(dealt.key.public, dealt.proof)
    assert len(dealt.proof) == 8 * 256


def test_the_proof_says_nothing_new_each_time(dealt: Dealt) -> None:
    assert dealt.proof == prove(*dealt.primes)


def test_primes_need_not_be_safe() -> None:
    p, q = prime(1024), prime(1024)
    check_proof(PublicKey(p * q), prove(p, q))


def test_enough_roots_for_128_bits() -> None:
    # The smallest prime that is not divided out has to the power of the roots at least 2^128.
    assert int(gmpy2.next_prime(SMALL_FACTOR_BOUND)) ** ROOTS >= 2**128
    assert ROOTS == 8


def test_a_modulus_that_is_not_prime_to_its_order_has_nothing_to_prove() -> None:
    _, p, q = unfit()
    with pytest.raises(VerificationFailed, match="common factor"):
        prove(p, q)


def test_roots_of_a_modulus_that_is_not_prime_to_its_order_are_refused() -> None:
    key, p, q = unfit()
    # The best a dealer can do: roots where there are some. Modulo p all have one; modulo q one
    # challenge in p has, and that is none of them.
    order = p - 1
    exponent = gmpy2.invert(key.n, order)
    roots = []
    for challenge in modulus_proof._challenges(key):
        at_p = gmpy2.powmod(challenge, exponent, p)
        at_q = gmpy2.powmod(challenge, gmpy2.invert(key.n // p, (q - 1) // p), q)
        root = at_p + p * ((at_q - at_p) * gmpy2.invert(p, q) % q)
        assert gmpy2.powmod(root, key.n, p) == challenge % p
        assert gmpy2.powmod(root, key.n, q) != challenge % q
        roots.append(int(root).to_bytes(256, "big"))
    with pytest.raises(VerificationFailed, match="does not hold"):
        check_proof(key, b"".join(roots))


def test_a_square_factor_is_refused() -> None:
    p, q = prime(683), prime(682)
    while (p * p * q).bit_length() != 2048:
        p, q = prime(683), prime(682)
    key = PublicKey(p * p * q)
    exponent = gmpy2.invert(key.n, (p - 1) * (q - 1))
    roots = [gmpy2.powmod(c, exponent, key.n) for c in modulus_proof._challenges(key)]
    proof = b"".join(int(root).to_bytes(256, "big") for root in roots)
    with pytest.raises(VerificationFailed, match="does not hold"):
        check_proof(key, proof)


@pytest.mark.parametrize("at", [0, 255, 256 * 3 + 100, 256 * 8 - 1])
def test_a_changed_byte_is_refused(dealt: Dealt, at: int) -> None:
    proof = bytearray(dealt.proof)
    proof[at] ^= 1
    with pytest.raises(VerificationFailed):
        check_proof(dealt.key.public, bytes(proof))


def test_roots_in_another_order_are_refused(dealt: Dealt) -> None:
    proof = dealt.proof[256:512] + dealt.proof[:256] + dealt.proof[512:]
    with pytest.raises(VerificationFailed, match="does not hold"):
        check_proof(dealt.key.public, proof)


@pytest.mark.parametrize("change", ["cut short", "a root less", "longer", "nothing"])
def test_another_length_is_refused(dealt: Dealt, change: str) -> None:
    proof = dealt.proof
    changed = {
        "cut short": proof[:-1],
        "a root less": proof[:-256],
        "longer": proof + bytes(1),
        "nothing": b"",
    }[change]
    with pytest.raises(VerificationFailed, match="length"):
        check_proof(dealt.key.public, changed)


def test_a_root_out_of_range_is_refused(dealt: Dealt) -> None:
    key = dealt.key.public
    first = int.from_bytes(dealt.proof[:256], "big")
    for root in (0, key.modulus, first + key.modulus):
        if root.bit_length() <= 2048:
            proof = root.to_bytes(256, "big") + dealt.proof[256:]
            with pytest.raises(VerificationFailed, match="out of range"):
                check_proof(key, proof)


def test_the_proof_of_another_modulus_is_refused(dealt: Dealt) -> None:
    p, q = prime(1024), prime(1024)
    # A root modulo the other modulus may lie above this one: then its size gives it away.
    with pytest.raises(VerificationFailed, match=r"does not hold|out of range"):
        check_proof(dealt.key.public, prove(p, q))


def test_a_modulus_that_is_none_is_not_proved() -> None:
    with pytest.raises(KeyRefused):
        prove(prime(512), prime(512))
