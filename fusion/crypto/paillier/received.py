"""What a key that somebody else made is checked for before it is kept.

:class:`~.keys.PublicKey` has already refused a modulus of another length, an even one, a prime, a
perfect power, and one with a prime factor below 2^16; :class:`~.threshold.ThresholdKey` a threshold
that is no majority. Here: close primes (Fermat; FIPS 186-5, appendix A.1.3 demands a distance),
the verification base and the verifiers (Shoup, EUROCRYPT 2000: squares modulo N, their exponents
on one polynomial as Feldman, FOCS 1987, checks it), the randomiser's base (Damgård, Jurik, Nielsen
2010, section 4.2), and the proof of :mod:`.modulus_proof`.

Nothing here shows that the primes are safe, or that the maker forgot them: ``docs/claims/key.md``.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

import gmpy2
from gmpy2 import mpz

from fusion.crypto.paillier.modulus_proof import check_proof
from fusion.errors import KeyRefused

if TYPE_CHECKING:
    from gmpy2 import mpz as Integer

    from fusion.crypto.paillier.keys import PublicKey
    from fusion.crypto.paillier.threshold import ThresholdKey

FERMAT_STEPS: Final = 1 << 15
"""Finds primes whose distance is below 2^(bits/4 + 9); random ones are some 2^(bits/2) apart."""

_HINT: Final = "Do not use this key; ask its dealer for a new ceremony."


def check_received(key: ThresholdKey, proof: bytes) -> None:
    """Check everything that the public side of a key shows.

    Args:
        key: The key.
        proof: Its dealer's proof, from :func:`fusion.crypto.paillier.modulus_proof.prove`.

    Raises:
        KeyRefused: Close primes, a base or verifier that can't be one, or verifiers that do not
            belong together.
        VerificationFailed: The proof does not hold.
    """
    check_distance(key.public)
    check_randomiser(key.public)
    _check_square("verification base", key.base, key.public.n)
    for number, verifier in enumerate(key.verifiers, start=1):
        _check_square(f"verifier of holder {number}", verifier, key.public.n)
    _check_dealing(key)
    check_proof(key.public, proof)


def check_distance(key: PublicKey) -> None:
    """Refuse a modulus that Fermat's method factors in a bounded number of steps.

    ``N = a^2 - b^2`` with a next to the root of N, if the factors are next to each other.

    Raises:
        KeyRefused: It is one.
    """
    a = gmpy2.isqrt(key.n)
    a += a * a < key.n
    square = a * a - key.n
    for _ in range(FERMAT_STEPS):
        if gmpy2.is_square(square):
            msg = "The primes of the Paillier modulus are too close to each other."
            raise KeyRefused(msg, hint=_HINT)
        square += 2 * a + 1
        a += 1


def check_randomiser(key: PublicKey) -> None:
    """Check the base h that everybody computes from N: an N-th residue, of a square, not trivial.

    It is an N-th residue because it was raised to N; that its root is a square shows in its
    Jacobi symbol; that h is of no use modulo a factor of N would show in a common factor.

    Raises:
        KeyRefused: For this N it is none.
    """
    _check_square("randomiser's base", int(key.randomiser_base % key.n), key.n)


def _check_dealing(key: ThresholdKey) -> None:
    """Check in the exponent that any threshold of the shares gives the N-th root.

    Shares f(1), f(2), ... of a polynomial of degree t - 1 are those whose differences of order t
    are 0; by Newton's formula ``f(0) = f(1) - Df(1) + D^2 f(1) - ...`` up to order t - 1, and that
    has to be 1/N. No division is needed, so it holds although nobody knows the group's order.
    """
    n = key.public.n
    row = [mpz(verifier) for verifier in key.verifiers]
    root = mpz(1)
    for order in range(key.threshold):
        root = root * (gmpy2.invert(row[0], n) if order % 2 else row[0]) % n
        row = [after * gmpy2.invert(before, n) % n for before, after in pairwise(row)]
    if any(value != 1 for value in row) or gmpy2.powmod(root, n, n) != key.base:
        raise KeyRefused("The verifiers are not those of one dealing of this key.", hint=_HINT)


def _check_square(name: str, value: int, n: Integer) -> None:
    """Refuse what is out of range, no unit, of Jacobi symbol -1, or 1 or -1 modulo a factor."""
    number = mpz(value)
    if not 1 < number < n - 1:
        raise KeyRefused(f"The {name} is out of range.", hint=_HINT)
    # The symbol of what is no unit is 0.
    if gmpy2.jacobi(number, n) != 1:
        raise KeyRefused(f"The {name} is no square modulo N.", hint=_HINT)
    if gmpy2.gcd(number * number - 1, n) != 1:
        raise KeyRefused(f"The {name} is trivial modulo a factor of N.", hint=_HINT)
