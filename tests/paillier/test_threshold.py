"""Dealing, partial decryption, combining; and that phe and we read each other."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import phe.paillier
import pytest

from fusion.crypto import rng
from fusion.crypto.paillier import threshold
from fusion.crypto.paillier.keys import PublicKey
from fusion.crypto.paillier.residues import rows_of
from fusion.errors import KeyRefused, VerificationFailed
from tests.keys import encrypted, numbers

if TYPE_CHECKING:
    from fusion.crypto.paillier.residues import Rows
    from tests.keys import Dealt

BINDING = b"b" * 32


def _partials(dealt: Dealt, ciphertexts: Rows) -> dict[int, Rows]:
    return {
        index: threshold.partial(dealt.key, share, ciphertexts)
        for index, share in enumerate(dealt.shares, start=1)
    }


def test_any_threshold_of_the_holders_decrypts(dealt: Dealt) -> None:
    messages = [0, 1, rng.below(dealt.key.public.modulus)]
    ciphertexts = encrypted(dealt.key.public, messages)
    partials = _partials(dealt, ciphertexts)
    for group in itertools.combinations(partials, dealt.key.threshold):
        chosen = {index: partials[index] for index in group}
        assert numbers(threshold.combine(dealt.key, chosen, ciphertexts)) == messages


def test_one_holder_fewer_does_not_decrypt(dealt: Dealt) -> None:
    ciphertexts = encrypted(dealt.key.public, [42])
    partials = _partials(dealt, ciphertexts)
    few = {index: partials[index] for index in list(partials)[: dealt.key.threshold - 1]}
    with pytest.raises(VerificationFailed):
        threshold.combine(dealt.key, few, ciphertexts)


def test_interpolating_fewer_shares_gives_no_root(dealt: Dealt) -> None:
    """Not only refused: t - 1 shares, interpolated all the same, do not open the ciphertext."""
    weaker = threshold.ThresholdKey(
        public=dealt.key.public,
        threshold=2,
        base=dealt.key.base,
        verifiers=dealt.key.verifiers[:3],
    )
    ciphertexts = encrypted(dealt.key.public, [42])
    partials = {
        index: threshold.partial(weaker, dealt.shares[index - 1], ciphertexts) for index in (1, 2)
    }
    assert dealt.key.threshold == 3
    with pytest.raises(VerificationFailed):
        threshold.combine(weaker, partials, ciphertexts)


def test_a_share_of_another_holder_is_refused(dealt: Dealt) -> None:
    threshold.check_share(dealt.key, 1, dealt.shares[0])
    with pytest.raises(KeyRefused):
        threshold.check_share(dealt.key, 2, dealt.shares[0])


@pytest.mark.parametrize("wrong", [0, 1, 2, 5])
def test_a_threshold_that_is_no_majority_is_refused(dealt: Dealt, wrong: int) -> None:
    with pytest.raises(KeyRefused, match="threshold"):
        threshold.ThresholdKey(
            public=dealt.key.public,
            threshold=wrong,
            base=dealt.key.base,
            verifiers=dealt.key.verifiers,
        )


def test_phe_decrypts_ours(dealt: Dealt) -> None:
    private = phe.paillier.PaillierPrivateKey(dealt.key.public.phe, *dealt.primes)
    for message in (0, 1, 2**100, dealt.key.public.modulus - 1):
        (ciphertext,) = numbers(encrypted(dealt.key.public, [message]))
        assert private.raw_decrypt(ciphertext) == message


def test_we_decrypt_what_phe_encrypts(dealt: Dealt) -> None:
    messages = [0, 5, 2**200]
    key = dealt.key.public
    made = [key.phe.raw_encrypt(message) for message in messages]
    ciphertexts = rows_of(made, key.ciphertext_bytes)
    partials = _partials(dealt, ciphertexts)
    chosen = {index: partials[index] for index in (1, 2, 3)}
    assert numbers(threshold.combine(dealt.key, chosen, ciphertexts)) == messages


@pytest.mark.parametrize("modulus", [15, 2**2047, (1 << 2047) + 1, 3**1291])
def test_a_modulus_that_can_not_be_sound_is_refused(modulus: int) -> None:
    with pytest.raises(KeyRefused):
        PublicKey(modulus)


def test_encryption_is_randomised(dealt: Dealt) -> None:
    one, other = numbers(encrypted(dealt.key.public, [5, 5]))
    assert one != other
