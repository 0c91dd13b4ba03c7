"""What an engine of ristretto255 does, secret scalars, and why bytes are no usable point.

Arrays of points are bytes, 32 to a point. An engine refuses a point that does not decode and one
whose product is the identity (RFC 9496, 4.3.1); :func:`fault_of` then says which of the two it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, Protocol

import numpy as np

from fusion.crypto import rng
from fusion.errors import KeyRefused

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

ORDER: Final = 2**252 + 27742317777372353535851937790883648493
"""Of the group (RFC 9496, 4)."""
FIELD: Final = 2**255 - 19
POINT_BYTES: Final = 32
UNIFORM_BYTES: Final = 64
"""What the one-way map of a point takes (RFC 9496, 4.3.4)."""
SCALAR_BYTES: Final = 32

Fault = Literal["identity", "non-canonical", "no point"]


class PointRefused(Exception):
    """A point of an array can't be multiplied.

    Attributes:
        index: Which.
        fault: Why.
    """

    def __init__(self, index: int, fault: Fault) -> None:
        """Name the point by its place, never by its bytes."""
        super().__init__(f"point {index}: {fault}")
        self.index = index
        self.fault: Fault = fault

    def __reduce__(self) -> tuple[type[PointRefused], tuple[int, Fault]]:
        """Travel from a worker's process as what it is."""
        return type(self), (self.index, self.fault)


class Group(Protocol):
    """An engine; all give the same bytes."""

    name: str

    def from_uniform(self, digests: bytes) -> bytes:
        """Return a point for every 64 bytes (RFC 9496, 4.3.4).

        Args:
            digests: 64 bytes each, uniform: of SHA-512, say.
        """
        ...

    def multiply(self, scalar: Scalar, points: bytes) -> bytes:
        """Return every point times one scalar, in order.

        Raises:
            PointRefused: One does not decode, or the product is the identity.
        """
        ...


class Scalar:
    """A secret number of a job, in memory that is overwritten when it is no longer needed.

    As far as Python can: a copy may lie where an integer was computed with (:meth:`inverse`), and
    what the operating system has swapped out is not reached.
    """

    __slots__ = ("held",)

    def __init__(self, data: bytes | bytearray) -> None:
        """Take over 32 bytes, little-endian, between 1 and the order.

        Raises:
            KeyRefused: They are not.
        """
        if len(data) != SCALAR_BYTES or not 0 < int.from_bytes(data, "little") < ORDER:
            raise KeyRefused("A scalar of ristretto255 is 32 bytes, below the order and not zero.")
        self.held = bytearray(data)

    @classmethod
    def fresh(cls) -> Scalar:
        """Draw one from the operating system, uniform."""
        return cls((1 + rng.below(ORDER - 1)).to_bytes(SCALAR_BYTES, "little"))

    def inverse(self) -> Scalar:
        """Return the scalar that undoes this one."""
        number = pow(int.from_bytes(self.held, "little"), -1, ORDER)
        return Scalar(number.to_bytes(SCALAR_BYTES, "little"))

    def wipe(self) -> None:
        """Overwrite it; whoever uses it afterwards is refused by the engine."""
        for at in range(SCALAR_BYTES):
            self.held[at] = 0

    def __repr__(self) -> str:
        """Show nothing."""
        return "Scalar(…)"


class Masker(Protocol):
    """One party's scalar at work, in this process or in others."""

    def mask(self, digests: bytes) -> bytes:
        """Return the point of every 64 bytes, times the scalar."""
        ...

    def multiply(self, points: bytes) -> bytes:
        """Return every point times the scalar.

        Raises:
            PointRefused: A point can't be multiplied; its index is that in ``points``.
        """
        ...

    def close(self) -> None:
        """Overwrite what was held."""
        ...


class LocalMasker:
    """A scalar at work in this process."""

    def __init__(self, scalar: Scalar, group: Group) -> None:
        """Hold on to the scalar: :meth:`close` overwrites it."""
        self._scalar = scalar
        self._group = group

    def mask(self, digests: bytes) -> bytes:
        """See :class:`Masker`."""
        return self._group.multiply(self._scalar, self._group.from_uniform(digests))

    def multiply(self, points: bytes) -> bytes:
        """See :class:`Masker`."""
        return self._group.multiply(self._scalar, points)

    def close(self) -> None:
        """See :class:`Masker`."""
        self._scalar.wipe()


def count_of(data: bytes, size: int) -> int:
    """Return how many items of ``size`` bytes an array has.

    Raises:
        ValueError: Not a whole number.
    """
    count, rest = divmod(len(data), size)
    if rest:
        raise ValueError(f"an array of {size} bytes each has {rest} bytes too many")
    return count


def are_canonical(points: bytes) -> NDArray[np.bool_]:
    """Return of each point whether its bytes are reduced and even (RFC 9496, 4.3.1, steps 1, 2).

    An engine can't leave this to libsodium: 1.0.18 takes no notice of the highest bit, so that
    every element has a second spelling, and a list could hold one item twice.
    """
    words = np.frombuffer(points, "<u8").reshape(-1, POINT_BYTES // 8)
    top, full = np.uint64(2**63 - 1), np.uint64(2**64 - 1)
    edge = (words[:, 1] == full) & (words[:, 2] == full) & (words[:, 3] == top)
    beyond = (words[:, 3] > top) | (edge & (words[:, 0] >= np.uint64(2**64 - 19)))
    odd = (words[:, 0] & np.uint64(1)) != 0
    found: NDArray[np.bool_] = ~(odd | beyond)
    return found


def fault_of(point: bytes, valid: Callable[[bytes], bool]) -> Fault | None:
    """Say why 32 bytes are no point to multiply, or None.

    Args:
        point: The bytes.
        valid: Says whether they decode (RFC 9496, 4.3.1).
    """
    number = int.from_bytes(point, "little")
    if number == 0:
        return "identity"
    if number >= FIELD or number & 1:
        # Not reduced, or the negative of the two roots: another spelling of an element.
        return "non-canonical"
    return None if valid(point) else "no point"
