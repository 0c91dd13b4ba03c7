"""Many numbers in one plaintext: fixed point, offset binary, one public scale a tensor.

A layout is public and fixed before any data is seen: it never depends on a value, so it leaks
none (``phe`` sends a per-number exponent in the clear, which does). Each slot has ``value_bits``
plus enough guard bits for the declared number of contributors, so sums never carry into a
neighbour. Pure; no randomness, no key.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from fusion.crypto.hashing import hexdigest
from fusion.errors import DataInvalid, InputInvalid, MessageInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

_BLOCK: Final = 128
"""Plaintexts packed at a time: bounds the memory of the bit matrix to a few megabytes."""

_MAX_VALUE_BITS: Final = 40
_MAX_CONTRIBUTORS: Final = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """A named block of coordinates with one public range.

    Attributes:
        name: Key under which values are given and sums are returned.
        size: Number of coordinates.
        kind: ``"real"`` maps [-clip, clip) to the slot with zero exact; ``"count"`` carries
            integers from 0 to ``2**value_bits - 1`` exactly.
        clip: Bound on the magnitude of a real coordinate; ignored for counts.
    """

    name: str
    size: int
    kind: Literal["real", "count"]
    clip: float = 1.0


@dataclass(frozen=True, slots=False, kw_only=True)
class Layout:
    """Where each coordinate of a contribution lies, and how a sum is read back.

    Attributes:
        tensors: In order of their slots.
        value_bits: Bits of one contribution's slot value.
        contributors: Declared number of contributions that may be added.
        key_bits: Length of the Paillier modulus.
    """

    tensors: tuple[Tensor, ...]
    value_bits: int
    contributors: int
    key_bits: int

    def __post_init__(self) -> None:
        """Refuse a layout that can't hold what it promises.

        Raises:
            InputInvalid: A size, clip, bit length or contributor count out of range.
        """
        if not 2 <= self.value_bits <= _MAX_VALUE_BITS:
            msg = f"value_bits is {self.value_bits}, but must lie between 2 and {_MAX_VALUE_BITS}."
            raise InputInvalid(msg)
        if not 1 <= self.contributors <= _MAX_CONTRIBUTORS:
            msg = f"{self.contributors} contributors are declared; 1 to {_MAX_CONTRIBUTORS} can."
            raise InputInvalid(msg)
        names = [tensor.name for tensor in self.tensors]
        if len(set(names)) != len(names) or not names:
            msg = "A layout needs at least one tensor, and each name once."
            raise InputInvalid(msg)
        for tensor in self.tensors:
            if tensor.size < 1 or not (math.isfinite(tensor.clip) and tensor.clip > 0):
                msg = (
                    f"Tensor {tensor.name!r} needs a size of at least 1 and a finite positive clip."
                )
                raise InputInvalid(msg)

    @property
    def guard_bits(self) -> int:
        """Bits above a slot's value that absorb the carries of the declared sum."""
        return (self.contributors - 1).bit_length()

    @property
    def slot_bits(self) -> int:
        """Value bits plus guard bits."""
        return self.value_bits + self.guard_bits

    @property
    def slots(self) -> int:
        """Slots in one plaintext; the packed integer stays below 2**(key_bits - 1) <= N."""
        return (self.key_bits - 1) // self.slot_bits

    @property
    def size(self) -> int:
        """Coordinates in all tensors together."""
        return sum(tensor.size for tensor in self.tensors)

    @property
    def plaintexts(self) -> int:
        """Plaintexts, hence ciphertexts, that one contribution takes."""
        return -(-self.size // self.slots)

    @property
    def bytes_per_coordinate(self) -> float:
        """Ciphertext bytes per coordinate in a full ciphertext."""
        return self.key_bits / 4 / self.slots

    @cached_property
    def digest(self) -> str:
        """SHA-256 over everything that gives the slots their meaning."""
        parts = [f"{t.name}:{t.size}:{t.kind}:{t.clip!r}".encode() for t in self.tensors]
        head = f"{self.value_bits}:{self.contributors}:{self.key_bits}".encode()
        return hexdigest("banyan/layout/v1", head, *parts)

    def step(self, tensor: Tensor) -> float:
        """Width of one quantisation level of a real tensor; 1 for counts."""
        return 1.0 if tensor.kind == "count" else 2.0 * tensor.clip / 2.0**self.value_bits


@dataclass(frozen=True, slots=True)
class Quantised:
    """Slot values of one contribution.

    Attributes:
        slots: uint64, shape ``(layout.size,)``, each below ``2**value_bits``.
        clipped: Real coordinates that lay outside their clip and were pulled to its edge.
    """

    slots: NDArray[np.uint64]
    clipped: int


def quantise(layout: Layout, values: Mapping[str, NDArray[np.float64]]) -> Quantised:
    """Map each tensor of ``values`` to slot values.

    Args:
        layout: The public layout.
        values: One float array of ``tensor.size`` for each tensor.

    Raises:
        DataInvalid: A tensor is missing, of the wrong size, not finite, or a count is no count.
    """
    top = 2**layout.value_bits - 1
    half = 2 ** (layout.value_bits - 1)
    out = np.empty(layout.size, dtype=np.uint64)
    clipped = 0
    offset = 0
    for tensor in layout.tensors:
        array = np.asarray(values.get(tensor.name, ()), dtype=np.float64).ravel()
        _check_tensor(tensor, array, top)
        if tensor.kind == "count":
            levels = array
        else:
            clipped += int(np.count_nonzero(np.abs(array) > tensor.clip))
            levels = np.clip(np.rint(array / layout.step(tensor)) + half, 0, top)
        out[offset : offset + tensor.size] = levels.astype(np.uint64)
        offset += tensor.size
    return Quantised(out, clipped)


def _check_tensor(tensor: Tensor, array: NDArray[np.float64], top: int) -> None:
    """Refuse values that the slot can't represent faithfully."""
    if array.size != tensor.size:
        msg = f"Tensor {tensor.name!r} has {array.size} coordinates; the layout says {tensor.size}."
        raise DataInvalid(msg)
    if not np.isfinite(array).all():
        msg = f"Tensor {tensor.name!r} holds a NaN or an infinity."
        raise DataInvalid(msg, hint="Check the data and lower the learning rate.")
    if tensor.kind == "count" and not (
        (array >= 0).all() and (array <= top).all() and (array == np.rint(array)).all()
    ):
        msg = f"Tensor {tensor.name!r} must hold whole numbers from 0 to {top}."
        raise DataInvalid(msg)


def pack(layout: Layout, slots: NDArray[np.uint64]) -> Iterator[int]:
    """Yield ``layout.plaintexts`` integers, the first slot lowest, in bounded memory."""
    per, width = layout.slots, layout.slot_bits
    shifts = np.arange(width, dtype=np.uint64)
    for start in range(0, layout.plaintexts, _BLOCK):
        rows = min(_BLOCK, layout.plaintexts - start)
        block = np.zeros(rows * per, dtype=np.uint64)
        chunk = slots[start * per : (start + rows) * per]
        block[: chunk.size] = chunk
        bit_matrix = ((block[:, None] >> shifts) & np.uint64(1)).astype(np.uint8)
        packed = np.packbits(bit_matrix.reshape(rows, per * width), axis=1, bitorder="little")
        for row in packed:
            yield int.from_bytes(row.tobytes(), "little")


def unpack(layout: Layout, plaintexts: Sequence[int]) -> NDArray[np.uint64]:
    """Return the slot values of packed integers, shape ``(layout.size,)``.

    Raises:
        MessageInvalid: Wrong number of plaintexts, or bits above the last slot.
    """
    if len(plaintexts) != layout.plaintexts:
        msg = f"{len(plaintexts)} plaintexts were given; the layout has {layout.plaintexts}."
        raise MessageInvalid(msg)
    per, width = layout.slots, layout.slot_bits
    row_bytes = -(-per * width // 8)
    out = np.zeros(layout.plaintexts * per, dtype=np.uint64)
    weights = np.uint64(1) << np.arange(width, dtype=np.uint64)
    for start in range(0, layout.plaintexts, _BLOCK):
        rows = plaintexts[start : start + _BLOCK]
        if any(value >> (per * width) for value in rows):
            msg = "A plaintext has bits above its last slot: some contribution overflowed."
            raise MessageInvalid(msg)
        raw = np.frombuffer(b"".join(v.to_bytes(row_bytes, "little") for v in rows), np.uint8)
        flags = np.unpackbits(
            raw.reshape(len(rows), row_bytes), axis=1, count=per * width, bitorder="little"
        ).reshape(len(rows) * per, width)
        out[start * per : start * per + len(rows) * per] = flags.astype(np.uint64) @ weights
    if out[layout.size :].any():
        msg = "A slot beyond the layout is not zero: some contribution overflowed."
        raise MessageInvalid(msg)
    return out[: layout.size]


def read_sum(
    layout: Layout, slots: NDArray[np.uint64], contributors: int
) -> dict[str, NDArray[np.float64]]:
    """Return the sum of each tensor over ``contributors`` contributions.

    Raises:
        MessageInvalid: More contributions than the layout declares, or a slot that so many
            well-formed contributions can't have reached.
    """
    if not 1 <= contributors <= layout.contributors:
        msg = f"A sum of {contributors} contributions exceeds the declared {layout.contributors}."
        raise MessageInvalid(msg)
    if slots.size and int(slots.max()) > contributors * (2**layout.value_bits - 1):
        msg = "A slot of the sum is larger than its contributors can have made it."
        raise MessageInvalid(msg)
    half = 2 ** (layout.value_bits - 1)
    out: dict[str, NDArray[np.float64]] = {}
    offset = 0
    for tensor in layout.tensors:
        part = slots[offset : offset + tensor.size].astype(np.float64)
        offset += tensor.size
        if tensor.kind == "real":
            part = (part - float(contributors * half)) * layout.step(tensor)
        out[tensor.name] = part
    return out
