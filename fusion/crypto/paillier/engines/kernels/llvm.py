"""The vocabulary said in LLVM's intermediate representation, through llvmlite's builder.

Nothing here knows about arithmetic modulo anything. Memory is addressed by loop counters and
public sizes; digits choose only inside registers (``equals``, ``look_up``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from llvmlite import ir

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fusion.crypto.paillier.engines.kernels.shape import Shape

_I8: Final = ir.IntType(8)
_I16: Final = ir.IntType(16)
_I32: Final = ir.IntType(32)
_I64: Final = ir.IntType(64)
_PLACE: Final = ir.PointerType()
_KINDS: Final = {"p": _PLACE, "i": _I64}


class LlvmProgram:
    """Routines of one module."""

    def __init__(self, shape: Shape) -> None:
        """Start an empty module."""
        self.shape = shape
        self.module = ir.Module()

    def define(
        self, name: str, arguments: str, body: Callable[..., None], *, exported: bool = False
    ) -> ir.Function:
        """See :class:`~.vocabulary.Program`."""
        kind = ir.FunctionType(ir.VoidType(), [_KINDS[letter] for letter in arguments])
        function = ir.Function(self.module, kind, name)
        function.attributes.add("nounwind")
        if not exported:
            function.linkage = "internal"
            function.attributes.add("noinline")
        machine = LlvmMachine(self.shape, self.module, function)
        body(machine, *function.args)
        machine.builder.ret_void()
        return function


class LlvmMachine:
    """Says a routine's text into a function; see :class:`~.vocabulary.Machine`."""

    def __init__(self, shape: Shape, module: ir.Module, function: ir.Function) -> None:
        """Start at the function's entry."""
        self.shape = shape
        self._module = module
        self._vector = ir.VectorType(_I64, shape.lanes)
        self.zero = self.splat(0)
        self.builder = ir.IRBuilder(function.append_basic_block("entry"))

    # ------------------------------------------------------------------ vectors

    def splat(self, value: int) -> Any:
        return ir.Constant(self._vector, [value] * self.shape.lanes)

    def lo(self, total: Any, x: Any, y: Any) -> Any:
        if self.shape.high:
            return self._fused("l", total, x, y)
        # The masks tell LLVM that VPMULUDQ, on the lower 32 bits of a lane, will do.
        low = self.splat((1 << 32) - 1)
        product = self.builder.mul(self.builder.and_(x, low), self.builder.and_(y, low))
        return self.add(total, product)

    def hi(self, total: Any, x: Any, y: Any) -> Any:
        return self._fused("h", total, x, y)

    def _fused(self, half: str, total: Any, x: Any, y: Any) -> Any:
        name = f"llvm.x86.avx512.vpmadd52{half}.uq.512"
        return self._intrinsic(name, self._vector, [total, x, y])

    def _intrinsic(self, name: str, result: ir.Type, arguments: Sequence[Any]) -> Any:
        function = self._module.globals.get(name)
        if function is None:
            kind = ir.FunctionType(result, [argument.type for argument in arguments])
            function = ir.Function(self._module, kind, name)
        return self.builder.call(function, arguments)

    def add(self, x: Any, y: Any) -> Any:
        if x is self.zero:
            return y
        return x if y is self.zero else self.builder.add(x, y)

    def sub(self, x: Any, y: Any) -> Any:
        return self.builder.sub(x, y)

    def low(self, x: Any) -> Any:
        return self.builder.and_(x, self.splat(self.shape.mask))

    def carry(self, x: Any) -> Any:
        return self.right(x, self.shape.radix)

    def even(self, x: Any) -> Any:
        return self.builder.and_(x, self.splat(-2))

    def left(self, x: Any, bits: int) -> Any:
        return self.builder.shl(x, self.splat(bits))

    def right(self, x: Any, bits: int) -> Any:
        return self.builder.lshr(x, self.splat(bits))

    def either(self, x: Any, y: Any) -> Any:
        return self.builder.or_(x, y)

    def difference(self, x: Any, y: Any, borrow: Any) -> Any:
        return self.builder.add(self.builder.sub(x, y), borrow)

    def borrow(self, x: Any) -> Any:
        return self.builder.ashr(x, self.splat(self.shape.radix))

    def unless_borrowed(self, borrow: Any, x: Any, y: Any) -> Any:
        return self.builder.select(self.builder.icmp_signed("==", borrow, self.zero), x, y)

    # ------------------------------------------------------------------ choices

    def equals(self, index: int, digit: Any) -> Any:
        same = self.builder.icmp_unsigned("==", digit, _I64(index))
        return self._broadcast(self.builder.sext(same, _I64))

    def masked(self, x: Any, mask: Any) -> Any:
        return self.builder.and_(x, mask)

    def look_up(self, table: Any, bits: int, digits: Any) -> Any:
        lane = ir.IntType(self.shape.entry_bits)
        kind = ir.VectorType(lane, self.shape.entries)
        count = (1 << bits) // self.shape.entries
        places = [self.builder.gep(table, [_I64(i)], source_etype=kind) for i in range(count)]
        entries = [
            self.builder.load(place, align=self.shape.vector_bytes, typ=kind) for place in places
        ]
        if self.shape.entry_bits == 64:
            found = self._permuted_pairs(entries, digits, kind)
            first = 4
        else:
            index = self.builder.bitcast(digits, kind)
            name = "llvm.x86.avx2.permd"
            found = [self._intrinsic(name, kind, [entry, index]) for entry in entries]
            found = [self.builder.bitcast(entry, self._vector) for entry in found]
            first = 3
        for bit in range(first, bits):
            chosen = self.builder.and_(digits, self.splat(1 << bit))
            upper = self.builder.icmp_unsigned("!=", chosen, self.zero)
            found = [
                self.builder.select(upper, found[j + 1], found[j]) for j in range(0, len(found), 2)
            ]
        # A 64-bit lane's upper half looked entry 0 up as well.
        return found[0] if self.shape.entry_bits == 64 else self.low(found[0])

    def _permuted_pairs(self, entries: list[Any], digits: Any, kind: ir.Type) -> list[Any]:
        name = "llvm.x86.avx512.vpermi2var.q.512"
        return [
            self._intrinsic(name, kind, [entries[j], digits, entries[j + 1]])
            for j in range(0, len(entries), 2)
        ]

    # ------------------------------------------------------------------ memory

    def scratch(self, count: int) -> Any:
        with self.builder.goto_entry_block():
            place = self.builder.alloca(self._vector, count)
        place.align = self.shape.vector_bytes
        return place

    def at(self, place: Any, count: Any) -> Any:
        return self.builder.gep(place, [self._number(count)], source_etype=self._vector)

    def load(self, place: Any, index: Any = 0) -> Any:
        return self.builder.load(
            self.at(place, index), align=self.shape.vector_bytes, typ=self._vector
        )

    def store(self, value: Any, place: Any, index: Any = 0) -> None:
        self.builder.store(value, self.at(place, index), align=self.shape.vector_bytes)

    def word(self, place: Any, index: Any = 0) -> Any:
        return self.builder.load(self.words_at(place, index), align=8, typ=_I64)

    def words_at(self, place: Any, count: Any) -> Any:
        return self.builder.gep(place, [self._number(count)], source_etype=_I64)

    def spread(self, place: Any, index: Any = 0) -> Any:
        return self._broadcast(self.word(place, index))

    def spread_lane(self, place: Any, index: Any, lane: Any) -> Any:
        return self.spread(self.at(place, index), lane)

    def bytes_at(self, place: Any, count: Any) -> Any:
        return self.builder.gep(place, [self._number(count)], source_etype=_I8)

    def read_rows(self, place: Any, stride: Any) -> Any:
        return self._lanes(
            self.builder.load(row, align=1, typ=_I64) for row in self._rows(place, stride)
        )

    def write_rows(self, value: Any, place: Any, stride: Any) -> None:
        for lane, row in enumerate(self._rows(place, stride)):
            self.builder.store(self.builder.extract_element(value, _I32(lane)), row, align=1)

    def _rows(self, place: Any, stride: Any) -> list[Any]:
        rows = [place]
        for _ in range(self.shape.lanes - 1):
            rows.append(self.bytes_at(rows[-1], stride))
        return rows

    def read_digits(self, place: Any, stride: Any, bit: Any, bits: int) -> Any:
        offset, shift = self._bit(bit)
        start = self.bytes_at(place, offset)
        loaded = self._lanes(
            self.builder.zext(self.builder.load(row, align=1, typ=_I16), _I64)
            for row in self._rows(start, stride)
        )
        shifted = self.builder.lshr(loaded, self._broadcast(shift))
        return self.builder.and_(shifted, self.splat((1 << bits) - 1))

    def read_digit(self, place: Any, bit: Any, bits: int) -> Any:
        offset, shift = self._bit(bit)
        loaded = self.builder.load(self.bytes_at(place, offset), align=1, typ=_I16)
        shifted = self.builder.lshr(self.builder.zext(loaded, _I64), shift)
        return self.builder.and_(shifted, _I64((1 << bits) - 1))

    def _bit(self, bit: Any) -> tuple[Any, Any]:
        return self.builder.lshr(bit, _I64(3)), self.builder.and_(bit, _I64(7))

    def read_buckets(self, places: Sequence[Any], index: Any) -> Any:
        return self._lanes(
            self.builder.load(self._bucket(place, index, lane), align=8, typ=_I64)
            for lane, place in enumerate(places)
        )

    def write_buckets(self, value: Any, places: Sequence[Any], index: Any) -> None:
        for lane, place in enumerate(places):
            element = self.builder.extract_element(value, _I32(lane))
            self.builder.store(element, self._bucket(place, index, lane), align=8)

    def _bucket(self, place: Any, index: Any, lane: int) -> Any:
        return self.words_at(self.at(place, index), lane)

    def byte(self, place: Any, index: Any) -> Any:
        loaded = self.builder.load(self.bytes_at(place, index), align=1, typ=_I8)
        return self.builder.zext(loaded, _I64)

    # ------------------------------------------------------------------ numbers and control

    def plus(self, x: Any, y: Any) -> Any:
        return self.builder.add(self._number(x), self._number(y))

    def minus(self, x: Any, y: Any) -> Any:
        return self.builder.sub(self._number(x), self._number(y))

    def times(self, x: Any, y: Any) -> Any:
        return self.builder.mul(self._number(x), self._number(y))

    def loop(
        self,
        start: Any,
        stop: Any,
        step: int,
        carried: Sequence[Any],
        body: Callable[..., Sequence[Any] | None],
    ) -> list[Any]:
        builder = self.builder
        before = builder.block
        head = builder.append_basic_block("loop")
        builder.branch(head)
        builder.position_at_end(head)
        counter = builder.phi(_I64)
        counter.add_incoming(self._number(start), before)
        held = []
        for value in carried:
            phi = builder.phi(value.type)
            phi.add_incoming(value, before)
            held.append(phi)
        following = list(body(counter, *held) or ())
        turned = builder.add(counter, _I64(step))
        counter.add_incoming(turned, builder.block)
        for phi, value in zip(held, following, strict=True):
            phi.add_incoming(value, builder.block)
        more = builder.icmp_unsigned("<", turned, self._number(stop))
        done = builder.append_basic_block("done")
        builder.cbranch(more, head, done)
        builder.position_at_end(done)
        return following

    def call(self, routine: ir.Function, *arguments: Any) -> None:
        self.builder.call(routine, [self._number(argument) for argument in arguments])

    # ------------------------------------------------------------------ small helpers

    def _number(self, value: Any) -> Any:
        return _I64(value) if isinstance(value, int) else value

    def _broadcast(self, number: Any) -> Any:
        undefined = ir.Constant(self._vector, ir.Undefined)
        one = self.builder.insert_element(undefined, number, _I32(0))
        zeros = ir.Constant(ir.VectorType(_I32, self.shape.lanes), [0] * self.shape.lanes)
        return self.builder.shuffle_vector(one, undefined, zeros)

    def _lanes(self, numbers: Any) -> Any:
        vector = ir.Constant(self._vector, ir.Undefined)
        for lane, number in enumerate(numbers):
            vector = self.builder.insert_element(vector, number, _I32(lane))
        return vector
