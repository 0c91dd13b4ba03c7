"""One proof that all of a holder's partial decryptions were made with the share it was dealt.

Shoup's proof of a correct share ("Practical Threshold Signatures", EUROCRYPT 2000: equality of two
discrete logarithms in the squares modulo N, statistical zero knowledge), over one random
combination of all ciphertexts instead of one proof each. With ``X = (prod c_j^e_j)^(4 n!)`` and
``Y = (prod p_j^e_j)^2``::

    v_i = v^share    and    Y = X^share          r long, c = H(..., v^r, X^r), z = r + c share

The weights e_j are hashed from all ciphertexts and all partial decryptions, 128 bits each. Squares
modulo N have no element of small order (N is made of safe primes), so one wrong partial decryption
shows with all but 2^-128. A partial decryption is determined up to a root of unity, which its even
exponents in :mod:`.threshold` remove. Claim: ``docs/claims/contributions.md``.

Wire format, little-endian, fixed width: c (16 bytes) | z.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import gmpy2
from gmpy2 import mpz

from fusion.crypto import rng
from fusion.crypto.paillier import threshold
from fusion.crypto.paillier.residues import integers, rows_from, rows_of
from fusion.errors import MessageInvalid, VerificationFailed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gmpy2 import mpz as Integer

    from fusion.crypto.paillier.keys import PublicKey
    from fusion.crypto.paillier.residues import Rows
    from fusion.crypto.paillier.threshold import ThresholdKey

CHALLENGE_BITS: Final = 128
STATISTICAL_BITS: Final = 128
_DOMAIN: Final = b"banyan/share-proof/v1"


@dataclass(frozen=True, slots=True)
class Answer:
    """What one holder sends back.

    Attributes:
        partials: Its partial decryptions, residues modulo N.
        proof: That they are right, in wire form; looked at only if something is wrong.
    """

    partials: Rows
    proof: bytes


@dataclass(frozen=True, slots=True)
class Statement:
    """What is proved: that one exponent takes ``base`` to ``verifier`` and X to Y."""

    seed: bytes
    x: Integer
    y: Integer


def proof_size(key: PublicKey) -> int:
    """Return the bytes of a proof."""
    return CHALLENGE_BITS // 8 + _response_bytes(key)


def _response_bytes(key: PublicKey) -> int:
    return (key.bits + CHALLENGE_BITS + STATISTICAL_BITS) // 8 + 1


def prove(
    key: ThresholdKey, index: int, share: int, context: bytes, ciphertexts: Rows, partials: Rows
) -> bytes:
    """Return a proof, in wire form, about partial decryptions that were made with ``share``.

    Args:
        key: The public side.
        index: Holder's number, from 1.
        share: Its secret share.
        context: Which opening this is.
        ciphertexts: What was partially decrypted.
        partials: From :func:`fusion.crypto.paillier.threshold.partial`.
    """
    public = key.public
    stated = _statement(key, index, context, ciphertexts, partials)
    r = rng.bits(public.bits + CHALLENGE_BITS + STATISTICAL_BITS)
    bases = rows_of([key.base, stated.x], public.residue_bytes)
    first, second = integers(public.root_ring.power(bases, r))
    c = _challenge(public, stated, first, second)
    z = r + c * share
    return c.to_bytes(CHALLENGE_BITS // 8, "little") + z.to_bytes(_response_bytes(public), "little")


def verify(
    key: ThresholdKey, index: int, context: bytes, ciphertexts: Rows, answer: Answer
) -> None:
    """Return if a holder's partial decryptions are right.

    Raises:
        MessageInvalid: The proof has another length.
        VerificationFailed: It proves nothing of the kind.
    """
    public, data = key.public, answer.proof
    if len(data) != proof_size(public):
        msg = f"A share's proof has {len(data)} bytes; {proof_size(public)} are expected."
        raise MessageInvalid(msg)
    width = CHALLENGE_BITS // 8
    c = int.from_bytes(data[:width], "little")
    z = mpz.from_bytes(data[width:], "little")
    stated = _statement(key, index, context, ciphertexts, answer.partials)
    n, verifier = public.n, mpz(key.verifiers[index - 1])
    if gmpy2.gcd(stated.y * verifier, n) != 1:
        msg = "A partial decryption is not invertible modulo N."
        raise VerificationFailed(msg)
    first = gmpy2.powmod(key.base, z, n) * gmpy2.powmod(verifier, -c, n) % n
    second = gmpy2.powmod(stated.x, z, n) * gmpy2.powmod(stated.y, -c, n) % n
    if c != _challenge(public, stated, first, second):
        msg = f"The partial decryptions of holder {index} do not belong to its share."
        raise VerificationFailed(msg)


def _statement(
    key: ThresholdKey, index: int, context: bytes, ciphertexts: Rows, partials: Rows
) -> Statement:
    """Fold all ciphertexts and all partial decryptions into one pair."""
    public, width = key.public, CHALLENGE_BITS // 8
    if len(ciphertexts) != len(partials):
        msg = f"{len(partials)} partial decryptions belong to {len(ciphertexts)} ciphertexts."
        raise VerificationFailed(msg)
    state = hashlib.shake_256()
    for part in (
        _DOMAIN,
        bytes.fromhex(public.fingerprint),
        key.base.to_bytes(public.residue_bytes, "little"),
        key.verifiers[index - 1].to_bytes(public.residue_bytes, "little"),
        b"".join(n.to_bytes(4, "little") for n in (key.threshold, key.holders, index)),
        context,
        len(ciphertexts).to_bytes(8, "little"),
        hashlib.sha256(ciphertexts.tobytes()).digest(),
        hashlib.sha256(partials.tobytes()).digest(),
    ):
        state.update(len(part).to_bytes(8, "little"))
        state.update(part)
    stream = state.digest(32 + width * len(ciphertexts))
    weights = rows_from(stream[32:], width)
    reduced = rows_of((c % public.n for c in integers(ciphertexts)), public.residue_bytes)
    ring = public.root_ring
    x = gmpy2.powmod(ring.multi_power(reduced, weights), 4 * key.delta, public.n)
    y = gmpy2.powmod(ring.multi_power(partials, weights), 2, public.n)
    return Statement(stream[:32], x, y)


def _challenge(public: PublicKey, stated: Statement, first: Integer, second: Integer) -> int:
    """Hash the statement and the prover's two commitments."""
    state = hashlib.shake_256(_DOMAIN + b"/challenge" + stated.seed)
    for number in (stated.x, stated.y, first, second):
        state.update(int(number).to_bytes(public.residue_bytes, "little"))
    return int.from_bytes(state.digest(CHALLENGE_BITS // 8), "little")


def combine(
    key: ThresholdKey, answers: Mapping[int, Answer], context: bytes, ciphertexts: Rows
) -> tuple[Rows | None, tuple[int, ...]]:
    """Decrypt with ``threshold`` of the given holders, and name those whose answers are wrong.

    The result proves itself, so proofs are verified only when it does not.

    Args:
        key: The public side.
        answers: Holder's number to its answer.
        context: Which opening this is.
        ciphertexts: What was partially decrypted.

    Returns:
        The plaintexts, or None if too few answers are left; and the numbers of the holders whose
        proofs do not verify.

    Raises:
        VerificationFailed: Fewer answers than the threshold, or right ones that don't combine:
            the public side is not that of the shares.
    """
    chosen = sorted(answers)[: key.threshold]
    try:
        return threshold.combine(key, {i: answers[i].partials for i in chosen}, ciphertexts), ()
    except VerificationFailed:
        if len(chosen) < key.threshold:
            raise
    wrong = []
    for index in sorted(answers):
        try:
            verify(key, index, context, ciphertexts, answers[index])
        except VerificationFailed:
            wrong.append(index)
    right = [index for index in sorted(answers) if index not in wrong][: key.threshold]
    if len(right) < key.threshold:
        return None, tuple(wrong)
    partials = {i: answers[i].partials for i in right}
    return threshold.combine(key, partials, ciphertexts), tuple(wrong)
