"""Rows: many numbers of one width, as a byte matrix that travels, threads and compares as it is.

A row is one number, little-endian and fixed-width, so a block of rows is exactly the body of a
message, and a kernel can read it without a conversion in Python.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gmpy2
import numpy as np
from gmpy2 import mpz
from numpy.typing import NDArray

from fusion.errors import MessageInvalid

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gmpy2 import mpz as Integer

Rows = NDArray[np.uint8]
"""Shape ``(count, width)``, C-contiguous; row i is a little-endian number of ``width`` bytes."""


def rows_of(values: Iterable[Any], width: int) -> Rows:
    """Write non-negative integers, Python's or gmpy2's, as rows.

    Raises:
        OverflowError: A value is negative or does not fit.
    """
    data = b"".join(int(value).to_bytes(width, "little") for value in values)
    return np.frombuffer(data, np.uint8).reshape(-1, width)


def integers(rows: Rows) -> list[Integer]:
    """Read rows as gmpy2 integers."""
    count, width = rows.shape
    data = np.ascontiguousarray(rows).tobytes()
    return [mpz.from_bytes(data[i * width : (i + 1) * width], "little") for i in range(count)]


def inverses(values: Sequence[Any], modulus: Any) -> list[Integer]:  # noqa: ANN401 -- int or mpz
    """Invert units at the price of one inversion (Montgomery's trick).

    Raises:
        ZeroDivisionError: One of them is no unit.
    """
    before = [mpz(1)]
    for value in values:
        before.append(before[-1] * value % modulus)
    inverse = gmpy2.invert(before.pop(), modulus)
    found = []
    for value, product in zip(reversed(values), reversed(before), strict=True):
        found.append(inverse * product % modulus)
        inverse = inverse * value % modulus
    return found[::-1]


def rows_from(data: bytes | memoryview, width: int) -> Rows:
    """View bytes as rows, without a copy.

    Raises:
        MessageInvalid: Not a whole number of rows.
    """
    if len(data) % width:
        msg = f"{len(data)} bytes are no whole number of {width}-byte residues."
        raise MessageInvalid(msg)
    return np.frombuffer(data, np.uint8).reshape(-1, width)


def widen(rows: Rows, width: int) -> Rows:
    """Return rows of ``width`` bytes with the same values; cutting off is only for zero bytes."""
    count, given = rows.shape
    if given == width:
        return np.ascontiguousarray(rows)
    wide = np.zeros((count, width), np.uint8)
    wide[:, : min(given, width)] = rows[:, :width]
    return wide


def not_below(rows: Rows, bound: int) -> NDArray[np.intp]:
    """Return the indices of rows whose number is ``bound`` or more.

    Compares the eight leading bytes of all rows at once, and whole numbers only where those tie.
    """
    count, width = rows.shape
    limit = bound.to_bytes(max(width, -(-bound.bit_length() // 8)), "little")
    if len(limit) > width and any(limit[width:]):
        return np.empty(0, np.intp)
    head = np.ascontiguousarray(rows[:, width - min(8, width) :])
    if head.shape[1] < 8:
        head = widen(head, 8)
    leading = head.view("<u8").reshape(count)
    top = int.from_bytes(limit[width - min(8, width) : width], "little")
    above = leading > top
    ties = np.flatnonzero(leading == top)
    for index in ties:
        above[index] = int.from_bytes(rows[index].tobytes(), "little") >= bound
    return np.flatnonzero(above)
