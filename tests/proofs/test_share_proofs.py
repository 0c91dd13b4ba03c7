"""Proofs of correct share: right ones combine, wrong ones are named, exactly."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import gmpy2
import numpy as np
import pytest

from fusion.crypto.paillier import share_proofs, threshold
from fusion.crypto.paillier.residues import integers, rows_of
from fusion.crypto.paillier.share_proofs import Answer
from fusion.errors import MessageInvalid, VerificationFailed
from tests.keys import encrypted, numbers

if TYPE_CHECKING:
    from fusion.crypto.paillier.residues import Rows
    from tests.keys import Dealt

CONTEXT = b"opening of round 1"
MESSAGES = [7, 0, 2**300]


@pytest.fixture(scope="module")
def ciphertexts(dealt: Dealt) -> Rows:
    return encrypted(dealt.key.public, MESSAGES)


def answer(dealt: Dealt, index: int, ciphertexts: Rows, share: int | None = None) -> Answer:
    """Answer as holder ``index``, with its own share or another one."""
    used = dealt.shares[index - 1] if share is None else share
    partials = threshold.partial(dealt.key, used, ciphertexts)
    proof = share_proofs.prove(dealt.key, index, used, CONTEXT, ciphertexts, partials)
    return Answer(partials, proof)


def test_right_answers_verify_and_combine(dealt: Dealt, ciphertexts: Rows) -> None:
    answers = {index: answer(dealt, index, ciphertexts) for index in (1, 2, 3, 4)}
    for index, each in answers.items():
        assert len(each.proof) == share_proofs.proof_size(dealt.key.public)
        share_proofs.verify(dealt.key, index, CONTEXT, ciphertexts, each)
    plaintexts, wrong = share_proofs.combine(dealt.key, answers, CONTEXT, ciphertexts)
    assert plaintexts is not None
    assert (numbers(plaintexts), wrong) == (MESSAGES, ())


@pytest.mark.parametrize("bad", [(1,), (2,), (4,), (1, 3), (1, 2, 3, 4)])
def test_exactly_the_culprits_are_named(
    dealt: Dealt, ciphertexts: Rows, bad: tuple[int, ...]
) -> None:
    answers = {index: answer(dealt, index, ciphertexts) for index in (1, 2, 3, 4)}
    for index in bad:
        answers[index] = answer(dealt, index, ciphertexts, dealt.shares[index - 1] + 1)
    plaintexts, wrong = share_proofs.combine(dealt.key, answers, CONTEXT, ciphertexts)
    if bad == (4,):
        bad = ()  # three right ones combine: the fourth is not even looked at
    assert wrong == bad
    if len(bad) <= 1:
        assert plaintexts is not None
        assert numbers(plaintexts) == MESSAGES
    else:
        assert plaintexts is None


def test_one_wrong_partial_decryption_among_many_shows(dealt: Dealt, ciphertexts: Rows) -> None:
    right = answer(dealt, 1, ciphertexts)
    for index in range(len(ciphertexts)):
        partials = right.partials.copy()
        partials[index, 0] ^= 1
        proof = share_proofs.prove(dealt.key, 1, dealt.shares[0], CONTEXT, ciphertexts, partials)
        for each in (Answer(partials, right.proof), Answer(partials, proof)):
            with pytest.raises(VerificationFailed):
                share_proofs.verify(dealt.key, 1, CONTEXT, ciphertexts, each)


def test_errors_that_cancel_under_equal_weights_show(dealt: Dealt, ciphertexts: Rows) -> None:
    """Without random weights these two would: one times g, another divided by it."""
    n = dealt.key.public.n
    right = integers(answer(dealt, 1, ciphertexts).partials)
    changed = [right[0] * 3 % n, right[1] * gmpy2.invert(3, n) % n, right[2]]
    assert gmpy2.f_mod(changed[0] * changed[1], n) == gmpy2.f_mod(right[0] * right[1], n)
    partials = rows_of(changed, dealt.key.public.residue_bytes)
    proof = share_proofs.prove(dealt.key, 1, dealt.shares[0], CONTEXT, ciphertexts, partials)
    with pytest.raises(VerificationFailed):
        share_proofs.verify(dealt.key, 1, CONTEXT, ciphertexts, Answer(partials, proof))


def test_a_sign_is_no_error(dealt: Dealt, ciphertexts: Rows) -> None:
    """Combining uses even exponents: a partial decryption and its negative give one result."""
    n = dealt.key.public.n
    answers = {index: answer(dealt, index, ciphertexts) for index in (1, 2, 3)}
    negated = rows_of(
        (n - p for p in integers(answers[1].partials)), dealt.key.public.residue_bytes
    )
    answers[1] = Answer(negated, answers[1].proof)
    plaintexts, wrong = share_proofs.combine(dealt.key, answers, CONTEXT, ciphertexts)
    assert plaintexts is not None
    assert (numbers(plaintexts), wrong) == (MESSAGES, ())


def test_a_proof_is_for_one_holder_one_opening_and_its_ciphertexts(
    dealt: Dealt, ciphertexts: Rows
) -> None:
    right = answer(dealt, 1, ciphertexts)
    other = encrypted(dealt.key.public, MESSAGES)
    attempts = [
        (2, CONTEXT, ciphertexts),
        (1, b"another opening", ciphertexts),
        (1, CONTEXT, other),
        (1, CONTEXT, np.roll(ciphertexts, 1, axis=0)),
        (1, CONTEXT, ciphertexts[:2]),
    ]
    for index, context, rows in attempts:
        with pytest.raises(VerificationFailed):
            share_proofs.verify(dealt.key, index, context, rows, right)


def test_a_damaged_or_short_proof_is_refused(dealt: Dealt, ciphertexts: Rows) -> None:
    right = answer(dealt, 1, ciphertexts)
    for where in (0, 15, 16, 200, len(right.proof) - 1):
        data = bytearray(right.proof)
        data[where] ^= 1
        with pytest.raises(VerificationFailed):
            share_proofs.verify(
                dealt.key, 1, CONTEXT, ciphertexts, Answer(right.partials, bytes(data))
            )
    for proof in (b"", right.proof[:-1], right.proof + b"\0"):
        with pytest.raises(MessageInvalid):
            share_proofs.verify(dealt.key, 1, CONTEXT, ciphertexts, Answer(right.partials, proof))


def test_a_partial_decryption_that_is_no_unit_is_refused(dealt: Dealt, ciphertexts: Rows) -> None:
    right = answer(dealt, 1, ciphertexts)
    bad = rows_of([dealt.primes[0]] * 3, dealt.key.public.residue_bytes)
    with pytest.raises(VerificationFailed, match="invertible"):
        share_proofs.verify(dealt.key, 1, CONTEXT, ciphertexts, Answer(bad, right.proof))


def test_too_few_answers_are_refused(dealt: Dealt, ciphertexts: Rows) -> None:
    answers = {index: answer(dealt, index, ciphertexts) for index in (1, 2)}
    with pytest.raises(VerificationFailed, match="needed"):
        share_proofs.combine(dealt.key, answers, CONTEXT, ciphertexts)


def test_the_answer_of_a_proof_hides_the_share(dealt: Dealt, ciphertexts: Rows) -> None:
    """z is as long as r alone is, and never the same twice."""
    proofs = [answer(dealt, 1, ciphertexts).proof for _ in range(4)]
    lengths = [int.from_bytes(proof[16:], "little").bit_length() for proof in proofs]
    assert all(2048 + 256 - 40 <= length <= 2048 + 257 for length in lengths)
    assert all(a[16:] != b[16:] for a, b in itertools.combinations(proofs, 2))
