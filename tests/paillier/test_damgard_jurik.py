"""Degree 2: a quarter fewer bytes, opened by holders of its own dealing, and never mixed up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from gmpy2 import invert, jacobi, mpz, powmod

from fusion.crypto import rng
from fusion.crypto.paillier import damgard_jurik, packing, share_proofs, threshold, vectors
from fusion.crypto.paillier.randomisers import Djn, Exact
from fusion.crypto.paillier.residues import rows_of
from fusion.errors import InputInvalid, KeyRefused, MessageInvalid, VerificationFailed
from tests.keys import numbers
from tests.vectors.known import known

BINDING = bytes(range(32))
SLOTS = np.arange(150, dtype=np.uint64)
KEY = known(2048).public


def _layout(degree: int = 2, size: int = 150) -> packing.Layout:
    tensors = (packing.Tensor(name="w", size=size, kind="real"),)
    return packing.Layout(
        tensors=tensors, value_bits=24, contributors=1024, key_bits=2048, degree=degree
    )


def test_a_parameter_costs_a_quarter_fewer_bytes() -> None:
    one, two = (vectors.vector_size(KEY, _layout(degree, 1_000_000)) for degree in (1, 2))
    assert two / one == pytest.approx(0.75, abs=0.001)
    assert two / 1_000_000 < 6.41
    assert _layout(2).bytes_per_coordinate == pytest.approx(6.4)


@pytest.mark.parametrize("slots", [1, 119, 120, 121, 240])
def test_packing_is_undone(slots: int) -> None:
    layout = _layout(size=slots)
    values = np.full(slots, (1 << 34) - 1, np.uint64)
    packed = packing.pack(layout, values)
    assert max(numbers(packed)) < KEY.modulus**2
    assert packing.unpack(layout, packed).tolist() == values.tolist()


def test_the_sum_of_two_vectors_is_opened_by_any_three_holders() -> None:
    p, q = known(2048).private.p, known(2048).private.q
    key, shares = threshold.deal(p, q, threshold=3, holders=4, degree=2)
    one = vectors.encrypt(KEY, _layout(), BINDING, SLOTS)
    read = vectors.parse(KEY, _layout(), one.to_bytes(), binding=BINDING)
    total = vectors.add([one, read])
    answers = {}
    for index, share in enumerate(shares, 1):
        rows = threshold.partial(key, share, total.rows)
        assert rows.shape[1] == KEY.residue_bytes
        proof = share_proofs.prove(key, index, share, b"", total.rows, rows)
        answers[index] = share_proofs.Answer(rows, proof)
    answers[2] = replace(answers[2], partials=answers[2].partials ^ np.uint8(1))
    opened, wrong = share_proofs.combine(key, answers, b"", total.rows)
    assert opened is not None
    assert packing.unpack(_layout(), opened).tolist() == (2 * SLOTS).tolist()
    assert wrong == (2,)
    held = damgard_jurik.decrypt(known(2048).private, total.rows)
    assert held.tobytes() == opened.tobytes()


@pytest.mark.parametrize("degree", [1, 2])
def test_shares_of_one_degree_do_not_open_the_other(degree: int) -> None:
    other = 3 - degree
    key, shares = known(2048).dealing(degree)
    rows = known(2048).ciphertexts(other)[1:3]
    partials = {i: threshold.partial(key, shares[i - 1], rows) for i in (1, 2, 3)}
    with pytest.raises(VerificationFailed, match="degree"):
        threshold.combine(key, partials, rows)


def test_fewer_holders_than_the_threshold_do_not_open() -> None:
    key, shares = known(2048).dealing(2)
    rows = known(2048).ciphertexts(2)[1:2]
    weaker = threshold.ThresholdKey(
        public=KEY, threshold=2, base=key.base, verifiers=key.verifiers[:3], degree=2
    )
    partials = {i: threshold.partial(weaker, shares[i - 1], rows) for i in (1, 2)}
    with pytest.raises(VerificationFailed):
        threshold.combine(weaker, partials, rows)


def test_the_exponent_of_a_dealing_opens_what_a_single_power_would() -> None:
    """The argument for the dealing: c mod N is r^(N^2), and r^(N^2) mod N^3 is c without m."""
    private = known(2048).private
    n, order = KEY.n, mpz((private.p - 1) // 2 * ((private.q - 1) // 2))
    message, r = rng.below(int(n * n)), powmod(rng.below(int(n) - 2) + 2, 2, n)
    c = powmod(1 + n, message, n**3) * powmod(r, n * n, n**3) % n**3
    root = powmod(c % n, invert(n * n, order), n)
    assert root == r
    blinding = powmod(root, n * n, n**3)
    assert blinding % n == c % n
    assert c * invert(blinding, n**3) % n**3 == powmod(1 + n, message, n**3)


def test_the_header_names_the_degree() -> None:
    wire = vectors.encrypt(KEY, _layout(), BINDING, SLOTS).to_bytes()
    assert wire[5] == 2
    assert _layout(1).digest != _layout(2).digest
    with pytest.raises(MessageInvalid):
        vectors.parse(KEY, _layout(1), wire, binding=BINDING)
    with pytest.raises(MessageInvalid):
        vectors.add(
            [
                vectors.encrypt(KEY, _layout(degree), BINDING, SLOTS)
                for degree in damgard_jurik.DEGREES
            ]
        )


@pytest.mark.parametrize("value", [0, 1, known(2048).private.p, KEY.modulus**3])
def test_a_value_that_is_no_ciphertext_is_refused(value: int) -> None:
    wire = vectors.encrypt(KEY, _layout(), BINDING, SLOTS).to_bytes()
    width = damgard_jurik.ciphertext_bytes(KEY, 2)
    with pytest.raises(MessageInvalid):
        vectors.parse(
            KEY, _layout(), wire[:-width] + value.to_bytes(width, "little"), binding=BINDING
        )


def test_a_randomiser_of_another_degree_is_refused() -> None:
    for layout, blind in (
        (_layout(2), Djn(KEY)),
        (_layout(2), Exact(known(2048).private)),
        (_layout(1), damgard_jurik.DjnSquared(KEY)),
        (_layout(1), damgard_jurik.ExactSquared(known(2048).private)),
    ):
        with pytest.raises(InputInvalid, match="degree"):
            vectors.encrypt(KEY, layout, BINDING, SLOTS, blind)


def test_there_is_no_third_degree() -> None:
    with pytest.raises(InputInvalid, match="degree"):
        _layout(3)
    key, _ = known(2048).dealing(1)
    with pytest.raises(KeyRefused, match="degree"):
        threshold.ThresholdKey(
            public=KEY, threshold=3, base=key.base, verifiers=key.verifiers, degree=0
        )


def test_no_two_encryptions_are_alike() -> None:
    rows = rows_of([5] * 9, damgard_jurik.plaintext_bytes(KEY, 2))
    for blind in (damgard_jurik.DjnSquared(KEY), damgard_jurik.ExactSquared(known(2048).private)):
        assert len(set(numbers(blind.encrypt(rows)))) == 9


def test_an_exact_randomiser_is_a_residue_of_full_order() -> None:
    """Modulo p, the blinding is a power of a generator: of every order, not of squares alone."""
    private = known(2048).private
    blind = damgard_jurik.ExactSquared(private)
    made = numbers(blind.encrypt(rows_of([0] * 40, damgard_jurik.plaintext_bytes(KEY, 2))))
    for prime in (private.p, private.q):
        assert {jacobi(c, prime) for c in made} == {1, -1}
    assert numbers(damgard_jurik.decrypt(private, rows_of(made, 768))) == [0] * 40
