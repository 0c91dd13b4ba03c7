"""What a received key is checked for: each defect is made on purpose, and named."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import gmpy2
import pytest
from gmpy2 import mpz

from fusion.crypto.paillier.keys import PublicKey
from fusion.crypto.paillier.received import FERMAT_STEPS, check_distance, check_received
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


def test_security_strengths_are_those_of_nist(dealt: Dealt) -> None:
    assert dealt.key.public.security_bits == 112
