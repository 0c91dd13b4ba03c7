"""The engine that runs everywhere: GMP through gmpy2, one residue at a time.

It is also what the other engines are tested against. Single powers use GMP's constant-time
exponentiation; the table look-ups of a fixed base index by bits of the exponent, which a process
on the same core may learn through the cache (``docs/claims/engines.md``).
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

import gmpy2
import numpy as np
from gmpy2 import mpz

from fusion.crypto.paillier.residues import integers, rows_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gmpy2 import mpz as Integer
    from numpy.typing import NDArray

    from fusion.crypto.paillier.engines.engine import Digits
    from fusion.crypto.paillier.residues import Rows

_WINDOW_BITS: Final = 8
"""A table row is read by one byte of the exponent."""

_FEW: Final = 24
"""Fewer powers than this are cheaper one by one."""


class GmpFixedBase:
    """``rows[i][d] = base^(d * 256^i)``: 42 MB for 1,536-bit exponents modulo a 6,144-bit N^2."""

    def __init__(self, ring: GmpRing, base: int, exponent_bits: int, factor: int) -> None:
        """Build the table."""
        self._ring = ring
        self._factor = mpz(factor)
        self._rows = []
        power = mpz(base) % ring.order
        for _ in range(-(-exponent_bits // _WINDOW_BITS)):
            row = [mpz(1), power]
            for _ in range((1 << _WINDOW_BITS) - 2):
                row.append(row[-1] * power % ring.order)
            self._rows.append(row)
            power = row[-1] * power % ring.order

    def powers(self, exponents: Rows, messages: Rows | None = None) -> Rows:
        """See :meth:`~fusion.crypto.paillier.engines.engine.FixedBase.powers`."""
        order = self._ring.order
        results = []
        for exponent in exponents:
            result = mpz(1)
            for row, digit in zip(self._rows, exponent.tobytes(), strict=False):
                result = result * row[digit] % order
            results.append(result)
        if messages is not None:
            step = self._factor * self._ring.modulus
            results = [
                r * (1 + m * step) % order for r, m in zip(results, integers(messages), strict=True)
            ]
        return rows_of(results, self._ring.width)


class GmpRing:
    """Integers modulo ``modulus ** digits``."""

    def __init__(self, modulus: int, digits: Digits) -> None:
        """Take an odd modulus."""
        self.modulus = modulus
        self.digits = digits
        self.order = mpz(modulus) ** digits
        self.width = -(-modulus.bit_length() * digits // 8)

    def fixed_base(self, base: int, exponent_bits: int, *, factor: int = 1) -> GmpFixedBase:
        """See :meth:`~fusion.crypto.paillier.engines.engine.Ring.fixed_base`."""
        return GmpFixedBase(self, base, exponent_bits, factor)

    def power(self, bases: Rows, exponent: int) -> Rows:
        """See :meth:`~fusion.crypto.paillier.engines.engine.Ring.power`."""
        e = mpz(exponent)
        if e == 0:  # powmod_sec wants a positive exponent
            return rows_of([1] * len(bases), self.width)
        return rows_of(
            (gmpy2.powmod_sec(base % self.order, e, self.order) for base in integers(bases)),
            self.width,
        )

    def product(self, vectors: Sequence[Rows]) -> Rows:
        """See :meth:`~fusion.crypto.paillier.engines.engine.Ring.product`."""
        total = integers(vectors[0])
        for vector in vectors[1:]:
            total = [a * b % self.order for a, b in zip(total, integers(vector), strict=True)]
        return rows_of(total, self.width)

    def fold(self, rows: Rows) -> int:
        """See :meth:`~fusion.crypto.paillier.engines.engine.Ring.fold`."""
        total = mpz(1)
        for value in integers(rows):
            total = total * value % self.order
        return int(total)

    def bucket_products(self, rows: Rows, choices: Rows, buckets: int) -> Rows:
        """See :meth:`~fusion.crypto.paillier.engines.engine.Ring.bucket_products`.

        Where rows are many, two columns are sorted at once into the cells of their grid, whose
        margins then give both: half the products a row, and two for each cell.
        """
        values = integers(rows)
        found: list[Integer] = []
        for first in range(0, choices.shape[1], 2):
            pair = choices[:, first : first + 2].astype(np.int64)
            if pair.shape[1] == 2 and len(values) > 2 * buckets * buckets:
                found.extend(self._margins(values, pair, buckets))
            else:
                for column in pair.T:
                    found.extend(self._sorted(values, column, buckets))
        return rows_of(found, self.width)

    def _sorted(
        self, values: list[Integer], choices: NDArray[np.int64], buckets: int
    ) -> list[Integer]:
        """Product of the values in each bucket."""
        order = self.order
        products: list[Integer | None] = [None] * buckets
        for value, bucket in zip(values, choices.tolist(), strict=True):
            held = products[bucket]
            products[bucket] = value if held is None else held * value % order
        return [mpz(1) if product is None else product for product in products]

    def _margins(
        self, values: list[Integer], pair: NDArray[np.int64], buckets: int
    ) -> list[Integer]:
        """Products for two columns, from those of the cells that they make together."""
        cells = self._sorted(values, pair[:, 0] * buckets + pair[:, 1], buckets * buckets)
        across = np.arange(buckets * buckets)
        return [
            *self._sorted(cells, across // buckets, buckets),
            *self._sorted(cells, across % buckets, buckets),
        ]

    def multi_power(self, bases: Rows, exponents: Rows) -> int:
        """See :meth:`~fusion.crypto.paillier.engines.engine.Ring.multi_power`.

        Pippenger's method with windows of a byte: a bucket for each value of the byte.
        """
        values = integers(bases)
        total = mpz(1)
        if len(values) < _FEW:
            for value, exponent in zip(values, integers(exponents), strict=True):
                total = total * gmpy2.powmod(value, exponent, self.order) % self.order
            return int(total)
        for column in np.ascontiguousarray(exponents.T)[::-1]:
            total = gmpy2.powmod(total, 1 << _WINDOW_BITS, self.order)
            total = total * self._window(values, column.tobytes()) % self.order
        return int(total)

    def _window(self, values: list[Integer], digits: bytes) -> Integer:
        """Product of each value to its digit."""
        buckets: dict[int, Integer] = {}
        for value, digit in zip(values, digits, strict=True):
            buckets[digit] = buckets[digit] * value % self.order if digit in buckets else value
        running = total = mpz(1)
        for digit in range((1 << _WINDOW_BITS) - 1, 0, -1):
            if digit in buckets:
                running = running * buckets[digit] % self.order
            total = total * running % self.order
        return total


class GmpEngine:
    """See the module."""

    name = "gmp"

    @lru_cache(maxsize=16)  # noqa: B019 -- one engine a process
    def ring(self, modulus: int, digits: Digits = 1) -> GmpRing:
        """See :meth:`~fusion.crypto.paillier.engines.engine.Engine.ring`."""
        return GmpRing(modulus, digits)
