"""Runs exported kernels on Python's integers, with the memory that a ring's layout says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fusion.crypto.paillier.engines.kernels import buckets, comb, power, products
from fusion.crypto.paillier.engines.kernels.model import At, ModelProgram
from fusion.crypto.paillier.engines.layout import RingLayout
from fusion.crypto.paillier.residues import integers, rows_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    import numpy as np
    from numpy.typing import NDArray

    from fusion.crypto.paillier.engines.engine import Digits
    from fusion.crypto.paillier.engines.kernels.shape import Shape
    from fusion.crypto.paillier.residues import Rows


class ModelRing:
    """A ring whose kernels run on the model; ``peak`` is the longest lane seen, in bits."""

    def __init__(self, shape: Shape, modulus: int, digits: Digits) -> None:
        self.layout = RingLayout(shape, modulus, digits)
        self.lanes = shape.lanes
        self.constants = At(self.layout.constants.tolist())
        self.entry = At(self.layout.entry.tolist())
        self.units = At(self.layout.units.tolist())
        self.one = At(self.layout.one.tolist())
        self.peak = 0

    def _program(self, group: ModuleType) -> ModelProgram:
        program = ModelProgram(self.layout.shape)
        group.define(program, self.layout.size, self.layout.digits)
        return program

    def _run(self, program: ModelProgram, name: str, *arguments: object) -> None:
        self.peak = max(self.peak, program.run(name, *arguments))

    def _rows(self, values: Sequence[int], width: int) -> tuple[At, int, int]:
        """Return a place, its stride and its batches."""
        longest = max(-(-max(v.bit_length() for v in values) // 8), 1)
        rows = self.layout.padded(rows_of(values, longest), width)
        return At(bytearray(rows.tobytes())), rows.shape[1], len(rows) // self.lanes

    def _read(self, out: Rows, place: At, count: int) -> list[int]:
        width = out.shape[1]
        out = out.copy()
        for i in range(len(out)):
            row = place.buffer[i * width : (i + 1) * width]
            out[i] = memoryview(bytes(row))
        return [
            int(v) for v in integers(out[:count, : self.layout.part_bytes * self.layout.digits])
        ]

    def product(self, vectors: Sequence[Sequence[int]]) -> list[int]:
        program, layout = self._program(products), self.layout
        out = layout.results(-(-len(vectors[0]) // self.lanes) * self.lanes)
        target = At(bytearray(out.tobytes()))
        place, stride, batches = self._rows(vectors[0], layout.part_bytes)
        held = At([None] * (batches * layout.vectors))
        self._run(program, "load", held, place, stride, batches)
        for vector in vectors[1:]:
            place, stride, batches = self._rows(vector, layout.part_bytes)
            self._run(program, "accumulate", self.constants, held, place, stride, batches, 1)
        factor = At(layout.residue(layout.r ** len(vectors) % layout.order).tolist())
        self._run(program, "release", self.constants, target, out.shape[1], held, factor, batches)
        return self._read(out, target, len(vectors[0]))

    def power(self, bases: Sequence[int], exponent: int) -> list[int]:
        program, layout = self._program(power), self.layout
        longest = max(-(-max(b.bit_length() for b in bases) // 8), 1)
        chunks = -(-longest // layout.part_bytes)
        place, stride, batches = self._rows(bases, chunks * layout.part_bytes)
        out = layout.results(batches * self.lanes)
        target = At(bytearray(out.tobytes()))
        windows = max(2, -(-exponent.bit_length() // power.WINDOW))
        digits = At(bytearray(exponent.to_bytes(windows, "little") + bytes(2)))
        self._run(
            program, "power", self.constants, self.entry, self.units, target, out.shape[1],
            place, stride, chunks, digits, windows, batches,
        )  # fmt: skip
        return self._read(out, target, len(bases))

    def comb(
        self,
        table: NDArray[Any],
        factors: NDArray[np.uint64],
        exponents: Sequence[int],
        messages: Sequence[int],
    ) -> list[int]:
        program, layout = self._program(comb), self.layout
        windows = len(table)
        digits, stride, batches = self._rows(exponents, -(-windows * comb.WINDOW // 8))
        longest = max(-(-max(m.bit_length() for m in messages) // 8), 1)
        chunks = -(-longest // layout.part_bytes)
        texts, text_stride, _ = self._rows(messages, chunks * layout.part_bytes)
        out = layout.results(batches * self.lanes)
        target = At(bytearray(out.tobytes()))
        held = At([None] * (batches * comb.held_for(layout.size, layout.digits)))
        self._run(
            program, "comb", self.constants, At(factors.tolist()), self.one, target, out.shape[1],
            At(bytearray(table.tobytes())), digits, stride, texts, text_stride, chunks, windows,
            held, batches,
        )  # fmt: skip
        return self._read(out, target, len(exponents))

    def buckets(self, bases: Sequence[int], digits: Sequence[int]) -> list[int]:
        """Return, for each lane's window, the product of the bases to their digits."""
        program, layout = self._program(buckets), self.layout
        place, stride, batches = self._rows(bases, layout.part_bytes * layout.digits)
        held = At([None] * (batches * layout.vectors))
        self._run(
            program, "enter", self.constants, self.entry, held, place, stride, layout.digits,
            batches,
        )  # fmt: skip
        full = [*digits, *[0] * (batches * self.lanes - len(digits))]
        choices = At(
            bytearray(
                b"".join(
                    bytes([(d + i) % 256 if d else 0 for i in range(self.lanes)]) for d in full
                )
            )
        )
        unit = self.units.buffer[: layout.vectors]
        heaps = At([list(v) for _ in range(1 << buckets.WINDOW) for v in unit])
        self._run(program, "scatter", self.constants, heaps, held, choices, batches)
        total = At([None] * layout.vectors)
        self._run(program, "collapse", self.constants, heaps, total)
        out = layout.results(self.lanes)
        target = At(bytearray(out.tobytes()))
        self._run(program, "release", self.constants, target, out.shape[1], total, self.one, 1)
        return self._read(out, target, self.lanes)
