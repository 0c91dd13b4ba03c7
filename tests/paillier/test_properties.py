"""Laws of the ciphertexts, over all key lengths and ways of blinding, on examples of any shape.

Keys are those of the fixed vectors, so that no prime is searched for here.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import phe.paillier
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.crypto.paillier import damgard_jurik
from fusion.crypto.paillier.randomisers import Djn, Exact, Full, ShortExponent
from fusion.crypto.paillier.residues import rows_of
from tests.keys import numbers
from tests.vectors.known import SIZES, known

if TYPE_CHECKING:
    from fusion.crypto.paillier.randomisers import Randomiser
    from fusion.crypto.paillier.residues import Rows

KINDS = (
    "djn-half",
    "exact",
    "full",
    "short-exponent-256",
    "djn-half of degree 2",
    "exact of degree 2",
)

few = settings(max_examples=4)
sizes = pytest.mark.parametrize(
    "bits",
    [pytest.param(bits, marks=[pytest.mark.soak] if bits == 4096 else []) for bits in SIZES],
)
"""The shortest key and the usual one in every test run."""
kinds = pytest.mark.parametrize("kind", KINDS)


@lru_cache
def _randomiser(bits: int, kind: str) -> Randomiser:
    key = known(bits).public
    if kind == "exact":
        return Exact(known(bits).private)
    if kind == "exact of degree 2":
        return damgard_jurik.ExactSquared(known(bits).private)
    if kind == "full":
        return Full(key)
    if kind == "short-exponent-256":
        return ShortExponent(key, insecure_exponent_bits=256)
    return Djn(key) if kind == "djn-half" else damgard_jurik.DjnSquared(key)


def _space(bits: int, degree: int) -> int:
    return int(known(bits).public.n ** degree)


def _encrypt(bits: int, kind: str, messages: list[int]) -> Rows:
    blind = _randomiser(bits, kind)
    width = damgard_jurik.plaintext_bytes(known(bits).public, blind.degree)
    return blind.encrypt(rows_of(messages, width))


def _decrypt(bits: int, degree: int, ciphertexts: Rows) -> list[int]:
    private = known(bits).private
    opened = (
        private.decrypt(ciphertexts) if degree == 1 else damgard_jurik.decrypt(private, ciphertexts)
    )
    return numbers(opened)


def _messages(data: st.DataObject, space: int, count: int = 3) -> list[int]:
    """Draw residues, those at the edges of the space among them."""
    edges = st.sampled_from([0, 1, space - 1, space // 2])
    lengths = st.integers(0, space.bit_length() - 1).map(lambda length: (1 << length) % space)
    one = edges | lengths | st.integers(0, space - 1)
    return data.draw(st.lists(one, min_size=1, max_size=count))


@sizes
@kinds
@given(data=st.data())
@few
def test_what_is_encrypted_is_decrypted(bits: int, kind: str, data: st.DataObject) -> None:
    degree = _randomiser(bits, kind).degree
    messages = _messages(data, _space(bits, degree))
    assert _decrypt(bits, degree, _encrypt(bits, kind, messages)) == messages


@sizes
@pytest.mark.parametrize("kind", ["djn-half", "exact", "djn-half of degree 2", "exact of degree 2"])
@given(data=st.data())
@few
def test_products_decrypt_to_sums(bits: int, kind: str, data: st.DataObject) -> None:
    degree = _randomiser(bits, kind).degree
    space = _space(bits, degree)
    one = _messages(data, space)
    other = [data.draw(st.integers(0, space - 1)) for _ in one]
    ring = damgard_jurik.product_ring(known(bits).public, degree)
    total = ring.product([_encrypt(bits, kind, one), _encrypt(bits, kind, other)])
    expected = [(a + b) % space for a, b in zip(one, other, strict=True)]
    assert _decrypt(bits, degree, total) == expected


@sizes
@pytest.mark.parametrize("kind", ["djn-half", "exact", "full"])
@given(data=st.data())
@few
def test_phe_decrypts_ours(bits: int, kind: str, data: st.DataObject) -> None:
    private = phe.paillier.PaillierPrivateKey(
        known(bits).public.phe, known(bits).private.p, known(bits).private.q
    )
    messages = _messages(data, _space(bits, 1), count=2)
    made = numbers(_encrypt(bits, kind, messages))
    assert [private.raw_decrypt(c) for c in made] == messages


@sizes
@given(data=st.data())
@few
def test_we_decrypt_what_phe_encrypts(bits: int, data: st.DataObject) -> None:
    public = known(bits).public.phe
    messages = _messages(data, _space(bits, 1), count=2)
    made = [public.raw_encrypt(message) for message in messages]
    rows = rows_of(made, known(bits).public.ciphertext_bytes)
    assert _decrypt(bits, 1, rows) == messages


@sizes
@given(data=st.data())
@few
def test_the_binomial_formula_and_its_logarithm_undo_each_other(
    bits: int, data: st.DataObject
) -> None:
    n = known(bits).public.n
    for message in _messages(data, _space(bits, 2)):
        power = damgard_jurik.expand(message, n)
        quotient, remainder = divmod(power - 1, n)
        assert remainder == 0
        assert damgard_jurik.logarithm(quotient, n, 2) == message
        assert damgard_jurik.logarithm(quotient % n, n, 1) == message % n
