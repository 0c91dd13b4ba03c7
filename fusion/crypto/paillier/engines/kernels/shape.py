"""What a processor offers to the kernels, and how a number is cut for it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

_SLACK_BITS: Final = 16
"""R is at least 2^16 times the modulus: sums of a few residues may be multiplied unreduced."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A vector unit.

    Attributes:
        name: Of the engine.
        lanes: Residues side by side in one vector.
        radix: Bits of a limb.
        high: Whether the unit gives the upper half of a product of two limbs, in its own
            accumulation (IFMA); otherwise products of two limbs fit the lane.
        rows: Candidates for the number of limbs of the second factor that are taken at a time.
        cpu: LLVM's name of the target.
        features: What is added to it.
        needs: Host features without which the code must not even be compiled: LLVM aborts.
        entry_bits: Bits of a table entry.
        entries: Table entries in one vector.
    """

    name: str
    lanes: int
    radix: int
    high: bool
    rows: tuple[int, ...]
    cpu: str
    features: str
    needs: tuple[str, ...]
    entry_bits: int
    entries: int

    @property
    def mask(self) -> int:
        """The largest limb."""
        return (1 << self.radix) - 1

    @property
    def vector_bytes(self) -> int:
        """Bytes of a vector: lanes of 64 bits."""
        return 8 * self.lanes

    def size(self, bits: int) -> Size:
        """Return how a modulus of ``bits`` bits is cut.

        The number of limbs is even (so that chunks of them start at a byte) and a multiple of the
        rows taken at a time.
        """
        least = -(-(bits + _SLACK_BITS) // self.radix)
        step = 52 // self.radix * 2
        candidates = [
            (-(-max(least, 2 * rows) // unit) * unit, -rows)
            for rows in self.rows
            for unit in (math.lcm(rows, step),)
        ]
        limbs, rows = min(candidates)
        return Size(limbs, -rows)


@dataclass(frozen=True, slots=True)
class Size:
    """Limbs of a number, and how many of them are taken at a time."""

    limbs: int
    rows: int


IFMA: Final = Shape(
    name="ifma",
    lanes=8,
    radix=52,
    high=True,
    rows=(2,),
    cpu="x86-64-v4",
    features="+avx512ifma",
    needs=("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "avx512ifma"),
    entry_bits=64,
    entries=8,
)
"""AVX-512 with the fused 52-bit multiply-add (Intel SDM, VPMADD52LUQ and VPMADD52HUQ)."""

AVX2: Final = Shape(
    name="avx2",
    lanes=4,
    radix=26,
    high=False,
    rows=(4,),
    cpu="x86-64-v3",
    features="",
    needs=("avx2", "bmi2", "fma", "f16c", "lzcnt", "movbe"),
    entry_bits=32,
    entries=8,
)
"""AVX2: products of two 26-bit limbs by VPMULUDQ."""
