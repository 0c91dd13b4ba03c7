"""The range proof of one ciphertext: exact at both ends, bound to its place, and no oracle."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gmpy2
import numpy as np
import pytest
from gmpy2 import mpz

from fusion.crypto import rng
from fusion.crypto.paillier import packing, ranges
from fusion.crypto.paillier.packing import Layout, Tensor
from fusion.crypto.paillier.residues import integers, rows_of
from fusion.errors import InputInvalid, MessageInvalid, VerificationFailed
from tests.proofs.victims import of

if TYPE_CHECKING:
    from fusion.crypto.paillier.keys import PublicKey
    from fusion.crypto.paillier.residues import Rows
    from tests.keys import Dealt

CONTEXT = b"dispute about round 1"
LAYOUT = Layout(
    tensors=(Tensor(name="w", size=5, kind="real"),), value_bits=6, contributors=4, key_bits=2048
)


@pytest.fixture(scope="module")
def key(dealt: Dealt) -> PublicKey:
    return dealt.key.public


def made(key: PublicKey, plaintext: int) -> tuple[Rows, tuple[Rows, Rows]]:
    """Encrypt a plaintext; return the ciphertext and what opens it."""
    vector = of(key, [plaintext])
    return vector.rows, (rows_of(vector.plaintexts, key.plaintext_bytes), vector.exponents)


def packed(*slots: int) -> int:
    """Return the plaintext with these slots."""
    return sum(slot << (LAYOUT.slot_bits * place) for place, slot in enumerate(slots))


def prove(key: PublicKey, plaintext: int) -> tuple[Rows, bytes]:
    rows, opening = made(key, plaintext)
    return rows, ranges.prove(key, LAYOUT, 0, CONTEXT, rows, opening)


@pytest.mark.parametrize(
    "slots", [(0, 0, 0, 0, 0), (63, 63, 63, 63, 63), (1, 0, 63, 32, 7)], ids=str
)
def test_what_is_in_range_is_proved(key: PublicKey, slots: tuple[int, ...]) -> None:
    rows, proof = prove(key, packed(*slots))
    assert len(proof) == ranges.proof_size(key, LAYOUT, 0)
    ranges.verify(key, LAYOUT, 0, CONTEXT, rows, proof)


@pytest.mark.parametrize(
    "plaintext",
    [
        packed(64, 0, 0, 0, 0),  # one more than a slot may hold
        packed(0, 0, 0, 0, 255),  # the guard bits of the last one
        packed(1, 2, 3, 4, 5) + (1 << 40),  # beyond the layout
        -1,
        1 << 2046,
    ],
)
def test_one_step_out_of_range_can_not_be_proved(key: PublicKey, plaintext: int) -> None:
    rows, proof = prove(key, plaintext % key.modulus)
    with pytest.raises(VerificationFailed, match="not those of its ciphertext"):
        ranges.verify(key, LAYOUT, 0, CONTEXT, rows, proof)


def test_the_last_plaintext_has_fewer_slots(key: PublicKey) -> None:
    layout = Layout(
        tensors=(Tensor(name="w", size=258, kind="real"),),
        value_bits=6,
        contributors=4,
        key_bits=2048,
    )
    assert (layout.slots, layout.plaintexts) == (255, 2)
    assert len(ranges.positions(layout, 1)) == 18
    for plaintext, good in ((63 << 16, True), (1 << 24, False)):
        rows, opening = made(key, plaintext)
        proof = ranges.prove(key, layout, 1, CONTEXT, rows, opening)
        if good:
            ranges.verify(key, layout, 1, CONTEXT, rows, proof)
        else:
            with pytest.raises(VerificationFailed):
                ranges.verify(key, layout, 1, CONTEXT, rows, proof)
    for index in (-1, 2):
        with pytest.raises(InputInvalid):
            ranges.positions(layout, index)


def test_a_bit_of_two_is_not_proved(key: PublicKey) -> None:
    """A cheater that commits to 2, and simulates both sides, has to guess the challenge."""
    rows, proof = prove(key, packed(2, 0, 0, 0, 0))
    data = bytearray(proof)
    size = ranges._bit_bytes(key)
    wide = key.ciphertext_bytes
    # Bit 0 becomes 2, bit 1 becomes 0: the link still holds, the sides of bit 0 don't.
    first, second = (mpz.from_bytes(data[k * size : k * size + wide], "little") for k in (0, 1))
    two = first * (1 + 2 * key.n) % key.n_squared
    zero = second * (1 - key.n) % key.n_squared
    data[:wide] = int(two).to_bytes(wide, "little")
    data[size : size + wide] = int(zero).to_bytes(wide, "little")
    with pytest.raises(VerificationFailed):
        ranges.verify(key, LAYOUT, 0, CONTEXT, rows, bytes(data))


def test_a_proof_is_for_one_context_place_layout_and_ciphertext(key: PublicKey) -> None:
    rows, proof = prove(key, packed(1, 2, 3, 4, 5))
    other_layout = Layout(
        tensors=(Tensor(name="v", size=5, kind="real"),),
        value_bits=6,
        contributors=4,
        key_bits=2048,
    )
    others, _ = made(key, packed(1, 2, 3, 4, 5))
    attempts = [
        (LAYOUT, b"another", rows),
        (other_layout, CONTEXT, rows),
        (LAYOUT, CONTEXT, others),
    ]
    for layout, context, ciphertext in attempts:
        with pytest.raises(VerificationFailed):
            ranges.verify(key, layout, 0, context, ciphertext, proof)


def test_any_changed_field_is_refused(key: PublicKey) -> None:
    rows, proof = prove(key, packed(1, 2, 3, 4, 5))
    wide, size = key.ciphertext_bytes, ranges._bit_bytes(key)
    fields = [0, wide, 2 * wide, 3 * wide, 3 * wide + 16, size - 161, size - 1]
    for where in (*fields, 29 * size, len(proof) - 600, len(proof) - 1):
        data = bytearray(proof)
        data[where] ^= 1
        with pytest.raises(VerificationFailed):
            ranges.verify(key, LAYOUT, 0, CONTEXT, rows, bytes(data))


def test_the_length_and_the_ranges_are_checked_first(key: PublicKey) -> None:
    rows, proof = prove(key, packed(1, 2, 3, 4, 5))
    for data in (b"", proof[:-1], proof + b"\0"):
        with pytest.raises(MessageInvalid, match="length"):
            ranges.verify(key, LAYOUT, 0, CONTEXT, rows, data)
    zero = bytes(key.ciphertext_bytes) + proof[key.ciphertext_bytes :]
    long = proof[: -key.residue_bytes] + b"\xff" * key.residue_bytes
    for data in (zero, long):
        with pytest.raises(MessageInvalid):
            ranges.verify(key, LAYOUT, 0, CONTEXT, rows, data)


def test_bits_of_zero_and_one_look_alike(key: PublicKey) -> None:
    """Both answers of a bit have the length of a mask, whichever side was simulated."""
    _, zero = prove(key, packed(0, 0, 0, 0, 0))
    _, one = prove(key, packed(63, 63, 63, 63, 63))
    start, size = 3 * key.ciphertext_bytes + 16, ranges._bit_bytes(key)
    for proof in (zero, one):
        for side in (0, 161):
            answers = [
                int.from_bytes(proof[k * size + start + side :][:161], "little") for k in range(30)
            ]
            assert max(a.bit_length() for a in answers) in (1279, 1280, 1281)
            assert min(a.bit_length() for a in answers) > 1255


def test_the_base_of_the_exponents_is_an_nth_power_that_anyone_recomputes(key: PublicKey) -> None:
    """An h that is no N-th residue would make the proofs say nothing: nobody can supply one."""
    root = gmpy2.powmod(key.randomiser_root, key.n, key.n_squared)
    assert root == key.randomiser_base
    assert gmpy2.jacobi(key.randomiser_root, key.n) == 1


# -------------------------------------------------------------------- what starts a dispute


def test_flagged_plaintexts_are_named(key: PublicKey) -> None:
    layout = Layout(
        tensors=(Tensor(name="w", size=400, kind="real"),),
        value_bits=6,
        contributors=4,
        key_bits=key.bits,
    )
    good = packing.pack(layout, np.full(400, 4 * 63, np.uint64))
    assert packing.flagged(layout, good, 4) == ()
    assert packing.flagged(layout, good, 3) == (0, 1)
    for index, place in ((0, 0), (0, 8 * 254), (1, 8 * 144), (1, 8 * 255)):
        values = integers(good)
        values[index] = values[index] | (mpz(255) << place)
        assert packing.flagged(layout, rows_of(values, key.plaintext_bytes), 4) == (index,)
    beyond = integers(good)
    beyond[1] += mpz(1) << (8 * 145)
    assert packing.flagged(layout, rows_of(beyond, key.plaintext_bytes), 4) == (1,)


def test_there_is_no_false_alarm() -> None:
    """Sums of well-formed contributions are never flagged: all sizes, all layouts."""
    for _ in range(60):
        contributors = 1 + rng.below(9)
        layout = Layout(
            tensors=(Tensor(name="w", size=1 + rng.below(700), kind="real"),),
            value_bits=2 + rng.below(38),
            contributors=contributors + rng.below(4),
            key_bits=2048,
        )
        total = np.zeros(layout.size, np.uint64)
        for _ in range(contributors):
            top = rng.below(2) == 1
            total += np.array(
                [
                    2**layout.value_bits - 1 if top else rng.bits(layout.value_bits)
                    for _ in range(layout.size)
                ],
                np.uint64,
            )
        assert packing.flagged(layout, packing.pack(layout, total), contributors) == ()
