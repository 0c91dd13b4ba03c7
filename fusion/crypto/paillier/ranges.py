"""An exact proof that every slot of one disputed ciphertext is in range: the slow path.

Made only when a decrypted sum can't be one of well-formed contributions, so that whoever caused it
is named. One commitment a bit, ``D = (1 + bN) h^r``; for each a proof that b is 0 or 1 without
saying which (Cramer, Damgård, Schoenmakers, CRYPTO 1994); and a proof that the bits are those of
the ciphertext: ``prod D_k^(2^position) / C`` is an N-th power (Guillou, Quisquater; Damgård, Jurik,
PKC 2001). All challenges are hashed at once (strong Fiat-Shamir) from the layout, the ciphertext
and every commitment. No slack: a slot value is at least 0 and at most ``2^value_bits - 1``.

A bit's side that is not true is simulated through the plaintext, ``(1 - eN)^(+-1) h^t``, so every
power of a secret goes through the engine's fixed base, whatever the bit. The verifier checks a
random combination of all equations, squared: up to a root of unity, which changes no plaintext.
Claim: ``docs/claims/contributions.md``.

Wire format, little-endian, fixed width, for each bit: D | A0 | A1 | e0 | s0 | s1; then A | v.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import gmpy2
import numpy as np
from gmpy2 import mpz

from fusion.crypto import rng
from fusion.crypto.paillier.engines.selection import current
from fusion.crypto.paillier.randomisers import Djn, base_powers, uniform_below
from fusion.crypto.paillier.residues import integers, rows_from, rows_of
from fusion.crypto.paillier.vectors import check_units
from fusion.errors import InputInvalid, MessageInvalid, VerificationFailed

if TYPE_CHECKING:
    from gmpy2 import mpz as Integer

    from fusion.crypto.paillier.keys import PublicKey
    from fusion.crypto.paillier.packing import Layout
    from fusion.crypto.paillier.residues import Rows

CHALLENGE_BITS: Final = 128
STATISTICAL_BITS: Final = 128
_CHALLENGE_BYTES: Final = CHALLENGE_BITS // 8
_DOMAIN: Final = b"banyan/range-proof/v1"


@dataclass(frozen=True, slots=True)
class _Moves:
    """Everything that is hashed: rows of residues, one a bit, and the link's commitment."""

    bits: Rows
    zeros: Rows
    ones: Rows
    link: Integer


@dataclass(frozen=True, slots=True)
class _Answers:
    """Everything that answers the challenges."""

    shares: list[Integer]
    zeros: list[Integer]
    ones: list[Integer]
    link: Integer


def positions(layout: Layout, index: int) -> list[int]:
    """Return the place of every bit that a plaintext may have set.

    Args:
        layout: The public layout.
        index: Which plaintext; the last one may have fewer slots.

    Raises:
        InputInvalid: The layout has no such plaintext.
    """
    if not 0 <= index < layout.plaintexts:
        msg = f"The layout has {layout.plaintexts} plaintexts; number {index} is not one of them."
        raise InputInvalid(msg)
    slots = min(layout.slots, layout.size - index * layout.slots)
    return [
        slot * layout.slot_bits + bit for slot in range(slots) for bit in range(layout.value_bits)
    ]


def _answer_bytes(key: PublicKey) -> int:
    return (key.randomiser_bits + CHALLENGE_BITS + STATISTICAL_BITS) // 8 + 1


def _bit_bytes(key: PublicKey) -> int:
    return 3 * key.ciphertext_bytes + _CHALLENGE_BYTES + 2 * _answer_bytes(key)


def proof_size(key: PublicKey, layout: Layout, index: int) -> int:
    """Return the bytes of a proof about one plaintext."""
    link = key.ciphertext_bytes + key.residue_bytes
    return len(positions(layout, index)) * _bit_bytes(key) + link


def prove(
    key: PublicKey,
    layout: Layout,
    index: int,
    context: bytes,
    ciphertext: Rows,
    opening: tuple[Rows, Rows],
) -> bytes:
    """Return a proof, in wire form, that one ciphertext is well formed.

    Args:
        key: The public key.
        layout: As agreed.
        index: Which plaintext of the layout.
        context: Binds the proof to one party and one occasion.
        ciphertext: One row.
        opening: Its plaintext and its exponent, one row each.
    """
    places = positions(layout, index)
    plaintext, rho = integers(opening[0])[0], integers(opening[1])[0]
    values = [int(plaintext >> place) & 1 for place in places]
    powers = base_powers(key, current().name)
    long = (key.randomiser_bits + CHALLENGE_BITS + STATISTICAL_BITS) // 8

    # The true side is (A = h^u), the other one (A = (1 -+ eN) h^t) for an e of its own choice.
    blinds = Djn(key).exponents(len(places))
    committed = powers.powers(blinds, rows_of(values, key.plaintext_bytes))
    masks = [rows_from(rng.token(long * len(places)), long) for _ in range(2)]
    chosen = rows_from(rng.token(_CHALLENGE_BYTES * len(places)), _CHALLENGE_BYTES)
    simulated = [
        (1 - 2 * value) * e % key.n for e, value in zip(integers(chosen), values, strict=True)
    ]
    true_side = powers.powers(masks[0])
    other_side = powers.powers(masks[1], rows_of(simulated, key.plaintext_bytes))
    picked = np.array(values, dtype=bool)[:, None]
    zeros = np.where(picked, other_side, true_side)
    ones = np.where(picked, true_side, other_side)
    root = uniform_below(key.modulus, 1)
    link = integers(key.ring.power(root, key.modulus))[0]

    moves = _Moves(committed, zeros, ones, link)
    challenges, last = _challenges(key, layout, index, context, ciphertext, moves)
    exponents = integers(blinds)
    answers = _answers(values, challenges, chosen, masks, exponents)
    total = sum((r << place for r, place in zip(exponents, places, strict=True)), mpz(0))
    answers.append(integers(root)[0] * _root_of_link(key, total, rho, last) % key.n)
    shares, at_zero, at_one = answers[0:-1:3], answers[1:-1:3], answers[2:-1:3]
    return _to_bytes(key, moves, _Answers(shares, at_zero, at_one, answers[-1]))


def _answers(
    values: list[int], challenges: Rows, chosen: Rows, masks: list[Rows], exponents: list[Integer]
) -> list[Integer]:
    """Return e0, s0, s1 of each bit, one after the other."""
    out: list[Integer] = []
    whole = mpz(1) << CHALLENGE_BITS
    each = (integers(rows) for rows in (challenges, chosen, *masks))
    for value, c, e, u, t, r in zip(values, *each, exponents, strict=True):
        own = (c - e) % whole
        true, other = u + own * r, t + e * r
        # Picked by arithmetic: no branch depends on a bit.
        out += [
            own + value * (e - own),
            true + value * (other - true),
            other + value * (true - other),
        ]
    return out


def _root_of_link(key: PublicKey, total: Integer, rho: Integer, challenge: int) -> Integer:
    """N-th root of the link to the power of its challenge: ``h = (x^2)^N`` for a public x."""
    n = key.n
    base = rows_of([key.randomiser_root], key.residue_bytes)
    above = integers(key.root_ring.power(base, int(total)))[0]
    below = integers(key.root_ring.power(base, int(rho)))[0]
    root = rows_of([above * gmpy2.invert(below, n) % n], key.residue_bytes)
    return integers(key.root_ring.power(root, challenge))[0]


def verify(
    key: PublicKey, layout: Layout, index: int, context: bytes, ciphertext: Rows, data: bytes
) -> None:
    """Return if ``data`` proves that one ciphertext is well formed.

    Args:
        key: The public key.
        layout: As agreed.
        index: Which plaintext of the layout.
        context: As the prover had it.
        ciphertext: One row, a unit.
        data: The proof.

    Raises:
        MessageInvalid: Wrong length, or a number out of its range.
        VerificationFailed: It proves nothing of the kind.
    """
    places = positions(layout, index)
    moves, answers = _from_bytes(key, len(places), data)
    challenges, last = _challenges(key, layout, index, context, ciphertext, moves)
    _check_bits(key, moves, answers, integers(challenges))
    product = mpz(1)
    committed = dict(zip(places, integers(moves.bits), strict=True))
    for place in range(places[-1], -1, -1):
        product = product * product % key.n_squared
        if place in committed:
            product = product * committed[place] % key.n_squared
    y = product * gmpy2.invert(integers(ciphertext)[0], key.n_squared) % key.n_squared
    left = gmpy2.powmod(answers.link, key.n, key.n_squared)
    if left != moves.link * gmpy2.powmod(y, last, key.n_squared) % key.n_squared:
        msg = "A range proof's bits are not those of its ciphertext."
        raise VerificationFailed(msg)


def _check_bits(
    key: PublicKey, moves: _Moves, answers: _Answers, challenges: list[Integer]
) -> None:
    """Check ``h^s = A Y^e`` for both sides of every bit, all at once, under random weights."""
    whole = mpz(1) << CHALLENGE_BITS
    count = len(challenges)
    width = _CHALLENGE_BYTES
    weights = [rows_from(rng.token(width * count), width) for _ in range(2)]
    on_h, on_plaintext, on_bits = mpz(0), mpz(0), []
    for c, e0, s0, s1, t0, t1 in zip(
        challenges, answers.shares, answers.zeros, answers.ones, *map(integers, weights),
        strict=True,
    ):  # fmt: skip
        e1 = (c - e0) % whole
        on_h += t0 * s0 + t1 * s1
        on_plaintext += t1 * e1  # Y of the side "it is 1" is D / (1 + N)
        on_bits.append(t0 * e0 + t1 * e1)
    ring, order = key.ring, key.n_squared
    right = mpz(ring.multi_power(moves.bits, rows_of(on_bits, 2 * width + 1)))
    right = right * ring.multi_power(moves.zeros, weights[0]) % order
    right = right * ring.multi_power(moves.ones, weights[1]) % order
    right = right * (1 - on_plaintext % key.n * key.n) % order
    left = gmpy2.powmod(key.randomiser_base, on_h, order)
    if left * left % order != right * right % order:
        msg = "A range proof has a bit that is neither 0 nor 1."
        raise VerificationFailed(msg)


def _challenges(
    key: PublicKey, layout: Layout, index: int, context: bytes, ciphertext: Rows, moves: _Moves
) -> tuple[Rows, int]:
    """Return a challenge for each bit, and one for the link."""
    state = hashlib.shake_256()
    for part in (
        _DOMAIN,
        bytes.fromhex(key.fingerprint),
        bytes.fromhex(layout.digest),
        index.to_bytes(8, "little"),
        context,
        ciphertext.tobytes(),
        moves.bits.tobytes(),
        moves.zeros.tobytes(),
        moves.ones.tobytes(),
        int(moves.link).to_bytes(key.ciphertext_bytes, "little"),
    ):
        state.update(len(part).to_bytes(8, "little"))
        state.update(part)
    stream = state.digest(_CHALLENGE_BYTES * (len(moves.bits) + 1))
    rows = rows_from(stream, _CHALLENGE_BYTES)
    return rows[:-1], int(integers(rows[-1:])[0])


def _to_bytes(key: PublicKey, moves: _Moves, answers: _Answers) -> bytes:
    """Serialise in the format above."""
    long = _answer_bytes(key)
    table = np.concatenate(
        [
            moves.bits, moves.zeros, moves.ones, rows_of(answers.shares, _CHALLENGE_BYTES),
            rows_of(answers.zeros, long), rows_of(answers.ones, long),
        ],
        axis=1,
    )  # fmt: skip
    link = int(moves.link).to_bytes(key.ciphertext_bytes, "little")
    return table.tobytes() + link + int(answers.link).to_bytes(key.residue_bytes, "little")


def _from_bytes(key: PublicKey, count: int, data: bytes) -> tuple[_Moves, _Answers]:
    """Read a proof about ``count`` bits; the length is checked before anything is read.

    Raises:
        MessageInvalid: Wrong length, a number out of its range, or a commitment that is no unit.
    """
    body, wide = count * _bit_bytes(key), key.ciphertext_bytes
    if len(data) != body + wide + key.residue_bytes:
        msg = f"A range proof about {count} bits has another length than {len(data)} bytes."
        raise MessageInvalid(msg)
    table = rows_from(data[:body], _bit_bytes(key))
    long = _answer_bytes(key)
    ends = np.cumsum([wide, wide, wide, _CHALLENGE_BYTES, long])
    bits, zeros, ones, e, s0, s1 = (np.ascontiguousarray(p) for p in np.split(table, ends, axis=1))
    link_row = rows_from(data[body : body + wide], wide)
    check_units(key, np.concatenate([bits, zeros, ones, link_row]))
    answer = mpz.from_bytes(data[body + wide :], "little")
    limit = key.randomiser_bits + CHALLENGE_BITS + STATISTICAL_BITS + 1
    answers = _Answers(integers(e), integers(s0), integers(s1), answer)
    if answer >= key.n or any(s.bit_length() > limit for s in (*answers.zeros, *answers.ones)):
        msg = "A number in a range proof lies outside its range."
        raise MessageInvalid(msg)
    return _Moves(bits, zeros, ones, integers(link_row)[0]), answers
