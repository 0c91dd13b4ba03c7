"""The engines ``ifma`` and ``avx2``: rings whose work is done by generated kernels.

What a kernel gives is checked against GMP before it is first used, on the edges and in the middle
of the very ring; an engine that errs is put aside with a warning, and GMP goes on.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Final

import gmpy2
import numpy as np
from gmpy2 import mpz

from fusion.crypto.paillier.engines.arrays import Workers, aligned
from fusion.crypto.paillier.engines.compiled import Compiled
from fusion.crypto.paillier.engines.fixed_base import VectorFixedBase
from fusion.crypto.paillier.engines.gmp import GmpRing
from fusion.crypto.paillier.engines.kernels import buckets, power
from fusion.crypto.paillier.engines.layout import RingLayout
from fusion.crypto.paillier.residues import integers, rows_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from fusion.crypto.paillier.engines.engine import Digits, FixedBase
    from fusion.crypto.paillier.engines.kernels.shape import Shape
    from fusion.crypto.paillier.residues import Rows

_KEPT_RINGS: Final = 16
_BATCHES: Final = 128
"""Batches of one call, so that what a product holds stays cached."""

_BRIEF: Final = 24
"""Bits of the exponents that a check uses."""

_HELD_ROWS: Final = 1 << 13
"""Residues that enter at a time to be sorted into buckets."""

_FEW: Final = 4
"""Batches below which many bases to their own exponents are cheaper one by one."""


class EngineWarning(UserWarning):
    """A vector engine was put aside, or is not to be had."""


class VectorRing:
    """Integers modulo ``modulus ** digits``; see :class:`~.engine.Ring`."""

    def __init__(self, engine: VectorEngine, modulus: int, digits: Digits) -> None:
        """Lay the ring out; kernels are compiled when they are needed."""
        self.modulus = modulus
        self.digits = digits
        self.reference = GmpRing(modulus, digits)
        self.width = self.reference.width
        self.layout = RingLayout(engine.shape, modulus, digits)
        self._engine = engine
        self._checked: set[str] = set()

    def _kernels(self, group: str) -> dict[str, Callable[..., None]]:
        return self._engine.compiled.functions(group, self.layout.size, self.digits)

    def _usable(self, group: str, check: Callable[[], bool]) -> bool:
        """Whether a group may be used: its first use in a ring is checked against GMP."""
        if group not in self._checked and not self._engine.broken:
            if check():
                self._checked.add(group)
            else:
                self._engine.put_aside(f"its {group} kernel does not agree with GMP")
        return not self._engine.broken

    def _samples(self) -> Rows:
        """Values at the edges and in the middle; not a whole number of batches."""
        top = int(self.layout.order) - 1
        middle = (top * 0x9E3779B97F4A7C15 >> 64) | 1
        values = [0, 1, 2, self.modulus - 1, top, top - 1, middle, top // 3, middle // 5]
        return rows_of(values, self.width)

    # ------------------------------------------------------------------ a fixed base

    def fixed_base(self, base: int, exponent_bits: int, *, factor: int = 1) -> FixedBase:
        """See :meth:`~.engine.Ring.fixed_base`."""
        if not self._usable("comb", self._check_comb):
            return self.reference.fixed_base(base, exponent_bits, factor=factor)
        return self._fixed_base(base, exponent_bits, factor)

    def _fixed_base(self, base: int, exponent_bits: int, factor: int) -> VectorFixedBase:
        kernel = self._kernels("comb")["comb"]
        return VectorFixedBase(
            self.layout, kernel, self._engine.workers, base, exponent_bits, factor
        )

    def _check_comb(self) -> bool:
        base = 1 << (self.modulus.bit_length() - 3)  # a unit: moduli are odd
        exponents = rows_of([0, 1, 63, 64, (1 << _BRIEF) - 1, 1 << (_BRIEF - 1), 5, 6, 7], 3)
        messages = self._samples() if self.digits == 2 else None
        found = self._fixed_base(base, _BRIEF, 3).powers(exponents, messages)
        expected = self.reference.fixed_base(base, _BRIEF, factor=3).powers(exponents, messages)
        return np.array_equal(found, expected)

    # ------------------------------------------------------------------ one exponent

    def power(self, bases: Rows, exponent: int) -> Rows:
        """See :meth:`~.engine.Ring.power`."""
        if not self._usable("power", self._check_power):
            return self.reference.power(bases, exponent)
        return self._power(bases, exponent)

    def _power(self, bases: Rows, exponent: int) -> Rows:
        layout, lanes = self.layout, self.layout.shape.lanes
        chunks = layout.chunks(bases)
        rows = layout.padded(bases, chunks * layout.part_bytes)
        out = layout.results(len(rows))
        windows = max(2, -(-exponent.bit_length() // power.WINDOW))  # a loop turns at least once
        length = -(-windows * power.WINDOW // 8) + 2
        digits = np.frombuffer(exponent.to_bytes(length, "little"), np.uint8)
        run = self._kernels("power")["power"]

        def work(first: int, batches: int) -> None:
            at = first * lanes
            run(
                layout.constants.ctypes.data, layout.entry.ctypes.data, layout.units.ctypes.data,
                out[at:].ctypes.data, out.strides[0], rows[at:].ctypes.data, rows.strides[0],
                chunks, digits.ctypes.data, windows, batches,
            )  # fmt: skip

        self._engine.workers.share(len(rows) // lanes, 8, work)
        return np.ascontiguousarray(out[: len(bases), : self.width])

    def _check_power(self) -> bool:
        bases = self._samples()
        exponents = (0, 1, (1 << _BRIEF) - 1, 0x1000FF)
        return all(
            np.array_equal(self._power(bases, e), self.reference.power(bases, e)) for e in exponents
        )

    # ------------------------------------------------------------------ products

    def product(self, vectors: Sequence[Rows]) -> Rows:
        """See :meth:`~.engine.Ring.product`."""
        if self.digits == 2 or not self._usable("products", self._check_products):
            return self.reference.product(vectors)
        return self._product(vectors)

    def _product(self, vectors: Sequence[Rows]) -> Rows:
        layout, lanes, run = self.layout, self.layout.shape.lanes, self._kernels("products")
        padded = [layout.padded(vector, layout.part_bytes) for vector in vectors]
        out = layout.results(len(padded[0]))
        stride = padded[0].strides[0]
        c, factor = layout.constants, layout.residue(layout.r ** len(vectors) % layout.order)

        def work(first: int, batches: int) -> None:
            held = aligned((batches * layout.vectors, lanes))
            at = first * lanes
            run["load"](held.ctypes.data, padded[0][at:].ctypes.data, stride, batches)
            for rows in padded[1:]:
                start = rows[at:].ctypes.data
                run["accumulate"](c.ctypes.data, held.ctypes.data, start, stride, batches, 1)
            self._release(run, out[at:], held, factor, batches)

        self._engine.workers.share(len(out) // lanes, _BATCHES, work)
        return np.ascontiguousarray(out[: len(vectors[0]), : self.width])

    def _release(
        self,
        run: dict[str, Callable[..., None]],
        out: Rows,
        held: NDArray[np.uint64],
        factor: NDArray[np.uint64],
        batches: int,
    ) -> None:
        run["release"](
            self.layout.constants.ctypes.data, out.ctypes.data, out.strides[0], held.ctypes.data,
            factor.ctypes.data, batches,
        )  # fmt: skip

    def fold(self, rows: Rows) -> int:
        """See :meth:`~.engine.Ring.fold`."""
        if self.digits == 2 or not self._usable("products", self._check_products):
            return self.reference.fold(rows)
        return self._fold(rows)

    def _fold(self, rows: Rows) -> int:
        layout, lanes, run = self.layout, self.layout.shape.lanes, self._kernels("products")
        padded = layout.padded(rows, layout.part_bytes)
        stride = padded.strides[0]
        found: list[Any] = []

        def work(first: int, batches: int) -> None:
            held, out = aligned((layout.vectors, lanes)), layout.results(lanes)
            factor = layout.residue(layout.r**batches % layout.order)
            start = padded[first * lanes :].ctypes.data
            run["load"](held.ctypes.data, start, stride, 1)
            if batches > 1:
                start = padded[(first + 1) * lanes :].ctypes.data
                c = layout.constants.ctypes.data
                run["accumulate"](c, held.ctypes.data, start, stride, batches - 1, 0)
            self._release(run, out, held, factor, 1)
            found.extend(integers(out[:, : self.width]))

        self._engine.workers.share(len(padded) // lanes, 8 * _BATCHES, work)
        total = mpz(1)
        for value in found:
            total = total * value % layout.order
        return int(total)

    def _check_products(self) -> bool:
        rows = self._samples()
        vectors = [rows, rows[::-1], np.roll(rows, 4, axis=0)]
        return np.array_equal(self._product(vectors), self.reference.product(vectors)) and (
            self._fold(rows[1:]) == self.reference.fold(rows[1:])
        )

    # ------------------------------------------------------------------ many exponents

    def multi_power(self, bases: Rows, exponents: Rows) -> int:
        """See :meth:`~.engine.Ring.multi_power`."""
        few = len(bases) < _FEW * self.layout.shape.lanes
        if few or not self._usable("buckets", self._check_buckets):
            return self.reference.multi_power(bases, exponents)
        return self._multi_power(bases, exponents)

    def _multi_power(self, bases: Rows, exponents: Rows) -> int:
        layout, lanes = self.layout, self.layout.shape.lanes
        windows = -(-exponents.shape[1] // lanes) * lanes
        chunks = layout.chunks(bases)
        rows = layout.padded(bases, chunks * layout.part_bytes)
        choices = np.zeros((len(rows), windows), np.uint8)
        choices[: len(bases), : exponents.shape[1]] = exponents
        found: list[list[Any]] = []

        def work(first: int, batches: int) -> None:
            part = slice(first * lanes, (first + batches) * lanes)
            found.append(self._windows(rows[part], choices[part], chunks))

        self._engine.workers.share(len(rows) // lanes, len(rows), work)
        result = mpz(1)
        for values in reversed(list(zip(*found, strict=True))):
            result = gmpy2.powmod(result, 1 << buckets.WINDOW, layout.order)
            for value in values:
                result = result * value % layout.order
        return int(result)

    def _windows(self, rows: Rows, choices: Rows, chunks: int) -> list[Any]:
        """Return, for each window of the exponents, the product of the bases to their digits."""
        layout, lanes, run = self.layout, self.layout.shape.lanes, self._kernels("buckets")
        c, batches = layout.constants.ctypes.data, len(rows) // lanes
        held = aligned((batches * layout.vectors, lanes))
        run["enter"](
            c, layout.entry.ctypes.data, held.ctypes.data, rows.ctypes.data, rows.strides[0],
            chunks, batches,
        )  # fmt: skip
        values: list[Any] = []
        for first in range(0, choices.shape[1], lanes):
            mine = np.ascontiguousarray(choices[:, first : first + lanes])
            held_buckets = aligned(((1 << buckets.WINDOW), layout.vectors, lanes))
            held_buckets[:] = layout.units[: layout.vectors]
            total, out = aligned((layout.vectors, lanes)), layout.results(lanes)
            run["scatter"](c, held_buckets.ctypes.data, held.ctypes.data, mine.ctypes.data, batches)
            run["collapse"](c, held_buckets.ctypes.data, total.ctypes.data)
            self._release(run, out, total, layout.one, 1)
            values.extend(integers(out[:, : self.width]))
        return values

    def _check_buckets(self) -> bool:
        bases = self._samples()[1:]
        exponents = np.arange(5 * len(bases), dtype=np.uint8).reshape(-1, 5) * np.uint8(37)
        return self._multi_power(bases, exponents) == self.reference.multi_power(bases, exponents)

    def bucket_products(self, rows: Rows, choices: Rows, buckets: int) -> Rows:
        """See :meth:`~.engine.Ring.bucket_products`: a lane works on a column of its own."""
        if not self._usable("buckets", self._check_buckets):
            return self.reference.bucket_products(rows, choices, buckets)
        layout, lanes, run = self.layout, self.layout.shape.lanes, self._kernels("buckets")
        c, chunks, columns = layout.constants.ctypes.data, layout.chunks(rows), choices.shape[1]
        groups = -(-columns // lanes)
        cells = aligned((groups, buckets, layout.vectors, lanes))
        cells[:] = layout.units[: layout.vectors]
        for first in range(0, len(rows), _HELD_ROWS):
            part = layout.padded(rows[first : first + _HELD_ROWS], chunks * layout.part_bytes)
            batches = len(part) // lanes
            held = aligned((batches * layout.vectors, lanes))
            run["enter"](
                c, layout.entry.ctypes.data, held.ctypes.data, part.ctypes.data, part.strides[0],
                chunks, batches,
            )  # fmt: skip
            # Rows that fill the last batch are 1: in whichever bucket, they change nothing.
            wide = np.zeros((len(part), groups * lanes), np.uint8)
            wide[: len(rows) - first, :columns] = choices[first : first + len(part)]

            def sort(
                group: int, _: int, held: NDArray[np.uint64] = held, wide: Rows = wide
            ) -> None:
                mine = np.ascontiguousarray(wide[:, group * lanes : (group + 1) * lanes])
                run["scatter"](
                    c, cells[group].ctypes.data, held.ctypes.data, mine.ctypes.data,
                    len(mine) // lanes,
                )  # fmt: skip

            self._engine.workers.share(groups, 1, sort)
        out = layout.results(groups * buckets * lanes)
        self._release(run, out, cells.reshape(-1, lanes), layout.one, groups * buckets)
        sorted_out = out[:, : self.width].reshape(groups, buckets, lanes, self.width)
        flat = np.ascontiguousarray(sorted_out.transpose(0, 2, 1, 3))
        return flat.reshape(-1, self.width)[: columns * buckets]


class VectorEngine:
    """See the module."""

    def __init__(self, shape: Shape, threads: int | None = None) -> None:
        """Take a shape that this processor can run.

        Args:
            shape: One for which :func:`~.processor.reason_against` has nothing to say.
            threads: Threads to use; by default as many as there are processors.
        """
        self.name = shape.name
        self.shape = shape
        self.workers = Workers(threads)
        self.compiled = Compiled(shape)
        self.broken = False
        self._rings: dict[tuple[int, int], VectorRing] = {}

    def ring(self, modulus: int, digits: Digits = 1) -> VectorRing:
        """See :meth:`~.engine.Engine.ring`."""
        key = (modulus, digits)
        ring = self._rings.get(key)
        if ring is None:
            ring = VectorRing(self, modulus, digits)
            while len(self._rings) >= _KEPT_RINGS:
                self._rings.pop(next(iter(self._rings)), None)
            self._rings[key] = ring
        return ring

    def put_aside(self, why: str) -> None:
        """Leave everything to GMP from now on, and say so."""
        self.broken = True
        self.name = "gmp"
        msg = f"The {self.shape.name} engine is put aside: {why}. GMP goes on."
        warnings.warn(msg, EngineWarning, stacklevel=4)
