"""Widths that can't overflow, slots that are read back, and ciphertexts that are none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federated.protocols.vertical.gradients import MAX_ROWS, ONE, bounds, fields
from federated.protocols.vertical.packing import (
    Packing,
    check_ciphertexts,
    compressed,
    plaintexts,
    unpacked,
)
from fusion.crypto.paillier.keys import PrivateKey
from fusion.crypto.paillier.randomisers import Djn
from fusion.crypto.paillier.residues import integers, rows_of
from fusion.errors import InputInvalid, MessageInvalid

if TYPE_CHECKING:
    from tests.keys import Dealt


@given(
    objective=st.sampled_from(["logistic", "squared"]),
    rows=st.integers(1, MAX_ROWS),
    weight=st.floats(1, 50),
)
def test_a_field_holds_a_sum_over_all_rows(objective: str, rows: int, weight: float) -> None:
    gradient, hessian = bounds(objective, weight)  # type: ignore[arg-type]
    widths = fields(objective, rows, weight)  # type: ignore[arg-type]
    assert gradient * rows < 1 << (widths.gradient_bits - 1)
    assert hessian * rows < 1 << widths.hessian_bits


def test_more_rows_than_sums_are_exact_for_are_refused() -> None:
    with pytest.raises(InputInvalid, match="rows"):
        fields("logistic", MAX_ROWS + 1)


@pytest.mark.parametrize(
    "pairs",
    [
        np.array([[ONE + 1, 0]]),
        np.array([[0, ONE]]),
        np.array([[0, -1]]),
        np.array([[1, 1]] * 40),
    ],
)
def test_what_could_overflow_is_refused(dealt: Dealt, pairs: np.typing.NDArray[np.int64]) -> None:
    key = PrivateKey(*dealt.primes).public
    gradient, hessian = bounds("logistic")
    with pytest.raises(InputInvalid, match="overflow"):
        plaintexts(key, fields("logistic", 16), pairs, gradient, hessian)


@given(data=st.data())
@settings(max_examples=6, deadline=None)
def test_sums_come_back_from_their_slots(dealt: Dealt, data: st.DataObject) -> None:
    private = PrivateKey(*dealt.primes)
    key, widths = private.public, fields("logistic", 50)
    packing = Packing.of(key, widths)
    gradient, hessian = bounds("logistic")
    extremes = st.tuples(
        st.sampled_from([-gradient, gradient, 0, -1]), st.sampled_from([0, hessian, 1])
    )
    pairs = np.array(data.draw(st.lists(extremes, min_size=1, max_size=2 * packing.slots)))
    encrypted = Djn(key).encrypt(plaintexts(key, widths, pairs, gradient, hessian))
    tens = encrypted
    for _ in range(9):
        tens = key.product_ring.product([tens, encrypted])
    packed = compressed(key, packing, tens)
    assert len(packed) == packing.ciphertexts(len(pairs))
    found = unpacked(key, packing, private.decrypt(packed), len(pairs))
    assert np.array_equal(found, 10 * pairs)


def test_a_plaintext_of_something_else_is_refused(dealt: Dealt) -> None:
    key = PrivateKey(*dealt.primes).public
    packing = Packing.of(key, fields("logistic", 50))
    with pytest.raises(MessageInvalid, match="something else"):
        unpacked(key, packing, rows_of([key.modulus // 2], key.plaintext_bytes), 1)
    full = rows_of([1 << packing.fields.bits], key.plaintext_bytes)
    with pytest.raises(MessageInvalid, match="should be empty"):
        unpacked(key, packing, full, 1)


def test_what_is_no_ciphertext_is_refused(dealt: Dealt) -> None:
    key = PrivateKey(*dealt.primes).public
    good = integers(Djn(key).encrypt(rows_of([1, 2], key.plaintext_bytes)))
    for bad, rule in (
        (int(key.n_squared), "out of range"),
        (0, "no unit"),
        (dealt.primes[0], "no unit"),
    ):
        with pytest.raises(MessageInvalid, match=rule):
            check_ciphertexts(key, rows_of([*good, bad], key.ciphertext_bytes))
    check_ciphertexts(key, rows_of(good, key.ciphertext_bytes))
