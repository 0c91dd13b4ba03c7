"""The kernels' memory accesses, observed: the same addresses in the same order for any secret."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fusion.crypto.paillier.engines.fixed_base import factors_of, table_of
from fusion.crypto.paillier.engines.kernels.model import At, ModelMachine, ModelProgram
from fusion.crypto.paillier.engines.kernels.shape import AVX2, IFMA
from tests.engines.kernels_on_the_model import ModelRing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType

    from fusion.crypto.paillier.engines.kernels.shape import Shape

MODULUS = (2**120 * 0x9E37 >> 16) | 1


class WatchedMachine(ModelMachine):
    """Writes down every place that is read or written, and every turn of a loop."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self.seen: list[tuple[str, int]] = []

    def load(self, place: At, index: int = 0) -> list[int]:
        self.seen.append(("load", place.offset + index))
        return super().load(place, index)

    def store(self, value: list[int], place: At, index: int = 0) -> None:
        self.seen.append(("store", place.offset + index))
        super().store(value, place, index)

    def word(self, place: At, index: int = 0) -> int:
        self.seen.append(("word", place.offset + index))
        return super().word(place, index)

    def look_up(self, table: At, bits: int, digits: list[int]) -> list[int]:
        # The word promises to read all 2^bits entries: what it is called with is what shows.
        self.seen.append(("look_up", table.offset))
        return super().look_up(table, bits, digits)

    def read_rows(self, place: At, stride: int) -> list[int]:
        self.seen.append(("rows", place.offset))
        return super().read_rows(place, stride)

    def read_digit(self, place: At, bit: int, bits: int) -> int:
        self.seen.append(("digit", place.offset + bit))
        return super().read_digit(place, bit, bits)

    def loop(
        self,
        start: int,
        stop: int,
        step: int,
        carried: Sequence[object],
        body: Callable[..., Sequence[Any] | None],
    ) -> list[Any]:
        self.seen.append(("loop", stop))
        return super().loop(start, stop, step, carried, body)


class WatchedProgram(ModelProgram):
    """Runs its routines on one watched machine."""

    def run(self, name: str, *arguments: object) -> int:
        self.machine = WatchedMachine(self.shape)
        self.exported[name](self.machine, *arguments)
        return self.machine.peak


class WatchedRing(ModelRing):
    """A ring whose last kernel's accesses can be compared."""

    def _program(self, group: ModuleType) -> WatchedProgram:
        self.program = WatchedProgram(self.layout.shape)
        group.define(self.program, self.layout.size, self.layout.digits)
        return self.program

    @property
    def seen(self) -> list[tuple[str, int]]:
        return self.program.machine.seen


@pytest.mark.parametrize("shape", [IFMA, AVX2], ids=lambda shape: shape.name)
def test_memory_is_read_in_the_same_order_whatever_the_exponent(shape: Shape) -> None:
    seen = []
    for exponent in (0x8000F, 0xFFFFF, 0x90210):
        ring = WatchedRing(shape, MODULUS, 2)
        ring.power([5, 7], exponent)
        seen.append(ring.seen)
    assert seen[0] == seen[1] == seen[2]
    assert len(seen[0]) > 500


@pytest.mark.parametrize("shape", [IFMA, AVX2], ids=lambda shape: shape.name)
def test_memory_is_read_in_the_same_order_whatever_exponents_and_messages(shape: Shape) -> None:
    seen = []
    secrets = [([0, 1], [0, 0]), ([2**24 - 1, 77], [MODULUS - 1, 5]), ([64, 2**23], [9, MODULUS])]
    for exponents, messages in secrets:
        ring = WatchedRing(shape, MODULUS, 2)
        table, factors = table_of(ring.layout, 3, 4), factors_of(ring.layout, 1)
        ring.comb(table, factors, [*exponents, 2**24 - 1], [*messages, MODULUS])
        seen.append(ring.seen)
    assert seen[0] == seen[1] == seen[2]
    assert len(seen[0]) > 500
