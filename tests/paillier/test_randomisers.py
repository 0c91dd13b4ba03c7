"""Every randomiser gives ciphertexts that decrypt, here and under phe, and no two alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import phe.paillier
import pytest

from fusion.crypto import rng
from fusion.crypto.paillier.keys import PrivateKey
from fusion.crypto.paillier.randomisers import (
    Djn,
    Exact,
    Full,
    ShortExponent,
    Tabled,
    uniform_below,
)
from fusion.crypto.paillier.residues import rows_of
from fusion.errors import InputInvalid, KeyRefused
from tests.keys import numbers

if TYPE_CHECKING:
    from fusion.crypto.paillier.randomisers import Randomiser
    from tests.keys import Dealt

KINDS = ["djn-half", "exact", "full", "tabled", "short-exponent-256"]


def _randomiser(dealt: Dealt, kind: str) -> Randomiser:
    key = dealt.key.public
    if kind == "exact":
        return Exact(PrivateKey(*dealt.primes))
    if kind == "full":
        return Full(key)
    if kind == "tabled":
        return Tabled(key)
    return Djn(key) if kind == "djn-half" else ShortExponent(key, insecure_exponent_bits=256)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_encrypted_is_decrypted_here_and_by_phe(dealt: Dealt, kind: str) -> None:
    n = dealt.key.public.modulus
    messages = [0, 1, n - 1, 2**2000 + 17, *(rng.below(n) for _ in range(7))]
    randomiser = _randomiser(dealt, kind)
    assert randomiser.name == kind
    ciphertexts = randomiser.encrypt(rows_of(messages, dealt.key.public.plaintext_bytes))
    assert numbers(PrivateKey(*dealt.primes).decrypt(ciphertexts)) == messages
    private = phe.paillier.PaillierPrivateKey(dealt.key.public.phe, *dealt.primes)
    assert [private.raw_decrypt(c) for c in numbers(ciphertexts)] == messages


@pytest.mark.parametrize("kind", KINDS)
def test_no_two_encryptions_are_alike(dealt: Dealt, kind: str) -> None:
    rows = rows_of([5] * 9, dealt.key.public.plaintext_bytes)
    randomiser = _randomiser(dealt, kind)
    made = numbers(randomiser.encrypt(rows)) + numbers(randomiser.encrypt(rows))
    assert len(set(made)) == 18


def test_numbers_below_a_bound_cover_it_and_stay_below() -> None:
    # The chance that one of 300 values is missed in 12,000 draws is below 10**-14.
    values = [int(v) for v in numbers(uniform_below(300, 12_000))]
    assert len(values) == 12_000
    assert set(values) == set(range(300))


def test_a_short_exponent_has_to_be_asked_for_and_has_a_floor(dealt: Dealt) -> None:
    with pytest.raises(InputInvalid):
        ShortExponent(dealt.key.public, insecure_exponent_bits=128)
    with pytest.raises(TypeError):
        ShortExponent(dealt.key.public, 256)  # type: ignore[call-arg]


def test_the_exact_randomiser_wants_safe_primes(dealt: Dealt) -> None:
    p = dealt.primes[0]
    q = next(c for c in range(dealt.primes[1] + 4, 1 << 1024, 2) if pow(2, c - 1, c) == 1)
    with pytest.raises(KeyRefused, match="safe primes"):
        Exact(PrivateKey(p, q))


def test_a_private_key_wants_two_primes_of_one_length(dealt: Dealt) -> None:
    p, q = dealt.primes
    for wrong in ((p, p), (p, 7), (p, q + 2)):
        with pytest.raises(KeyRefused):
            PrivateKey(*wrong)
    assert str(p) not in repr(PrivateKey(p, q))
