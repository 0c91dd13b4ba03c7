"""Who is in which cell, as a worker tells the node: numbers on the list of people, by cell.

Where nobody is in two cells it is a number for each person; else a bit for each person and cell, of
the largest cells. The history of releases decides from these sets (:mod:`sandbox.history`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from fusion.errors import MessageInvalid
from sandbox.partials import MAX_REPLY_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    Numbers = NDArray[np.int32]

NOBODY: Final = b"0"
"""No cells, or more than are told about."""

_ALONE, _SEVERAL = b"1", b"2"
_SIZE_BYTES: Final = 8
_PLACE_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class Members:
    """Who is in the cells of a table; cells are numbered in the order of their keys, NULL last.

    Attributes:
        people: How many there are.
        codes: The cell of each person, below 0 for none, where nobody is in two.
        bits: Else, of the largest cells, the largest first: a bit for each person.
    """

    people: int
    codes: Numbers | None = None
    bits: tuple[tuple[int, bytes], ...] = ()

    def each(self, most: int) -> Iterator[tuple[int, Numbers]]:
        """Yield number and codes of one cell after the other, the largest first.

        Args:
            most: How many cells.
        """
        if self.codes is None:
            for place, bits in self.bits[:most]:
                yield place, self.of_one(bits)
            return
        sizes = np.bincount(self.codes[self.codes >= 0])
        for place in sorted(range(len(sizes)), key=lambda cell: (-sizes[cell], cell))[:most]:
            yield place, np.where(self.codes == place, 0, -1).astype(np.int32)

    def of_one(self, bits: bytes) -> Numbers:
        """Return codes for one cell: 0 for who is in it, -1 for who is not."""
        inside = np.unpackbits(np.frombuffer(bits, np.uint8), count=self.people)
        codes = inside.astype(np.int32)
        codes -= 1
        return codes


def of_all(people: Numbers, places: Numbers, count: int) -> bytes:
    """Return what :func:`read` takes, where nobody is in two cells.

    Args:
        people: Numbers of people.
        places: The cell of each.
        count: How many people there are.
    """
    codes = np.full(count, -1, "<i4")
    codes[people] = places
    return _ALONE + codes.tobytes()


def of_each(people: Numbers, places: Numbers, count: int, most: int) -> bytes:
    """Return what :func:`read` takes, where people are in several cells.

    Args:
        people: Numbers of people, each as often as she is in a cell.
        places: The cell.
        count: How many people there are.
        most: Of how many cells it is told, the largest.
    """
    sizes = np.bincount(places)
    ends = np.cumsum(sizes)
    people = people[np.argsort(places, kind="stable")]
    parts = [_SEVERAL]
    for place in sorted(range(len(sizes)), key=lambda cell: (-sizes[cell], cell))[:most]:
        inside = np.zeros(count, bool)
        inside[people[ends[place] - sizes[place] : ends[place]]] = True
        parts += [place.to_bytes(_PLACE_BYTES, "little"), np.packbits(inside).tobytes()]
    return b"".join(parts)


def of_pairs(pairs: Numbers, people: int, most: int) -> Members:
    """Return it from rows of (number of a person, number of a cell), each pair once."""
    numbers, places = pairs[:, 0], pairs[:, 1]
    alone = len(np.unique(numbers)) == len(numbers)
    data = of_all(numbers, places, people) if alone else of_each(numbers, places, people, most)
    return _read(data, people)


def joined(parts: Sequence[bytes]) -> bytes:
    """Return the reply of a worker: that of its cores, then members of tables."""
    return b"".join(len(part).to_bytes(_SIZE_BYTES, "big") + part for part in parts)


def read(
    data: bytes, tables: int, people: int, *, cells: int, several: int
) -> tuple[bytes, list[Members]]:
    """Return the reply of the cores, and the members of so many tables.

    Args:
        data: What a worker replied.
        tables: How many were asked about.
        people: How many there are.
        cells: Most cells of a table that are told about.
        several: Most of them where people are in several.

    Raises:
        MessageInvalid: It is not of that shape.
    """
    parts: list[bytes] = []
    place = 0
    while place < len(data) and len(parts) <= tables:
        begin = place + _SIZE_BYTES
        end = begin + int.from_bytes(data[place:begin], "big")
        if end > len(data):
            raise MessageInvalid("A reply with sets is cut short.")
        parts.append(data[begin:end])
        place = end
    if place != len(data) or len(parts) != tables + 1 or len(parts[0]) > MAX_REPLY_BYTES:
        raise MessageInvalid("A reply has not as many sets as it should.")
    found = [_read(part, people) for part in parts[1:]]
    for each in found:
        _check(each, cells, several)
    return parts[0], found


def _check(found: Members, cells: int, several: int) -> None:
    """Return if numbers are of cells, and bits of people: what they size is sized by them."""
    if found.codes is not None and found.people:
        good = int(found.codes.min()) >= -1 and int(found.codes.max()) < cells
    else:
        beyond = (1 << (-found.people % 8)) - 1
        good = len(found.bits) <= several and all(
            place < cells and not (bits and bits[-1] & beyond) for place, bits in found.bits
        )
    if not good:
        raise MessageInvalid("A set of people is not well formed.")


def _read(data: bytes, people: int) -> Members:
    kind, rest = data[:1], data[1:]
    if kind == NOBODY and not rest:
        return Members(people)
    if kind == _ALONE and len(rest) == 4 * people:
        return Members(people, np.frombuffer(rest, "<i4").astype(np.int32))
    size = _PLACE_BYTES + (people + 7) // 8
    if kind != _SEVERAL or len(rest) % size:
        raise MessageInvalid("A set of people is not well formed.")
    bits = [
        (
            int.from_bytes(rest[at : at + _PLACE_BYTES], "little"),
            rest[at + _PLACE_BYTES : at + size],
        )
        for at in range(0, len(rest), size)
    ]
    if len({place for place, _ in bits}) != len(bits):
        raise MessageInvalid("A cell has two sets of people.")
    return Members(people, None, tuple(bits))
