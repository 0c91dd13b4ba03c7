"""The vocabulary carried out on Python's integers: runs on any machine, and checks every lane.

A place is a buffer and an offset: a list of vectors, a list of numbers or a bytearray. A lane that
leaves 64 bits, an unsigned difference below zero, or a read of what was never written raises, so a
kernel that passes here has no carry too many on any input that was tried.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fusion.crypto.paillier.engines.kernels.shape import Shape

_LANE: Final = 1 << 64


class LaneOverflowError(AssertionError):
    """A lane left its 64 bits: the kernel is wrong."""


class At(NamedTuple):
    """A place: ``buffer[offset:]``, offsets in the buffer's own elements."""

    buffer: Any
    offset: int = 0


class ModelProgram:
    """Routines are their own texts."""

    def __init__(self, shape: Shape) -> None:
        """Take the shape that is modelled."""
        self.shape = shape
        self.exported: dict[str, Callable[..., None]] = {}

    def define(
        self, name: str, arguments: str, body: Callable[..., None], *, exported: bool = False
    ) -> Callable[..., None]:
        """See :class:`~.vocabulary.Program`."""
        del arguments
        if exported:
            self.exported[name] = body
        return body

    def run(self, name: str, *arguments: object) -> int:
        """Run an exported routine; return the longest lane seen, in bits."""
        machine = ModelMachine(self.shape)
        self.exported[name](machine, *arguments)
        return machine.peak


class ModelMachine:
    """Carries out a routine's text; see :class:`~.vocabulary.Machine`."""

    def __init__(self, shape: Shape) -> None:
        """Start with nothing seen."""
        self.shape = shape
        self.zero = self.splat(0)
        self.peak = 0

    def _checked(self, lanes: list[int]) -> list[int]:
        for lane in lanes:
            if not 0 <= lane < _LANE:
                msg = f"a lane holds {lane:#x}"
                raise LaneOverflowError(msg)
            self.peak = max(self.peak, lane.bit_length())
        return lanes

    # ------------------------------------------------------------------ vectors

    def splat(self, value: int) -> list[int]:
        return [value] * self.shape.lanes

    def _product(self, x: int, y: int) -> int:
        if self.shape.high:
            return (x & self.shape.mask) * (y & self.shape.mask)
        return (x & 0xFFFFFFFF) * (y & 0xFFFFFFFF)

    def lo(self, total: list[int], x: list[int], y: list[int]) -> list[int]:
        products = [self._product(a, b) for a, b in zip(x, y, strict=True)]
        if self.shape.high:
            products = [p & self.shape.mask for p in products]
        return self.add(total, products)

    def hi(self, total: list[int], x: list[int], y: list[int]) -> list[int]:
        halves = [self._product(a, b) >> self.shape.radix for a, b in zip(x, y, strict=True)]
        return self.add(total, halves)

    def add(self, x: list[int], y: list[int]) -> list[int]:
        return self._checked([a + b for a, b in zip(x, y, strict=True)])

    def sub(self, x: list[int], y: list[int]) -> list[int]:
        return self._checked([a - b for a, b in zip(x, y, strict=True)])

    def low(self, x: list[int]) -> list[int]:
        return [a & self.shape.mask for a in x]

    def carry(self, x: list[int]) -> list[int]:
        return self.right(x, self.shape.radix)

    def even(self, x: list[int]) -> list[int]:
        return [a & -2 for a in x]

    def left(self, x: list[int], bits: int) -> list[int]:
        return [a << bits & (_LANE - 1) for a in x]

    def right(self, x: list[int], bits: int) -> list[int]:
        return [a >> bits for a in x]

    def either(self, x: list[int], y: list[int]) -> list[int]:
        return [a | b for a, b in zip(x, y, strict=True)]

    def difference(self, x: list[int], y: list[int], borrow: list[int]) -> list[int]:
        return [a - b + c for a, b, c in zip(x, y, borrow, strict=True)]

    def borrow(self, x: list[int]) -> list[int]:
        return [a >> self.shape.radix for a in x]

    def unless_borrowed(self, borrow: list[int], x: list[int], y: list[int]) -> list[int]:
        return [a if c == 0 else b for c, a, b in zip(borrow, x, y, strict=True)]

    # ------------------------------------------------------------------ choices

    def equals(self, index: int, digit: int) -> list[int]:
        return self.splat(_LANE - 1 if index == digit else 0)

    def masked(self, x: list[int], mask: list[int]) -> list[int]:
        return [a & b for a, b in zip(x, mask, strict=True)]

    def look_up(self, table: At, bits: int, digits: list[int]) -> list[int]:
        bytes_each = self.shape.entry_bits // 8
        entries = bytes(table.buffer[table.offset : table.offset + (bytes_each << bits)])
        return [
            int.from_bytes(entries[d * bytes_each : (d + 1) * bytes_each], "little") for d in digits
        ]

    # ------------------------------------------------------------------ memory

    def scratch(self, count: int) -> At:
        return At([None] * count)

    def at(self, place: At, count: int) -> At:
        return self._moved(place, count, self.shape.vector_bytes)

    def words_at(self, place: At, count: int) -> At:
        return self._moved(place, count, 8)

    def bytes_at(self, place: At, count: int) -> At:
        return self._moved(place, count, 1)

    @staticmethod
    def _moved(place: At, count: int, unit: int) -> At:
        """Bytes are counted in bytes; lists of vectors or numbers in their elements."""
        wide = unit if isinstance(place.buffer, bytearray) else 1
        return At(place.buffer, place.offset + count * wide)

    def load(self, place: At, index: int = 0) -> list[int]:
        return list(place.buffer[place.offset + index])

    def store(self, value: list[int], place: At, index: int = 0) -> None:
        place.buffer[place.offset + index] = list(value)

    def word(self, place: At, index: int = 0) -> int:
        return int(place.buffer[place.offset + index])

    def spread(self, place: At, index: int = 0) -> list[int]:
        return self.splat(self.word(place, index))

    def spread_lane(self, place: At, index: int, lane: int) -> list[int]:
        return self.splat(int(place.buffer[place.offset + index][lane]))

    def read_rows(self, place: At, stride: int) -> list[int]:
        starts = [place.offset + lane * stride for lane in range(self.shape.lanes)]
        return [int.from_bytes(place.buffer[s : s + 8], "little") for s in starts]

    def write_rows(self, value: list[int], place: At, stride: int) -> None:
        for lane, element in enumerate(value):
            start = place.offset + lane * stride
            place.buffer[start : start + 8] = element.to_bytes(8, "little")

    def read_digits(self, place: At, stride: int, bit: int, bits: int) -> list[int]:
        rows = [At(place.buffer, place.offset + lane * stride) for lane in range(self.shape.lanes)]
        return [self.read_digit(row, bit, bits) for row in rows]

    def read_digit(self, place: At, bit: int, bits: int) -> int:
        start = place.offset + bit // 8
        loaded = int.from_bytes(place.buffer[start : start + 2], "little")
        return loaded >> bit % 8 & ((1 << bits) - 1)

    def read_buckets(self, places: Sequence[At], index: int) -> list[int]:
        return [int(p.buffer[p.offset + index][lane]) for lane, p in enumerate(places)]

    def write_buckets(self, value: list[int], places: Sequence[At], index: int) -> None:
        for lane, place in enumerate(places):
            place.buffer[place.offset + index][lane] = value[lane]

    def byte(self, place: At, index: int) -> int:
        return int(place.buffer[place.offset + index])

    # ------------------------------------------------------------------ numbers and control

    def plus(self, x: int, y: int) -> int:
        return x + y

    def minus(self, x: int, y: int) -> int:
        return x - y

    def times(self, x: int, y: int) -> int:
        return x * y

    def loop(
        self,
        start: int,
        stop: int,
        step: int,
        carried: Sequence[Any],
        body: Callable[..., Sequence[Any] | None],
    ) -> list[Any]:
        if not start < stop:
            msg = f"a loop from {start} to {stop} has no turn"
            raise LaneOverflowError(msg)
        held = list(carried)
        for index in range(start, stop, step):
            held = list(body(index, *held) or ())
        return held

    def call(self, routine: Callable[..., None], *arguments: Any) -> None:
        routine(self, *arguments)
