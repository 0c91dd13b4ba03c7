"""One proof that whoever made a vector of ciphertexts knows every plaintext in it.

Paillier ciphertexts can be multiplied and raised without being read; a party that must prove that
it knows what it encrypts can't submit another's ciphertext in disguise. Three moves, one mask for
the whole vector (amortised sigma protocols: Cramer, Damgård, Keller, J. Cryptology 27, 2014; the
extractor is that of Attema, Fehr, Resch, TCC 2023)::

    A = (1 + xN) h^u                      x uniform below N, u long
    e_1 ... e_L = H(everything above and below)
    z = x + sum e_j m_j mod N,            s = u + sum e_j rho_j over the integers
    check: (1 + zN) h^s = A prod C_j^e_j mod N^2

Strong Fiat-Shamir (Bernhard, Pereira, Warinschi, ASIACRYPT 2012): key, context, ciphertexts, count
and A are all hashed. It says nothing about how large a plaintext is. Claim, and what in it is
heuristic: ``docs/claims/contributions.md``.

Never: prove twice with the same x and u (two answers show every plaintext). Both are drawn inside
:func:`prove`, leave it only blinded and are kept nowhere; what is sent again is the same bytes.

Wire format, little-endian, fixed width: A (as a ciphertext) | z (as a plaintext) | s.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import gmpy2
from gmpy2 import mpz

from fusion.crypto import rng
from fusion.crypto.paillier.engines.selection import current
from fusion.crypto.paillier.randomisers import base_powers, uniform_below
from fusion.crypto.paillier.residues import integers, rows_from, rows_of
from fusion.crypto.paillier.vectors import MAX_CIPHERTEXTS
from fusion.errors import InputInvalid, MessageInvalid, VerificationFailed

if TYPE_CHECKING:
    from gmpy2 import mpz as Integer

    from fusion.crypto.paillier.keys import PublicKey
    from fusion.crypto.paillier.residues import Rows

CHALLENGE_BITS: Final = 128
"""Soundness error 2^-128, for every ciphertext."""

STATISTICAL_BITS: Final = 128
"""How much longer u is than what it hides."""

_DOMAIN: Final = b"banyan/plaintext-knowledge/v1"


@dataclass(frozen=True, slots=True)
class Proof:
    """A proof as numbers.

    Attributes:
        commitment: A, a unit modulo N^2.
        message: z, below N.
        exponent: s, below ``2 ** (mask_bits + 1)``.
    """

    commitment: int
    message: int
    exponent: int


def mask_bits(key: PublicKey, count: int) -> int:
    """Return the length of u: a constant of key and count, never of the exponents it hides.

    Args:
        key: The public key.
        count: Number of ciphertexts.

    Raises:
        MessageInvalid: None, or more than the table of powers has room for.
    """
    if not 1 <= count <= MAX_CIPHERTEXTS:
        msg = f"A proof is about 1 to {MAX_CIPHERTEXTS} ciphertexts, not {count}."
        raise MessageInvalid(msg)
    return key.randomiser_bits + CHALLENGE_BITS + (count - 1).bit_length() + STATISTICAL_BITS


def proof_size(key: PublicKey, count: int) -> int:
    """Return the bytes of a serialised proof."""
    return key.ciphertext_bytes + key.plaintext_bytes + _exponent_bytes(key, count)


def _exponent_bytes(key: PublicKey, count: int) -> int:
    return -(-(mask_bits(key, count) + 1) // 8)


def to_bytes(key: PublicKey, count: int, proof: Proof) -> bytes:
    """Serialise in the format above.

    Raises:
        OverflowError: A number is negative or longer than its place.
    """
    return (
        int(proof.commitment).to_bytes(key.ciphertext_bytes, "little")
        + int(proof.message).to_bytes(key.plaintext_bytes, "little")
        + int(proof.exponent).to_bytes(_exponent_bytes(key, count), "little")
    )


def from_bytes(key: PublicKey, count: int, data: bytes) -> Proof:
    """Read a proof about ``count`` ciphertexts; the length is checked before anything is read.

    Raises:
        MessageInvalid: Wrong length, or a number out of its range.
    """
    if len(data) != proof_size(key, count):
        msg = f"A proof has {len(data)} bytes; {proof_size(key, count)} are expected."
        raise MessageInvalid(msg)
    first, second = key.ciphertext_bytes, key.ciphertext_bytes + key.plaintext_bytes
    parts = (data[:first], data[first:second], data[second:])
    a, z, s = (mpz.from_bytes(part, "little") for part in parts)
    if not (1 < a < key.n_squared and z < key.n and s.bit_length() <= mask_bits(key, count) + 1):
        msg = "A number in a proof lies outside its range."
        raise MessageInvalid(msg)
    if gmpy2.gcd(a, key.n) != 1:
        msg = "The commitment of a proof is not invertible modulo N."
        raise MessageInvalid(msg)
    return Proof(int(a), int(z), int(s))


def challenges(key: PublicKey, context: bytes, ciphertexts: Rows, commitment: int) -> Rows:
    """Return one independent 128-bit challenge a ciphertext: SHAKE-256 over all that is public.

    Args:
        key: The public key.
        context: Who proves, when and to whom.
        ciphertexts: All of them, as they are sent.
        commitment: A.
    """
    width = CHALLENGE_BITS // 8
    state = hashlib.shake_256()
    for part in (
        _DOMAIN,
        bytes.fromhex(key.fingerprint),
        context,
        hashlib.sha256(ciphertexts.tobytes()).digest(),
        len(ciphertexts).to_bytes(8, "little"),
        commitment.to_bytes(key.ciphertext_bytes, "little"),
    ):
        state.update(len(part).to_bytes(8, "little"))
        state.update(part)
    return rows_from(state.digest(width * len(ciphertexts)), width)


def prove(
    key: PublicKey, context: bytes, ciphertexts: Rows, plaintexts: Rows, exponents: Rows
) -> bytes:
    """Return a proof, in wire form, that the plaintexts of ``ciphertexts`` are known.

    Args:
        key: The public key.
        context: Binds the proof to one party and one occasion.
        ciphertexts: From ``Djn(key).encrypt_with(plaintexts, exponents)``.
        plaintexts: Below N.
        exponents: Of ``key.randomiser_bits``.

    Raises:
        InputInvalid: Not as many of each.
    """
    count = len(ciphertexts)
    if not len(plaintexts) == len(exponents) == count:
        msg = "A proof needs one plaintext and one exponent a ciphertext."
        raise InputInvalid(msg)
    bits = mask_bits(key, count)
    x = uniform_below(key.modulus, 1)
    u = rows_of([rng.bits(bits)], _exponent_bytes(key, count))
    # The one step whose time could depend on a secret: the engine's fixed base.
    a = int(integers(base_powers(key, current().name).powers(u, x))[0])
    public = integers(challenges(key, context, ciphertexts, a))
    z = (integers(x)[0] + _combined(public, integers(plaintexts))) % key.n
    s = integers(u)[0] + _combined(public, integers(exponents))
    return to_bytes(key, count, Proof(a, int(z), int(s)))


def _combined(weights: list[Integer], values: list[Integer]) -> Integer:
    """Return the sum of weight times value."""
    return sum((w * v for w, v in zip(weights, values, strict=True)), mpz(0))


def verify(key: PublicKey, context: bytes, ciphertexts: Rows, data: bytes) -> None:
    """Return if ``data`` proves knowledge of the plaintexts of ``ciphertexts`` in this context.

    Args:
        key: The public key.
        context: As the prover had it.
        ciphertexts: Units other than 1, as :func:`fusion.crypto.paillier.vectors.parse` gives them.
        data: The proof.

    Raises:
        MessageInvalid: Wrong length, or a number out of its range.
        VerificationFailed: It proves nothing of the kind.
    """
    proof = from_bytes(key, len(ciphertexts), data)
    check(key, ciphertexts, proof, challenges(key, context, ciphertexts, proof.commitment))


def check(key: PublicKey, ciphertexts: Rows, proof: Proof, public: Rows) -> None:
    """Check the equation for given challenges: on its own, as sound as whoever chose them.

    Raises:
        VerificationFailed: It does not hold.
    """
    exponent = rows_of([proof.exponent], _exponent_bytes(key, len(ciphertexts)))
    message = rows_of([proof.message], key.plaintext_bytes)
    left = integers(base_powers(key, current().name).powers(exponent, message))[0]
    right = proof.commitment * mpz(key.ring.multi_power(ciphertexts, public)) % key.n_squared
    if left != right:
        msg = "A proof of plaintext knowledge does not verify."
        raise VerificationFailed(msg)
