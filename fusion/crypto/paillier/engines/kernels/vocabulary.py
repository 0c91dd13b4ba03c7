"""The words in which kernels are written; what says them is a machine.

A *vector* holds one limb of several residues, a *number* is an integer outside the vectors (an
index, a count), a *place* is somewhere in memory. :class:`~.llvm.LlvmMachine` turns the words into
instructions, :class:`~.model.ModelMachine` carries them out on Python's integers and checks that
nothing overflows; the kernels can't tell which.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fusion.crypto.paillier.engines.kernels.shape import Shape

Vector = Any
Number = Any
Place = Any
Routine = Any


class Machine(Protocol):
    """Says or does what a kernel's text says.

    Attributes:
        shape: The vector unit.
        zero: The vector of zeros.
    """

    shape: Shape
    zero: Vector

    # ------------------ vectors, lane by lane; unsigned 64-bit lanes that must not overflow
    def splat(self, value: int) -> Vector:
        """Return a constant in every lane."""
        ...

    def lo(self, total: Vector, x: Vector, y: Vector) -> Vector:
        """Return ``total`` plus the product of two limbs, or the product's lower half (IFMA)."""
        ...

    def hi(self, total: Vector, x: Vector, y: Vector) -> Vector:
        """Return ``total`` plus the upper half of the product of two limbs (IFMA only)."""
        ...

    def add(self, x: Vector, y: Vector) -> Vector:
        """Return ``x + y``."""
        ...

    def sub(self, x: Vector, y: Vector) -> Vector:
        """Return ``x - y``, which must not be negative."""
        ...

    def low(self, x: Vector) -> Vector:
        """Return the lower limb of a lane."""
        ...

    def carry(self, x: Vector) -> Vector:
        """Return what lies above the lower limb."""
        ...

    def even(self, x: Vector) -> Vector:
        """Return ``x`` with its lowest bit cleared."""
        ...

    def left(self, x: Vector, bits: int) -> Vector:
        """Return ``x`` shifted left; what leaves the lane is lost."""
        ...

    def right(self, x: Vector, bits: int) -> Vector:
        """Return ``x`` shifted right."""
        ...

    def either(self, x: Vector, y: Vector) -> Vector:
        """Return the bits of both."""
        ...

    # ------------------ signed lanes, for a conditional subtraction
    def difference(self, x: Vector, y: Vector, borrow: Vector) -> Vector:
        """Return ``x - y + borrow``, which may be negative."""
        ...

    def borrow(self, x: Vector) -> Vector:
        """Return what a difference takes from the next limb: 0 or -1."""
        ...

    def unless_borrowed(self, borrow: Vector, x: Vector, y: Vector) -> Vector:
        """Return the lanes of ``x`` where ``borrow`` is 0, of ``y`` elsewhere."""
        ...

    # ------------------ choices that must not show
    def equals(self, index: int, digit: Number) -> Vector:
        """Return all ones if a secret number is ``index``, zeros otherwise."""
        ...

    def masked(self, x: Vector, mask: Vector) -> Vector:
        """Return ``x`` where the mask is ones."""
        ...

    def look_up(self, table: Place, bits: int, digits: Vector) -> Vector:
        """Return, for each lane, entry ``digits`` of the ``2 ** bits`` entries at ``table``.

        Every entry is read; the choice is made in registers.
        """
        ...

    # ------------------ memory
    def scratch(self, count: int) -> Place:
        """Return room for ``count`` vectors, undefined."""
        ...

    def at(self, place: Place, count: Number) -> Place:
        """Return the place ``count`` vectors further."""
        ...

    def load(self, place: Place, index: Number = 0) -> Vector:
        """Read a vector."""
        ...

    def store(self, value: Vector, place: Place, index: Number = 0) -> None:
        """Write a vector."""
        ...

    def word(self, place: Place, index: Number = 0) -> Number:
        """Read a 64-bit number."""
        ...

    def words_at(self, place: Place, count: Number) -> Place:
        """Return the place ``count`` 64-bit numbers further."""
        ...

    def spread(self, place: Place, index: Number = 0) -> Vector:
        """Read a 64-bit number into every lane."""
        ...

    def spread_lane(self, place: Place, index: Number, lane: Number) -> Vector:
        """Read one lane of a vector into every lane."""
        ...

    def bytes_at(self, place: Place, count: Number) -> Place:
        """Return the place ``count`` bytes further."""
        ...

    def read_rows(self, place: Place, stride: Number) -> Vector:
        """Read 64 bits at ``place`` and at every ``stride`` bytes after it, one a lane."""
        ...

    def write_rows(self, value: Vector, place: Place, stride: Number) -> None:
        """Write each lane's 64 bits at ``place`` and at every ``stride`` bytes after it."""
        ...

    def read_digits(self, place: Place, stride: Number, bit: Number, bits: int) -> Vector:
        """Read ``bits`` bits at bit ``bit`` of the rows at ``place``, one row a lane."""
        ...

    def read_digit(self, place: Place, bit: Number, bits: int) -> Number:
        """Read ``bits`` bits at bit ``bit`` of the row at ``place``."""
        ...

    def read_buckets(self, places: Sequence[Place], index: Number) -> Vector:
        """Read vector ``index`` at a place of its own for each lane, that lane of it."""
        ...

    def write_buckets(self, value: Vector, places: Sequence[Place], index: Number) -> None:
        """Write what :meth:`read_buckets` reads."""
        ...

    def byte(self, place: Place, index: Number) -> Number:
        """Read a byte."""
        ...

    # ------------------ numbers and control
    def plus(self, x: Number, y: Number) -> Number:
        """Return ``x + y``."""
        ...

    def minus(self, x: Number, y: Number) -> Number:
        """Return ``x - y``."""
        ...

    def times(self, x: Number, y: Number) -> Number:
        """Return ``x * y``."""
        ...

    def loop(
        self,
        start: Number,
        stop: Number,
        step: int,
        carried: Sequence[Any],
        body: Callable[..., Sequence[Any] | None],
    ) -> list[Any]:
        """Run ``body(i, *carried)`` for i from ``start`` below ``stop``, at least once.

        The body returns what is carried into the next turn; the last of it is returned.
        """
        ...

    def call(self, routine: Routine, *arguments: Any) -> None:  # noqa: ANN401
        """Call a routine of the same program."""
        ...


class Program(Protocol):
    """Routines that may call each other.

    Attributes:
        shape: The vector unit.
    """

    shape: Shape

    def define(
        self, name: str, arguments: str, body: Callable[..., None], *, exported: bool = False
    ) -> Routine:
        """Add a routine.

        Args:
            name: Of the routine.
            arguments: One letter each: ``p`` for a place, ``i`` for a number.
            body: Its text: ``body(machine, *arguments)``.
            exported: Whether it can be called from outside.
        """
        ...
