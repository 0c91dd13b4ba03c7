"""A proof that a modulus fits Paillier: gcd(N, phi(N)) = 1, from a maker who need not be trusted.

Goldberg, Reyzin, Sagga, Baldimtsi, "Efficient noninteractive certification of RSA moduli and
beyond" (ASIACRYPT 2019, eprint 2018/057), section 3.2, made non-interactive by Fiat and Shamir:
challenges are hashed from N, the proof is an N-th root of each. If a prime r divides both N and
phi(N), raising to the power N is at least r to one on the units, so at most one unit in r has a
root; r is larger than every prime that was divided out. With primes up to 2^16 divided out
(:class:`~.keys.PublicKey`), eight roots leave a false N a chance of less than 2^-128 a try.

It follows that N is square-free and that every ciphertext has exactly one plaintext. It does not
follow that N has two factors, or that they are safe primes. Claim: ``docs/claims/key.md``.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import gmpy2
from gmpy2 import mpz

from fusion.crypto.paillier.keys import SMALL_FACTOR_BOUND, PublicKey
from fusion.errors import VerificationFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gmpy2 import mpz as Integer

SOUNDNESS_BITS: Final = 128

ROOTS: Final = -(-SOUNDNESS_BITS // (SMALL_FACTOR_BOUND.bit_length() - 1))
"""Number of challenges: m = ceil(128 / log2 alpha), alpha the bound on small factors."""

_DOMAIN: Final = b"banyan/modulus-proof/v1"
_SLACK_BYTES: Final = 16
"""A challenge is reduced from this many bytes more than N has: its bias is below 2^-128."""


def prove(p: int, q: int) -> bytes:
    """Return N-th roots of the challenges of N = pq, each as wide as N, big-endian.

    Args:
        p: A prime.
        q: Another prime, so that N is prime to phi(N).

    Raises:
        KeyRefused: The modulus is not acceptable.
        VerificationFailed: N is not prime to phi(N), so there is nothing to prove.
    """
    key = PublicKey(p * q)
    order = gmpy2.lcm(mpz(p) - 1, mpz(q) - 1)
    if gmpy2.gcd(key.n, order) != 1:
        raise VerificationFailed("The modulus and the order of its group have a common factor.")
    exponent = gmpy2.invert(key.n, order)
    roots = (gmpy2.powmod_sec(challenge, exponent, key.n) for challenge in _challenges(key))
    return b"".join(int(root).to_bytes(key.residue_bytes, "big") for root in roots)


def check_proof(key: PublicKey, proof: bytes) -> None:
    """Check a proof that :func:`prove` made, or its like.

    Args:
        key: The key; making it has divided out all primes below the bound.
        proof: As many roots as there are challenges, each as wide as N.

    Raises:
        VerificationFailed: Wrong length, a root out of range, or no root of its challenge.
    """
    width = key.residue_bytes
    if len(proof) != ROOTS * width:
        raise _refusal("has not the length it has to have")
    for number, challenge in enumerate(_challenges(key)):
        root = mpz(int.from_bytes(proof[number * width : (number + 1) * width], "big"))
        # A challenge that is no unit would give a factor away: an honest N never meets one, and
        # for a false one units are what the count of roots holds for.
        if not 0 < root < key.n or gmpy2.gcd(challenge, key.n) != 1:
            raise _refusal("has a number out of range")
        if gmpy2.powmod(root, key.n, key.n) != challenge:
            raise _refusal("does not hold")


def _challenges(key: PublicKey) -> Iterator[Integer]:
    """Yield numbers below N that nobody chose: each hashed from N, bound and place."""
    width = key.residue_bytes
    modulus = key.modulus.to_bytes(width, "big")
    for number in range(ROOTS):
        state = hashlib.shake_256(_DOMAIN)
        state.update(SMALL_FACTOR_BOUND.to_bytes(4, "big") + ROOTS.to_bytes(2, "big"))
        state.update(number.to_bytes(2, "big") + width.to_bytes(2, "big") + modulus)
        yield mpz(int.from_bytes(state.digest(width + _SLACK_BYTES), "big")) % key.n


def _refusal(what: str) -> VerificationFailed:
    return VerificationFailed(
        f"The proof that the modulus fits Paillier {what}.",
        hint="Do not use this key; ask its dealer for a new ceremony.",
    )
