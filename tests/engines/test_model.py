"""The kernels' texts, carried out on Python's integers: right on every size, and no lane overflows.

No LLVM and no particular processor is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fusion.crypto.paillier.engines.fixed_base import factors_of, table_of
from fusion.crypto.paillier.engines.kernels.model import LaneOverflowError, ModelMachine
from fusion.crypto.paillier.engines.kernels.shape import AVX2, IFMA
from tests.engines.kernels_on_the_model import ModelRing

if TYPE_CHECKING:
    from fusion.crypto.paillier.engines.engine import Digits
    from fusion.crypto.paillier.engines.kernels.shape import Shape

SHAPES = pytest.mark.parametrize("shape", [IFMA, AVX2], ids=lambda shape: shape.name)
DIGITS = pytest.mark.parametrize("digits", [1, 2])


def _moduli(bits: int) -> list[int]:
    """The largest, the smallest and one in the middle of those with ``bits`` bits."""
    return [2**bits - 1, 2 ** (bits - 1) + 1, (2**bits * 0x9E37 >> 16) | 1]


def _edges(order: int) -> list[int]:
    ones = int("f" * (order.bit_length() // 4), 16) % order
    return [0, 1, 2, order - 1, order - 2, ones, order // 3, order // 2, order // 7, 5, 6]


@SHAPES
@DIGITS
@pytest.mark.parametrize(
    ("bits", "exponents"), [(120, (1, 0x1000F, 2**20 - 1)), (250, (1, 0x80F, 2**9 - 1))]
)
def test_powers(shape: Shape, digits: Digits, bits: int, exponents: tuple[int, ...]) -> None:
    """The longer numbers are raised to shorter ones: each step is one of theirs."""
    for modulus in _moduli(bits):
        ring = ModelRing(shape, modulus, digits)
        order = modulus**digits
        bases = _edges(order)
        for exponent in exponents:
            assert ring.power(bases, exponent) == [pow(b, exponent, order) for b in bases]
        assert ring.peak <= 62


@SHAPES
def test_a_base_may_be_four_times_as_long_as_the_modulus(shape: Shape) -> None:
    modulus = _moduli(120)[2]
    bases = [modulus**4 - 1, modulus**4 // 3, modulus**3, modulus + 1]
    assert ModelRing(shape, modulus, 2).power(bases, 77) == [pow(b, 77, modulus**2) for b in bases]


@SHAPES
@pytest.mark.parametrize("bits", [120, 250, 1024])
def test_products(shape: Shape, bits: int) -> None:
    for modulus in _moduli(bits):
        ring = ModelRing(shape, modulus, 1)
        one = _edges(modulus)
        vectors = [one, one[::-1], [modulus - 1] * len(one)]
        expected = [a * b * c % modulus for a, b, c in zip(*vectors, strict=True)]
        assert ring.product(vectors) == expected
        assert ring.peak <= 62


@pytest.mark.parametrize(("shape", "bits"), [(IFMA, 6144), (AVX2, 4096)])
def test_the_longest_numbers_in_use_keep_their_carries(shape: Shape, bits: int) -> None:
    modulus = 2**bits - 1
    ring = ModelRing(shape, modulus, 1)
    values = [modulus - 1, modulus - 2, 2 ** (bits - 1)]
    assert ring.product([values, values]) == [v * v % modulus for v in values]
    assert ring.peak <= 62


@SHAPES
@DIGITS
def test_powers_of_a_fixed_base(shape: Shape, digits: Digits) -> None:
    for modulus in _moduli(120):
        ring = ModelRing(shape, modulus, digits)
        order, base, factor = modulus**digits, 2**100, 3
        exponents = [0, 1, 63, 64, 2**24 - 1, 2**18, 5]
        messages = [0, 1, modulus - 1, modulus, modulus**2 - 1, modulus // 2, 9]
        table, factors = table_of(ring.layout, base, 4), factors_of(ring.layout, factor)
        found = ring.comb(table, factors, exponents, messages)
        pairs = zip(exponents, messages, strict=True)
        assert found == [
            pow(base, e, order) * (1 + modulus * factor * m * (digits - 1)) % order
            for e, m in pairs
        ]


@SHAPES
@DIGITS
def test_many_bases_to_their_digits(shape: Shape, digits: Digits) -> None:
    modulus = _moduli(120)[2]
    order = modulus**digits
    bases = _edges(order)[1:]
    chosen = [0, 1, 2, 255, 128, 7, 7, 7, 200, 250]
    found = ModelRing(shape, modulus, digits).buckets(bases, chosen)
    for window, value in enumerate(found):
        expected = 1
        for base, digit in zip(bases, chosen, strict=True):
            expected = expected * pow(base, (digit + window) % 256 if digit else 0, order) % order
        assert value == expected


@SHAPES
def test_a_carry_too_many_is_noticed(shape: Shape) -> None:
    machine = ModelMachine(shape)
    top = machine.splat(2**64 - 1)
    with pytest.raises(LaneOverflowError):
        machine.add(top, machine.splat(1))
    with pytest.raises(LaneOverflowError):
        machine.sub(machine.zero, machine.splat(1))
    with pytest.raises(LaneOverflowError):
        machine.loop(3, 3, 1, (), lambda _: None)


@pytest.mark.parametrize("bits", [1024, 1536, 2048, 3072, 4096, 6144, 8192, 9216])
@SHAPES
def test_a_modulus_is_cut_so_that_chunks_start_at_a_byte(shape: Shape, bits: int) -> None:
    size = shape.size(bits)
    assert size.limbs * shape.radix >= bits + 16
    assert size.limbs % size.rows == 0
    assert size.limbs * shape.radix % 8 == 0
    assert size.limbs % (104 // shape.radix) == 0
