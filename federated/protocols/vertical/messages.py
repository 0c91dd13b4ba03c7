"""What parties of a vertical run send each other: closed binary messages of known shape.

A message is a head (magic, kind, tree, level, number of arrays) and arrays, each with its type and
dimensions, little-endian. A reader names the kind and the shape of every array that it expects, and
refuses everything else before it looks at a number: no length in a message decides how much is read
or allocated.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fusion.errors import InputInvalid, MessageInvalid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[Any]
    Shape = tuple[str, tuple[int | None, ...]]
    """A numpy type code (``u1``, ``u4``, ``u8``, ``i1``) and dimensions; None is any size."""

MAX_MESSAGE_BYTES: Final = 64 << 20
"""One message. What is longer travels as several: see :func:`chunks`."""

CHUNK_BYTES: Final = 4 << 20
MAX_ARRAYS: Final = 8
_MAGIC: Final = b"BnV1"
_HEAD: Final = struct.Struct("<4sBIBB")
_TYPES: Final = ("u1", "u4", "u8", "i1")
_MAX_DIMENSIONS: Final = 4


class Kind(enum.IntEnum):
    """What a message is; the number travels."""

    OFFER = 1
    START = 2
    TREE = 3
    GRADIENTS = 4
    MASKED = 5
    REQUEST = 6
    SEED = 7
    DEALING = 8
    ORDER = 9
    CANDIDATES = 10
    SPLITS = 11
    PARTITION = 12
    GROW = 13
    END = 14
    BLINDED = 15
    SHARE = 16
    WEIGHTS = 17
    KEY = 18
    BLOCK = 19
    BITS = 20
    SEEDS = 21
    CHOICES = 22
    TABLES = 23
    PRODUCT = 24
    COUNTS = 25


@dataclass(frozen=True, slots=True)
class Message:
    """A decoded message; its arrays are not yet what anybody expects.

    Attributes:
        kind: What it is.
        tree: Which tree, or epoch, it belongs to, from 0.
        level: Which level of the tree, or step of the epoch.
        arrays: What it carries.
    """

    kind: Kind
    tree: int
    level: int
    arrays: tuple[Array, ...]


@dataclass(frozen=True, slots=True)
class Outgoing:
    """Bytes for somebody."""

    to: str
    data: bytes


def encode(kind: Kind, tree: int, level: int, *arrays: Array) -> bytes:
    """Write a message.

    Raises:
        InputInvalid: Longer than a message may be.
        ValueError: An array of a type that does not travel.
    """
    parts = [_HEAD.pack(_MAGIC, kind, tree, level, len(arrays))]
    for array in arrays:
        code = array.dtype.str[1:]
        parts.append(struct.pack("<BB", _TYPES.index(code), array.ndim))
        parts.append(struct.pack(f"<{array.ndim}I", *array.shape))
        parts.append(np.ascontiguousarray(array, dtype=f"<{code}").tobytes())
    data = b"".join(parts)
    if len(data) > MAX_MESSAGE_BYTES:
        msg = f"A {kind.name} message of {len(data)} bytes is longer than any may be."
        raise InputInvalid(msg, hint="Use fewer columns or bins, or a smaller depth.")
    return data


def kind_of(data: bytes) -> Kind:
    """Return what a message says it is; nothing else of it is looked at.

    Raises:
        MessageInvalid: It does not begin as a message does.
    """
    try:
        magic, number, *_ = _HEAD.unpack_from(data)
        kind = Kind(number)
    except (struct.error, ValueError):
        raise MessageInvalid("A message is cut short, or of no known kind.") from None
    if magic != _MAGIC:
        raise MessageInvalid("A message does not begin as one of a vertical run does.")
    return kind


def decode(data: bytes) -> Message:
    """Read a message.

    Raises:
        MessageInvalid: Too long, of no known kind, or its length is not what its head says.
    """
    if len(data) > MAX_MESSAGE_BYTES:
        raise MessageInvalid("A message is longer than any may be.")
    try:
        magic, number, tree, level, count = _HEAD.unpack_from(data)
        if magic != _MAGIC or count > MAX_ARRAYS:
            raise MessageInvalid("A message does not begin as one of a vertical run does.")
        kind, at = Kind(number), _HEAD.size
        arrays = []
        for _ in range(count):
            array, at = _array(data, at)
            arrays.append(array)
    except (struct.error, ValueError):
        raise MessageInvalid("A message is cut short, or of no known kind.") from None
    if at != len(data):
        raise MessageInvalid(f"A {kind.name} message has bytes behind its end.")
    return Message(kind, tree, level, tuple(arrays))


def _array(data: bytes, at: int) -> tuple[Array, int]:
    """Read the array at a place; return it and the place behind it."""
    code, dimensions = struct.unpack_from("<BB", data, at)
    if code >= len(_TYPES) or dimensions > _MAX_DIMENSIONS:
        raise MessageInvalid("A message carries an array of an unknown type.")
    shape = struct.unpack_from(f"<{dimensions}I", data, at + 2)
    at += 2 + 4 * dimensions
    kind = np.dtype(f"<{_TYPES[code]}")
    count = 1
    for size in shape:  # Python's integers: nothing wraps round
        count *= size
    end = at + count * kind.itemsize
    if end > len(data):
        raise MessageInvalid("A message is shorter than its arrays.")
    return np.frombuffer(data, kind, count, at).reshape(shape), end


def need(message: Message, kind: Kind, tree: int, level: int, *shapes: Shape) -> Sequence[Array]:
    """Return the arrays of a message that is exactly what is expected now.

    Raises:
        MessageInvalid: Another kind, tree or level, or arrays of other types or sizes.
    """
    if message.kind is not kind:
        raise MessageInvalid(f"A {message.kind.name} message came where {kind.name} was due.")
    if (message.tree, message.level) != (tree, level):
        raise MessageInvalid(f"A {kind.name} message belongs to another tree or level.")
    if len(message.arrays) != len(shapes) or not all(map(_fits, message.arrays, shapes)):
        raise MessageInvalid(f"The arrays of a {kind.name} message are not of the sizes due.")
    return message.arrays


def _fits(array: Array, shape: Shape) -> bool:
    """Whether an array is of a type and of sizes."""
    code, sizes = shape
    return (
        array.dtype.str[1:] == code
        and array.ndim == len(sizes)
        and all(due in (None, size) for size, due in zip(array.shape, sizes, strict=True))
    )


def chunks(rows: int, width: int) -> list[tuple[int, int]]:
    """Return ``(first, count)`` of pieces of at most :data:`CHUNK_BYTES`, for rows of a width."""
    size = max(1, CHUNK_BYTES // width)
    return [(first, min(size, rows - first)) for first in range(0, rows, size)]
