"""Threshold decryption by N-th roots: deal, partially decrypt, combine.

Shoup's threshold RSA (EUROCRYPT 2000) with public exponent e = N. A share holder raises
``c mod N`` to its share; t of them give ``r = c^(1/N) mod N``, and ``c r^-N mod N^2 = 1 + mN``.
The result proves itself: it has that form exactly if every partial decryption was right. Who was
wrong if it does not, :mod:`.share_proofs` tells.

A key may be dealt for degree 2 (:mod:`~fusion.crypto.paillier.damgard_jurik`): its shares are those
of the N^2-th root, since ``c = (1+mN..) r^(N^2) mod N^3`` is ``r^(N^2)`` modulo N. A partial
decryption stays a power modulo N of the same cost, and only the combiner computes modulo N^3
(shares of the N-th root would do it too, but in two exchanges with the holders instead of one). The
degrees are kept apart by the width of their ciphertexts and not by the shares: those of either
degree would open the other's plaintexts modulo N.

Opening reveals the randomiser r of what is opened, so this must only ever be applied to a product
of contributions of at least two honest parties, whose randomisers mask each other. The gate in
:mod:`federated.protocols.secure_sum` sees to that; the argument: ``docs/claims/secure-sum.md``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import gmpy2
from gmpy2 import mpz

from fusion.crypto import rng
from fusion.crypto.paillier import damgard_jurik
from fusion.crypto.paillier.keys import PublicKey
from fusion.crypto.paillier.residues import integers, inverses, rows_of
from fusion.errors import KeyRefused, VerificationFailed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gmpy2 import mpz as Integer

    from fusion.crypto.paillier.residues import Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdKey:
    """The public side of a dealt key.

    Attributes:
        public: The Paillier key.
        threshold: Holders that must act together; more than half of all, so that two different
            sums can't be opened by disjoint groups.
        base: v, a random square modulo N.
        verifiers: ``v^share mod N`` for holder 1, 2, ..., n, against which a share is checked.
        degree: 1 or 2: whose roots the shares give.
    """

    public: PublicKey
    threshold: int
    base: int
    verifiers: tuple[int, ...]
    degree: int = 1

    def __post_init__(self) -> None:
        """Refuse a threshold that is not a majority.

        Raises:
            KeyRefused: Threshold or degree out of range.
        """
        if self.degree not in damgard_jurik.DEGREES:
            msg = f"A key of degree {self.degree} is refused; there are degrees 1 and 2."
            raise KeyRefused(msg)
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


def deal(
    p: int, q: int, *, threshold: int, holders: int, degree: int = 1
) -> tuple[ThresholdKey, list[int]]:
    """Split the exponent of the N^degree-th root, N = pq, into ``holders`` Shamir shares.

    Args:
        p: A safe prime.
        q: Another safe prime of the same length.
        threshold: Holders needed to decrypt.
        holders: Number of shares.
        degree: Of the ciphertexts that the shares open; another degree needs another dealing.

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
    secret = int(gmpy2.invert(public.n**degree, order))
    coefficients = [secret] + [rng.below(order) for _ in range(threshold - 1)]
    shares = [
        sum(c * index**power for power, c in enumerate(coefficients)) % order
        for index in range(1, holders + 1)
    ]
    base = gmpy2.powmod(rng.below(public.modulus - 2) + 2, 2, public.n)
    verifiers = tuple(int(gmpy2.powmod_sec(base, share, public.n)) for share in shares)
    key = ThresholdKey(
        public=public, threshold=threshold, base=int(base), verifiers=verifiers, degree=degree
    )
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


def partial(key: ThresholdKey, share: int, ciphertexts: Rows) -> Rows:
    """Return ``(c mod N)^(2 n! share) mod N`` for each ciphertext."""
    return key.public.root_ring.power(ciphertexts, 2 * key.delta * share)


def combine(key: ThresholdKey, partials: Mapping[int, Rows], ciphertexts: Rows) -> Rows:
    """Decrypt with the partial decryptions of exactly ``threshold`` holders.

    Args:
        key: The public side.
        partials: Holder's number to its partial decryptions, as long as ``ciphertexts``.
        ciphertexts: What was partially decrypted.

    Returns:
        The plaintexts.

    Raises:
        VerificationFailed: Too few holders, ciphertexts of another degree, or the result does not
            prove itself.
    """
    if ciphertexts.shape[1] != damgard_jurik.ciphertext_bytes(key.public, key.degree):
        msg = f"The ciphertexts are not those of a key dealt for degree {key.degree}."
        raise VerificationFailed(msg)
    if len(partials) != key.threshold:
        msg = f"{len(partials)} partial decryptions were given; {key.threshold} are needed."
        raise VerificationFailed(msg)
    public = key.public
    roots = _roots(key, partials, ciphertexts)
    lifted = public.ring.power(roots, public.modulus)
    if key.degree == 2:  # r^N modulo N^2 is enough: its N-th power modulo N^3 is r^(N^2)
        lifted = damgard_jurik.product_ring(public, 2).power(lifted, public.modulus)
    blinding = integers(lifted)
    plaintexts = []
    space = public.n**key.degree
    inverses = _inverses([y % space for y in blinding], space)
    for c, y, inverse in zip(integers(ciphertexts), blinding, inverses, strict=True):
        # c = (1 + tN) y asks that c = y (mod N), and t = (c - y) / N / y (mod N^degree).
        quotient, remainder = gmpy2.f_divmod(c - y, public.n)
        if remainder != 0:
            msg = "The partial decryptions do not combine: at least one of them is wrong."
            raise VerificationFailed(msg)
        t = quotient * inverse % space
        plaintexts.append(damgard_jurik.logarithm(t, public.n, key.degree))
    return rows_of(plaintexts, damgard_jurik.plaintext_bytes(public, key.degree))


def _roots(key: ThresholdKey, partials: Mapping[int, Rows], ciphertexts: Rows) -> Rows:
    """N^s-th roots of the ciphertexts modulo N, s the degree, if the partials are right.

    ``w = prod partial_i^(2 n! lambda_i) = r^(4 n!^2)`` and ``c = r^(N^s)``, so with
    ``4 n!^2 a - N^s b = 1`` the root is ``w^a / c^b``.
    """
    ring, n = key.public.root_ring, key.public.n
    above: list[Rows] = []
    below: list[Rows] = []
    for index, weight in _lagrange(key, sorted(partials)).items():
        (above if weight > 0 else below).append(ring.power(partials[index], abs(int(weight))))
    square = mpz(4 * key.delta * key.delta)
    space = n**key.degree
    a = gmpy2.invert(square, space)
    b = (square * a - 1) // space
    w = ring.product(above)
    if below:
        w = ring.product([w, _inverted(ring.product(below), n)])
    lift = _inverted(ring.power(ciphertexts, int(b)), n)
    return ring.product([ring.power(w, int(a)), lift])


def _inverted(rows: Rows, n: Integer) -> Rows:
    """Invert each row modulo N."""
    return rows_of(_inverses(integers(rows), n), rows.shape[1])


def _inverses(values: Sequence[Integer], n: Integer) -> list[Integer]:
    """Invert all.

    Raises:
        VerificationFailed: One of them is no unit.
    """
    try:
        return inverses(values, n)
    except ZeroDivisionError:
        msg = "A partial decryption is not invertible modulo N."
        raise VerificationFailed(msg) from None


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
