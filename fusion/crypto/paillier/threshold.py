"""Threshold decryption by N-th roots: deal, partially decrypt, combine.

Shoup's threshold RSA (EUROCRYPT 2000) with public exponent e = N. A share holder raises
``c mod N`` to its share; t of them give ``r = c^(1/N) mod N``, and ``c r^-N mod N^2 = 1 + mN``.
The result proves itself: it has that form exactly if every partial decryption was right.

Opening reveals the randomiser r of what is opened, so this must only ever be applied to a product
of contributions of at least two honest parties, whose randomisers mask each other. The gate in
:mod:`federated.protocols.secure_sum` sees to that; the argument: ``docs/claims/secure-sum.md``.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import gmpy2
from gmpy2 import mpz

from fusion.crypto import rng
from fusion.crypto.paillier.keys import PublicKey
from fusion.errors import KeyRefused, VerificationFailed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gmpy2 import mpz as Integer


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdKey:
    """The public side of a dealt key.

    Attributes:
        public: The Paillier key.
        threshold: Holders that must act together; more than half of all, so that two different
            sums can't be opened by disjoint groups.
        base: v, a random square modulo N.
        verifiers: ``v^share mod N`` for holder 1, 2, ..., n, against which a share is checked.
    """

    public: PublicKey
    threshold: int
    base: int
    verifiers: tuple[int, ...]

    def __post_init__(self) -> None:
        """Refuse a threshold that is not a majority.

        Raises:
            KeyRefused: Threshold out of range.
        """
        n = self.holders
        if not n // 2 < self.threshold <= n:
            msg = f"A threshold of {self.threshold} of {n} holders is refused."
            raise KeyRefused(msg, hint=f"Choose a threshold from {n // 2 + 1} to {n}.")

    @property
    def holders(self) -> int:
        """Number of share holders."""
        return len(self.verifiers)

    @property
    def delta(self) -> int:
        """n!, which clears the denominators of Lagrange interpolation."""
        return math.factorial(self.holders)


def deal(p: int, q: int, *, threshold: int, holders: int) -> tuple[ThresholdKey, list[int]]:
    """Split the N-th root exponent of N = pq into ``holders`` Shamir shares.

    Args:
        p: A safe prime.
        q: Another safe prime of the same length.
        threshold: Holders needed to decrypt.
        holders: Number of shares.

    Returns:
        The public key and the shares of holder 1, 2, ..., in order.

    Raises:
        KeyRefused: The primes are equal or the modulus has no accepted length.
    """
    if p == q:
        msg = "The two primes of a modulus must differ."
        raise KeyRefused(msg)
    public = PublicKey(p * q)
    order = (p - 1) // 2 * ((q - 1) // 2)
    secret = int(gmpy2.invert(public.n, order))
    coefficients = [secret] + [rng.below(order) for _ in range(threshold - 1)]
    shares = [
        sum(c * index**power for power, c in enumerate(coefficients)) % order
        for index in range(1, holders + 1)
    ]
    base = gmpy2.powmod(rng.below(public.modulus - 2) + 2, 2, public.n)
    verifiers = tuple(int(gmpy2.powmod_sec(base, share, public.n)) for share in shares)
    key = ThresholdKey(public=public, threshold=threshold, base=int(base), verifiers=verifiers)
    return key, shares


def check_share(key: ThresholdKey, index: int, share: int) -> None:
    """Check that a share is the one the ceremony published a verifier for.

    Args:
        key: The public side.
        index: Holder's number, from 1.
        share: The secret share.

    Raises:
        KeyRefused: It is not.
    """
    n = key.public.n
    if not (1 <= index <= key.holders and 0 < share < n) or (
        gmpy2.powmod_sec(key.base, share, n) != key.verifiers[index - 1]
    ):
        msg = "The key share does not belong to this key and holder."
        raise KeyRefused(msg, hint="Ask for the share file of this ceremony and this organisation.")


def partial(key: ThresholdKey, share: int, ciphertexts: Sequence[Integer]) -> list[Integer]:
    """Return ``(c mod N)^(2 n! share) mod N`` for each ciphertext, in constant-time powers."""
    n = key.public.n
    exponent = mpz(2 * key.delta * share)
    return [gmpy2.powmod_sec(c % n, exponent, n) for c in ciphertexts]


def combine(
    key: ThresholdKey, partials: Mapping[int, Sequence[Integer]], ciphertexts: Sequence[Integer]
) -> list[int]:
    """Decrypt with the partial decryptions of exactly ``threshold`` holders.

    Args:
        key: The public side.
        partials: Holder's number to its partial decryptions, as long as ``ciphertexts``.
        ciphertexts: What was partially decrypted.

    Raises:
        VerificationFailed: Too few holders, or the result does not prove itself.
    """
    if len(partials) != key.threshold:
        msg = f"{len(partials)} partial decryptions were given; {key.threshold} are needed."
        raise VerificationFailed(msg)
    n, n_squared = key.public.n, key.public.n_squared
    weights = _lagrange(key, sorted(partials))
    _, a, b = gmpy2.gcdext(mpz(4 * key.delta * key.delta), n)
    plaintexts = []
    for position, c in enumerate(ciphertexts):
        w = mpz(1)
        for index, weight in weights.items():
            w = w * gmpy2.powmod(partials[index][position], weight, n) % n
        root = gmpy2.powmod(w, a, n) * gmpy2.powmod(c % n, b, n) % n
        message, remainder = gmpy2.f_divmod(
            c * gmpy2.invert(gmpy2.powmod(root, n, n_squared), n_squared) % n_squared - 1, n
        )
        if remainder != 0:
            msg = "The partial decryptions do not combine: at least one of them is wrong."
            raise VerificationFailed(msg)
        plaintexts.append(int(message))
    return plaintexts


def combine_any(
    key: ThresholdKey, partials: Mapping[int, Sequence[Integer]], ciphertexts: Sequence[Integer]
) -> tuple[list[int], tuple[int, ...]]:
    """Decrypt with any ``threshold`` of the given holders that agree with the ciphertexts.

    Returns:
        The plaintexts, and the numbers of holders found to have sent a wrong partial decryption.

    Raises:
        VerificationFailed: No group of ``threshold`` holders gives a result that proves itself.
    """
    for group in itertools.combinations(sorted(partials), key.threshold):
        chosen = {index: partials[index] for index in group}
        try:
            plaintexts = combine(key, chosen, ciphertexts)
        except VerificationFailed:
            continue
        return plaintexts, _culprits(key, partials, group, ciphertexts)
    msg = f"No {key.threshold} of the {len(partials)} partial decryptions combine."
    raise VerificationFailed(msg, hint="Ask the holders to check the key share they imported.")


def _culprits(
    key: ThresholdKey,
    partials: Mapping[int, Sequence[Integer]],
    good: tuple[int, ...],
    ciphertexts: Sequence[Integer],
) -> tuple[int, ...]:
    """Holders skipped on the way to ``good`` whose partials don't combine with good ones."""
    wrong = []
    for index in sorted(set(partials) - set(good)):
        if index > max(good):
            continue  # never tried: the first group was good, so nothing speaks against it
        group = (index, *good[: key.threshold - 1])
        try:
            combine(key, {i: partials[i] for i in group}, ciphertexts)
        except VerificationFailed:
            wrong.append(index)
    return tuple(wrong)


def _lagrange(key: ThresholdKey, indices: Sequence[int]) -> dict[int, Integer]:
    """``2 n! lambda_i(0)``, integers, for interpolation at zero."""
    weights = {}
    for i in indices:
        numerator, denominator = key.delta, 1
        for j in indices:
            if j != i:
                numerator *= -j
                denominator *= i - j
        weights[i] = mpz(2 * (numerator // denominator))
    return weights
