"""Moving vectors about, and finding the rows of a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fusion.crypto.paillier.engines.kernels.vocabulary import Machine, Number, Place


def rows_of_batch(m: Machine, rows: Place, stride: Number, batch: Number) -> Place:
    """Return the first row of a batch: a batch has a row for each lane."""
    return m.bytes_at(rows, m.times(m.times(batch, m.shape.lanes), stride))


def copy(m: Machine, source: Place, target: Place, count: int) -> None:
    """Copy ``count`` vectors."""

    def vector(k: Number) -> None:
        m.store(m.load(source, k), target, k)

    m.loop(0, count, 1, (), vector)


def clear(m: Machine, place: Place, count: int) -> None:
    """Write ``count`` vectors of zeros."""

    def vector(k: Number) -> None:
        m.store(m.zero, place, k)

    m.loop(0, count, 1, (), vector)


def add_to(m: Machine, total: Place, x: Place, count: int) -> None:
    """Add ``count`` vectors to others; carries stay where they are."""

    def vector(k: Number) -> None:
        m.store(m.add(m.load(total, k), m.load(x, k)), total, k)

    m.loop(0, count, 1, (), vector)
