"""What a received key is checked for: each defect is made on purpose, and named."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import gmpy2
import pytest
from gmpy2 import mpz

from fusion.crypto.paillier.keys import PublicKey
from fusion.crypto.paillier.modulus_proof import prove
from fusion.crypto.paillier.primes import safe_prime
from fusion.crypto.paillier.received import (
    FERMAT_STEPS,
    check_distance,
    check_randomiser,
    check_received,
)
from fusion.crypto.paillier.threshold import ThresholdKey, deal
from fusion.errors import KeyRefused, VerificationFailed
from tests.paillier.test_modulus_proof import prime

if TYPE_CHECKING:
    from tests.keys import Dealt


def test_a_dealt_key_passes(dealt: Dealt) -> None:
    check_received(dealt.key, dealt.proof)


def next_to(p: int, distance: int) -> PublicKey:
    """A modulus of p and the first prime that is ``distance`` above it."""
    return PublicKey(p * int(gmpy2.next_prime(p + distance)))


@pytest.mark.parametrize("distance_bits", [0, 256, 512, 517])
def test_close_primes_are_refused(distance_bits: int) -> None:
    key = next_to(prime(1024), 1 << distance_bits)
    with pytest.raises(KeyRefused, match="too close"):
        check_distance(key)


def test_close_primes_are_refused_whatever_else_is_right() -> None:
    p = prime(1024)
    q = int(gmpy2.next_prime(p))
    key, _ = deal(p, q, threshold=2, holders=3)
    with pytest.raises(KeyRefused, match="too close"):
        check_received(key, prove(p, q))


def test_primes_further_apart_than_the_steps_reach_are_not_found() -> None:
    # The bound of the docstring: 2^(bits/4 + 9) for 2048 bits.
    assert FERMAT_STEPS == 1 << 15
    check_distance(next_to(prime(1024), 1 << 523))


def _non_square(n: int) -> int:
    return next(value for value in range(2, 1000) if gmpy2.jacobi(value, n) == -1)


@pytest.mark.parametrize("where", ["base", "verifier"])
@pytest.mark.parametrize(
    ("defect", "reason"),
    [
        ("zero", "out of range"),
        ("one", "out of range"),
        ("minus one", "out of range"),
        ("N", "out of range"),
        ("above N", "out of range"),
        ("a factor", "no square"),
        ("a non-square", "no square"),
        ("one modulo p", "trivial"),
        ("minus one modulo p", "trivial"),
    ],
)
def test_a_base_or_verifier_that_can_not_be_one_is_refused(
    dealt: Dealt, where: str, defect: str, reason: str
) -> None:
    n, (p, q) = dealt.key.public.modulus, dealt.primes
    # A square modulo q, joined with 1 or -1 modulo p so that the Jacobi symbol is 1 all the same.
    step = int(gmpy2.invert(p, q))
    other = next(v for v in range(2, 1000) if gmpy2.jacobi(v, q) == gmpy2.jacobi(-1, p))
    value = {
        "zero": 0,
        "one": 1,
        "minus one": n - 1,
        "N": n,
        "above N": n + dealt.key.base,
        "a factor": p,
        "a non-square": _non_square(n),
        "one modulo p": 1 + p * ((4 - 1) * step % q),
        "minus one modulo p": (p - 1) + p * ((other - (p - 1)) * step % q),
    }[defect]
    if where == "base":
        key = replace(dealt.key, base=int(value))
    else:
        key = replace(dealt.key, verifiers=(*dealt.key.verifiers[:3], int(value)))
    name = "verification base" if where == "base" else "verifier of holder 4"
    with pytest.raises(KeyRefused, match=f"{name} is .*{reason}"):
        check_received(key, dealt.proof)


@pytest.mark.parametrize(("needed", "holders"), [(1, 1), (2, 2), (2, 3), (3, 3), (4, 7), (7, 7)])
def test_every_size_of_dealing_passes(dealt: Dealt, needed: int, holders: int) -> None:
    key, _ = deal(*dealt.primes, threshold=needed, holders=holders)
    check_received(key, dealt.proof)


@pytest.mark.parametrize("defect", ["one share", "all shares", "order", "degree", "secret"])
@pytest.mark.parametrize("needed", [3, 4])
def test_verifiers_of_more_than_one_dealing_are_refused(
    dealt: Dealt, defect: str, needed: int
) -> None:
    p, q = dealt.primes
    n = p * q
    key, shares = deal(p, q, threshold=needed, holders=4)
    right = key.verifiers
    wrong = {
        "one share": (*right[:3], right[3] * key.base % n),
        "all shares": tuple(verifier * key.base % n for verifier in right),
        "order": (right[1], right[0], *right[2:]),
        "degree": tuple(pow(key.base, share + i**5, n) for i, share in enumerate(shares, start=1)),
        "secret": tuple(pow(key.base, share + i, n) for i, share in enumerate(shares, start=2)),
    }[defect]
    check_received(key, dealt.proof)
    with pytest.raises(KeyRefused, match="one dealing"):
        check_received(replace(key, verifiers=wrong), dealt.proof)


def test_another_threshold_than_the_dealt_one_is_refused(dealt: Dealt) -> None:
    key, _ = deal(*dealt.primes, threshold=4, holders=5)
    with pytest.raises(KeyRefused, match="one dealing"):
        check_received(replace(key, threshold=3), dealt.proof)
    # The other way round the check passes, and any four do give the root: it was dealt for three.
    three, _ = deal(*dealt.primes, threshold=3, holders=5)
    check_received(replace(three, threshold=4), dealt.proof)


def test_the_proof_is_checked_too(dealt: Dealt) -> None:
    with pytest.raises(VerificationFailed):
        check_received(dealt.key, bytes(len(dealt.proof)))


def test_the_randomiser_is_what_everybody_computes(dealt: Dealt) -> None:
    key, (p, q) = dealt.key.public, dealt.primes
    h = key.randomiser_base
    # An N-th residue: what an N-th residue is raised to, the order of their group, gives 1.
    assert gmpy2.powmod(h, gmpy2.lcm(mpz(p) - 1, mpz(q) - 1), key.n_squared) == 1
    assert gmpy2.jacobi(h, key.n) == 1
    assert PublicKey(key.modulus).randomiser_base == h


def test_a_modulus_that_makes_the_randomiser_trivial_is_refused() -> None:
    # With q and p = 2q + 1 in N, the N-th power of a square is 1 modulo p: no randomness there.
    p = safe_prime(512)
    q = (p - 1) // 2
    r = prime(1025)
    while (p * q * r).bit_length() != 2048:
        r = prime(1025)
    key = PublicKey(p * q * r)
    assert key.randomiser_base % p == 1
    with pytest.raises(KeyRefused, match="randomiser's base is trivial"):
        check_randomiser(key)
    whole = ThresholdKey(public=key, threshold=1, base=4, verifiers=(4,))
    with pytest.raises(KeyRefused, match="randomiser's base is trivial"):
        check_received(whole, bytes(8 * 256))


def test_security_strengths_are_those_of_nist(dealt: Dealt) -> None:
    assert dealt.key.public.security_bits == 112
