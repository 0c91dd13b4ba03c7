"""Lists of points and of tags: sorted, received in parts, committed to.

A masked item is a random-looking point, so that sorting by the masked bytes is a shuffle of the
items that needs no randomness of its own, can be made again after a restart, and lets who receives
the list refuse an item that is twice as it comes.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import numpy as np

from fusion.alignment.messages import POINT, TAG
from fusion.alignment.rules import Broken, broken
from fusion.crypto.ristretto.group import PointRefused
from fusion.crypto.ristretto.sodium import SodiumGroup

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from fusion.crypto.ristretto.group import Fault

_COMMITMENT: Final = b"banyan alignment 1, masked set"
_FAULTS: Final[dict[Fault, Broken]] = {
    "identity": Broken.IDENTITY,
    "non-canonical": Broken.NOT_CANONICAL,
    "no point": Broken.NO_POINT,
}


def order_of(items: bytes, width: int) -> NDArray[np.intp]:
    """Return the order that sorts an array of items by their bytes."""
    words = np.frombuffer(items, ">u8").reshape(-1, width // 8)
    return np.lexsort(words.T[::-1])


def reordered(items: bytes, width: int, order: NDArray[np.intp]) -> bytes:
    """Return an array of items in another order."""
    return np.frombuffer(items, np.uint8).reshape(-1, width)[order].tobytes()


def sorted_items(items: bytes, width: int) -> bytes:
    """Return an array of items sorted by their bytes."""
    return reordered(items, width, order_of(items, width))


def tags(points: bytes) -> bytes:
    """Return the first 16 bytes of every point."""
    return np.frombuffer(points, np.uint8).reshape(-1, POINT)[:, :TAG].tobytes()


def has_twins(items: bytes, width: int) -> bool:
    """Whether an array has an item twice."""
    ordered = np.frombuffer(sorted_items(items, width), np.uint8).reshape(-1, width)
    return bool(len(ordered) > 1 and (ordered[1:] == ordered[:-1]).all(axis=1).any())


def positions_in(items: bytes, wanted: bytes, width: int) -> NDArray[np.intp]:
    """Return where in ``items`` those stand that are in ``wanted`` too, in ascending order."""
    kind = np.dtype(f"V{width}")
    # Fixed-size bytes compare as a whole when they are seen as one opaque value each; sets of
    # those are what Python does best.
    there = set(np.frombuffer(wanted, kind).tolist())
    found = [at for at, each in enumerate(np.frombuffer(items, kind).tolist()) if each in there]
    return np.array(found, dtype=np.intp)


def commitment(terms: str, owner: str, points: bytes) -> str:
    """Return what commits a party to its sorted masked list, as 64 hexadecimal digits.

    Args:
        terms: Digest of the terms.
        owner: Whose list it is.
        points: The list. Who gets it all can check; nobody learns an item from it.
    """
    state = hashlib.sha256(_COMMITMENT)
    for part in (bytes.fromhex(terms), owner.encode(), points):
        state.update(len(part).to_bytes(8, "big"))
        state.update(part)
    return state.hexdigest()


class Arriving:
    """A list that comes in parts.

    Attributes:
        total: Items that were declared.
        data: What has come.
    """

    def __init__(self, total: int, width: int, who: str) -> None:
        """Expect ``total`` items of ``width`` bytes from ``who``."""
        self.total = total
        self.data = bytearray()
        self._width = width
        self._who = who

    @property
    def count(self) -> int:
        """Items that have come."""
        return len(self.data) // self._width

    @property
    def complete(self) -> bool:
        """Whether all have come."""
        return self.count == self.total

    def take(self, first: int, body: bytes, chunk: int, *, ascending: bool = False) -> None:
        """Add the next part.

        Args:
            first: Place of its first item in the list, as its head says.
            body: The items.
            chunk: Items of a part, but for the last one.
            ascending: Whether the list has to be sorted, each item once.

        Raises:
            AlignmentBroken: It is not the next part, not of the size it has to be, or not sorted.
        """
        count = len(body) // self._width
        if self.count + count > self.total:
            raise broken(Broken.TOO_MANY, self._who)
        if first != self.count:
            raise broken(Broken.ORDER, self._who)
        if count != min(chunk, self.total - self.count):
            raise broken(Broken.TOO_FEW, self._who)
        if ascending:
            self._check_order(body)
        self.data += body

    def _check_order(self, body: bytes) -> None:
        width = self._width
        previous = bytes(self.data[-width:])
        for at in range(0, len(body), width):
            item = body[at : at + width]
            if item <= previous:
                rule = Broken.DUPLICATE if item == previous else Broken.UNSORTED
                raise broken(rule, self._who)
            previous = item


def multiplied(multiply: Callable[[bytes], bytes], points: bytes, who: str) -> bytes:
    """Return another party's points, masked.

    Raises:
        AlignmentBroken: One of them is no element, another spelling of one, or the identity.
    """
    try:
        return multiply(points)
    except PointRefused as error:
        raise broken(_FAULTS[error.fault], who) from None


def check_points(points: bytes, who: str) -> None:
    """Return if another party's points are some that could be masked: of a list that is not.

    Raises:
        AlignmentBroken: One of them is no element, another spelling of one, or the identity.
    """
    try:
        SodiumGroup().check(points)
    except PointRefused as error:
        raise broken(_FAULTS[error.fault], who) from None
