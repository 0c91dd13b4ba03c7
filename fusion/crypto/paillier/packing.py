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
from fusion.crypto.paillier.residues import not_below
from fusion.errors import DataInvalid, InputInvalid, MessageInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from fusion.crypto.paillier.residues import Rows

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
        degree: 1 for Paillier's plaintexts below N; 2 for Damgård and Jurik's below N^2.
    """

    tensors: tuple[Tensor, ...]
    value_bits: int
    contributors: int
    key_bits: int
    degree: int = 1

    def __post_init__(self) -> None:
        """Refuse a layout that can't hold what it promises.

        Raises:
            InputInvalid: A size, clip, bit length, contributor count or degree out of range.
        """
        if self.degree not in {1, 2}:
            msg = f"A layout of degree {self.degree} was declared; there are degrees 1 and 2."
            raise InputInvalid(msg)
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
        """Slots in one plaintext, which stays below 2**(key_bits - 1) <= N to the degree."""
        return self.degree * (self.key_bits - 1) // self.slot_bits

    @property
    def plaintext_bytes(self) -> int:
        """Fixed width of one plaintext row."""
        return self.degree * self.key_bits // 8

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
        return (self.degree + 1) * self.key_bits / 8 / self.slots

    @cached_property
    def digest(self) -> str:
        """SHA-256 over everything that gives the slots their meaning."""
        parts = [f"{t.name}:{t.size}:{t.kind}:{t.clip!r}".encode() for t in self.tensors]
        head = f"{self.value_bits}:{self.contributors}:{self.key_bits}:{self.degree}".encode()
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


def pack(layout: Layout, slots: NDArray[np.uint64]) -> Rows:
    """Return ``layout.plaintexts`` rows, the first slot of each lowest.

    Args:
        layout: The public layout.
        slots: Shape ``(layout.size,)``, each below ``2 ** layout.slot_bits``.
    """
    per, width = layout.slots, layout.slot_bits
    grid = np.zeros(layout.plaintexts * per, np.uint64)
    grid[: slots.size] = slots
    columns = np.ascontiguousarray(grid.reshape(layout.plaintexts, per).T)
    words = np.zeros((layout.plaintext_bytes // 8 + 1, layout.plaintexts), np.uint64)
    for index, column in enumerate(columns):
        word, shift = divmod(index * width, 64)
        words[word] |= column << np.uint64(shift)
        if shift + width > 64:
            words[word + 1] |= column >> np.uint64(64 - shift)
    return np.ascontiguousarray(words[:-1].T).view(np.uint8)


def unpack(layout: Layout, plaintexts: Rows) -> NDArray[np.uint64]:
    """Return the slot values of packed rows, shape ``(layout.size,)``.

    Raises:
        MessageInvalid: Wrong number of plaintexts, or bits above the last slot.
    """
    shape = (layout.plaintexts, layout.plaintext_bytes)
    if plaintexts.shape != shape:
        msg = f"Plaintexts of shape {plaintexts.shape} were given; the layout has {shape}."
        raise MessageInvalid(msg)
    over = _overflows(layout, plaintexts)
    if over.size:
        msg = f"Plaintexts {_named(over)} have bits above the last slot: a contribution overflowed."
        raise MessageInvalid(msg)
    flat = _grid(layout, plaintexts).reshape(-1)
    if flat[layout.size :].any():
        msg = f"Plaintext {layout.plaintexts - 1} has a slot beyond the layout that is not zero."
        raise MessageInvalid(msg)
    return flat[: layout.size]


def flagged(layout: Layout, plaintexts: Rows, contributors: int) -> tuple[int, ...]:
    """Return which plaintexts of a sum that many well-formed contributions can't have made.

    Args:
        layout: The public layout.
        plaintexts: ``layout.plaintexts`` rows, decrypted.
        contributors: Contributions in the sum.
    """
    grid = _grid(layout, plaintexts)
    top = np.uint64(contributors * (2**layout.value_bits - 1))
    found = np.zeros(layout.plaintexts, np.bool_)
    found[np.flatnonzero(grid.max(axis=1) > top)] = True
    found[_overflows(layout, plaintexts)] = True
    found[-1] |= bool(grid.reshape(-1)[layout.size :].any())
    return tuple(int(index) for index in np.flatnonzero(found))


def _named(indices: NDArray[np.intp]) -> str:
    """Write the first few of many indices."""
    more = f" and {indices.size - 8} more" if indices.size > 8 else ""
    return ", ".join(str(index) for index in indices[:8]) + more


def _overflows(layout: Layout, plaintexts: Rows) -> NDArray[np.intp]:
    """Return the plaintexts that have bits above their last slot."""
    return not_below(plaintexts, 1 << (layout.slots * layout.slot_bits))


def _grid(layout: Layout, plaintexts: Rows) -> NDArray[np.uint64]:
    """Return all slots, shape ``(plaintexts, slots)``, whatever is above them."""
    per, width = layout.slots, layout.slot_bits
    words = np.ascontiguousarray(np.ascontiguousarray(plaintexts).view("<u8").T)
    out = np.empty((per, layout.plaintexts), np.uint64)
    for index in range(per):
        word, shift = divmod(index * width, 64)
        value = words[word] >> np.uint64(shift)
        if shift + width > 64:
            value |= words[word + 1] << np.uint64(64 - shift)
        out[index] = value & np.uint64((1 << width) - 1)
    return np.ascontiguousarray(out.T)


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
