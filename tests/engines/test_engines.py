"""Every engine computes what Python's integers do, and all give the same bytes."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.crypto.paillier.engines import selection
from fusion.crypto.paillier.residues import rows_of
from tests.keys import numbers

if TYPE_CHECKING:
    from fusion.crypto.paillier.engines.engine import Digits, Engine, Ring

ENGINES = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            selection.unavailable(name) is not None, reason=str(selection.unavailable(name))
        ),
    )
    for name in selection.NAMES
]
EVERY = pytest.mark.parametrize("name", ENGINES)
DIGITS = pytest.mark.parametrize("digits", [1, 2])
BITS = pytest.mark.parametrize("bits", [1024, 1536, 2048])


@lru_cache
def engine_named(name: str) -> Engine:
    return selection.named(name)


def odd(bits: int) -> int:
    """An odd number of exactly so many bits that follows no pattern."""
    return pow(3, 10_000, 1 << bits) | 1 | 1 << (bits - 1)


def edges(order: int, count: int = 9) -> list[int]:
    values = [0, 1, order - 1, order - 2, order // 3, 2, order >> 64, order // 5, order // 7]
    return (values * (count // len(values) + 1))[:count]


@EVERY
@DIGITS
@BITS
@pytest.mark.parametrize("exponent", [0, 1, 0x10001, 2**64 + 1, (1 << 96) - 1])
def test_one_exponent(name: str, digits: Digits, bits: int, exponent: int) -> None:
    modulus = odd(bits)
    ring = engine_named(name).ring(modulus, digits)
    bases = [*edges(modulus**digits), modulus**4 - 1]
    found = numbers(ring.power(rows_of(bases, ring.width * 4 // digits), exponent))
    assert found == [pow(base, exponent, modulus**digits) for base in bases]


@EVERY
@DIGITS
@BITS
def test_a_fixed_base(name: str, digits: Digits, bits: int) -> None:
    modulus = odd(bits)
    order = modulus**digits
    ring = engine_named(name).ring(modulus, digits)
    root = 3 if modulus % 3 else 2
    base = ring.fixed_base(root, 200, factor=7)
    # Leading zero windows, a lone top bit, all ones.
    exponents = [0, 1, 63, 64, 2**199, 2**200 - 1, 2**6 - 1, 2**101 + 5, 12345]
    messages = edges(modulus)
    plain = numbers(base.powers(rows_of(exponents, 25)))
    assert plain == [pow(root, e, order) for e in exponents]
    if digits == 2:
        found = numbers(base.powers(rows_of(exponents, 25), rows_of(messages, ring.width // 2)))
        pairs = zip(plain, messages, strict=True)
        assert found == [x * (1 + 7 * m * modulus) % order for x, m in pairs]


@EVERY
@pytest.mark.parametrize("count", [1, 7, 8, 9, 16, 17])
def test_batches_that_do_not_fill_the_lanes(name: str, count: int) -> None:
    modulus = odd(1024)
    ring = engine_named(name).ring(modulus)
    values = edges(modulus, count)
    rows = rows_of(values, ring.width)
    assert numbers(ring.power(rows, 5)) == [pow(v, 5, modulus) for v in values]
    assert numbers(ring.product([rows, rows, rows])) == [pow(v, 3, modulus) for v in values]
    powers = ring.fixed_base(2, 16).powers(rows_of(range(count), 2))
    assert numbers(powers) == [2**e % modulus for e in range(count)]
    folded = 1
    for value in values:
        folded = folded * value % modulus
    assert ring.fold(rows) == folded


@EVERY
@DIGITS
@pytest.mark.parametrize("count", [1, 31, 32, 77])
def test_many_bases_to_exponents_of_their_own(name: str, digits: Digits, count: int) -> None:
    modulus = odd(1024)
    order = modulus**digits
    ring = engine_named(name).ring(modulus, digits)
    bases = [pow(5, i + 1, order) for i in range(count)]
    exponents = [pow(7, 40 + i, 1 << 128) for i in range(count)]
    expected = 1
    for base, exponent in zip(bases, exponents, strict=True):
        expected = expected * pow(base, exponent, order) % order
    found = ring.multi_power(rows_of(bases, ring.width), rows_of(exponents, 16))
    assert found == expected


@EVERY
@DIGITS
@pytest.mark.parametrize(("count", "columns", "buckets"), [(0, 3, 2), (5, 9, 4), (70, 2, 3)])
def test_products_by_bucket(
    name: str, digits: Digits, count: int, columns: int, buckets: int
) -> None:
    modulus = odd(1024)
    order = modulus**digits
    ring = engine_named(name).ring(modulus, digits)
    values = [pow(5, i + 1, order) for i in range(count)]
    rows = rows_of(values, ring.width) if values else np.empty((0, ring.width), np.uint8)
    # The last bucket stays empty.
    choices = np.arange(count * columns, dtype=np.uint8).reshape(count, columns) * 7 % (buckets - 1)
    expected = [1] * (columns * buckets)
    for value, line in zip(values, choices.tolist(), strict=True):
        for column, bucket in enumerate(line):
            at = column * buckets + bucket
            expected[at] = expected[at] * value % order
    found = ring.bucket_products(rows, choices.astype(np.uint8), buckets)
    assert numbers(found) == expected


@EVERY
def test_a_product_of_many_vectors_in_a_long_ring(name: str) -> None:
    order = odd(2048) ** 2
    ring = engine_named(name).ring(order)
    values = edges(order, 11)
    rows = rows_of(values, ring.width)
    assert numbers(ring.product([rows] * 10)) == [pow(v, 10, order) for v in values]


@EVERY
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_any_values(name: str, data: st.DataObject) -> None:
    modulus = odd(1024)
    order = modulus**2
    ring = engine_named(name).ring(modulus, 2)
    bases = data.draw(st.lists(st.integers(0, order - 1), min_size=1, max_size=12))
    exponent = data.draw(st.integers(0, 2**80))
    assert numbers(ring.power(rows_of(bases, ring.width), exponent)) == [
        pow(b, exponent, order) for b in bases
    ]


@EVERY
def test_threads_give_what_one_thread_gives(name: str) -> None:
    if name == "gmp":
        pytest.skip("GMP's engine has one thread")
    modulus = odd(1024)
    one, many = (selection.named(name, threads).ring(modulus, 2) for threads in (1, 3))
    rows = rows_of([pow(3, i, modulus**2) for i in range(300)], one.width)
    exponents = rows_of([pow(5, i, 1 << 128) for i in range(300)], 16)

    def results(ring: Ring) -> list[object]:
        base = ring.fixed_base(2, 128)
        return [
            ring.power(rows, 99).tobytes(),
            base.powers(exponents, rows[:, :128]).tobytes(),
            ring.multi_power(rows, exponents),
        ]

    assert results(one) == results(many)


def test_all_engines_give_the_same_ciphertexts() -> None:
    modulus = odd(2048)
    exponents = rows_of([pow(11, i, 1 << 1024) for i in range(9)], 128)
    messages = rows_of(edges(modulus), 256)
    made = [
        engine_named(str(p.values[0]))
        .ring(modulus, 2)
        .fixed_base(4, 1024)
        .powers(exponents, messages)
        for p in ENGINES
        if selection.unavailable(str(p.values[0])) is None
    ]
    assert all(np.array_equal(made[0], other) for other in made[1:])
