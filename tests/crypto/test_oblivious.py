"""One word of each table, and nothing of the others; the field that choices are put together in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federated import seeds
from fusion.crypto.oblivious import SECRET_BITS, Chooser, Offerer, multiplied
from fusion.crypto.paillier.keys import PrivateKey
from fusion.crypto.paillier.randomisers import Exact
from fusion.errors import MessageInvalid

if TYPE_CHECKING:
    from fusion.crypto.paillier.residues import Rows
    from tests.keys import Dealt

ELEMENT = st.integers(0, (1 << SECRET_BITS) - 1)


class Pair:
    """Both parties, after the seeds."""

    def __init__(self, key: PrivateKey) -> None:
        self.key = key
        self.chooser, self.offerer = Chooser(), Offerer()
        self.bits = self.offerer.bits(Exact(key), key.public)
        self.seeds = self.chooser.seeds(key.public, self.bits)
        self.offerer.take(key, self.seeds)


@pytest.fixture(scope="module")
def pair(dealt: Dealt) -> Pair:
    return Pair(PrivateKey(*dealt.primes))


@pytest.mark.parametrize(("width", "rows"), [(1, 5), (3, 17), (7, 300), (9, 64)])
def test_the_chosen_word_of_each_table_and_no_other(pair: Pair, width: int, rows: int) -> None:
    draw = seeds.generator("tests-oblivious", width, rows)
    choices = draw.integers(0, 1 << width, rows).astype(np.uint16)
    tables = draw.integers(0, 1 << 63, (rows, 1 << width)).astype(np.uint64)
    blinded = pair.offerer.blinded(pair.chooser.choose(choices, width), tables)
    found = pair.chooser.words(blinded)
    assert np.array_equal(found, tables[np.arange(rows), choices])
    pads = blinded ^ tables
    assert len(np.unique(pads)) == pads.size


def test_what_a_chooser_sends_and_gets_has_no_pattern(pair: Pair) -> None:
    """The same choice and the same word everywhere: bits are as often 1 as 0."""
    rows = 4096
    corrections = pair.chooser.choose(np.zeros(rows, np.uint16), 1)
    blinded = pair.offerer.blinded(corrections, np.zeros((rows, 2), np.uint64))
    pair.chooser.words(blinded)
    for sent in (np.unpackbits(corrections, axis=1), _bits(blinded[:, 0]), _bits(blinded[:, 1])):
        ones = sent.mean(axis=0)
        assert np.abs(ones.mean() - 0.5) < 6 * 0.5 / np.sqrt(sent.size)


def _bits(words: np.ndarray[tuple[int, ...], np.dtype[np.uint64]]) -> Rows:
    return np.unpackbits(np.ascontiguousarray(words).view(np.uint8).reshape(-1, 8), axis=1)


@given(ELEMENT, ELEMENT, ELEMENT)
def test_choices_are_put_together_in_a_field(a: int, b: int, c: int) -> None:
    assert multiplied(a, b) == multiplied(b, a)
    assert multiplied(a, b ^ c) == multiplied(a, b) ^ multiplied(a, c)
    assert multiplied(1, a) == a
    assert multiplied(multiplied(a, b), c) == multiplied(a, multiplied(b, c))
    assert not a or not b or multiplied(a, b)


def test_the_field_is_that_of_gcm() -> None:
    assert multiplied(2, 1 << 127) == 0x87


def test_other_sizes_are_refused(dealt: Dealt, pair: Pair) -> None:
    key = PrivateKey(*dealt.primes)
    with pytest.raises(MessageInvalid, match="encrypted bits"):
        Chooser().seeds(key.public, pair.bits[:-1])
    with pytest.raises(MessageInvalid, match="no seeds"):
        Offerer().take(key, pair.seeds[:-1])
    other = Offerer()
    with pytest.raises(MessageInvalid, match="no seeds"):  # chosen by other bits
        other.take(key, pair.seeds)
    corrections = pair.chooser.choose(np.zeros(9, np.uint16), 3)
    with pytest.raises(MessageInvalid, match="another number of tables"):
        pair.offerer.blinded(corrections, np.zeros((17, 8), np.uint64))
    with pytest.raises(MessageInvalid, match="no entries were chosen"):
        pair.chooser.words(np.zeros((8, 8), np.uint64))
