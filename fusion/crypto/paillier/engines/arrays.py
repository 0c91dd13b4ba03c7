"""Memory as the kernels want it, and batches shared among threads."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

THREADS: Final = "FUSION_PAILLIER_THREADS"
_ALIGNMENT: Final = 64


def aligned(shape: tuple[int, ...], kind: type[np.generic] = np.uint64) -> NDArray[Any]:
    """Return zeros that start at a multiple of 64 bytes; anything else faults in a kernel."""
    size = int(np.prod(shape)) * np.dtype(kind).itemsize
    raw = np.zeros(size + _ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % _ALIGNMENT
    return raw[start : start + size].view(kind).reshape(shape)


def limbs_of(values: Sequence[Any], limbs: int, radix: int) -> NDArray[np.uint64]:
    """Cut integers into limbs, lowest first: shape ``(len(values), limbs)``."""
    mask = np.uint64((1 << radix) - 1)
    width = -(-limbs * radix // 8) + 8
    data = b"".join(int(value).to_bytes(width, "little") for value in values)
    rows = np.frombuffer(data, np.uint8).reshape(len(values), width)
    out = np.empty((len(values), limbs), np.uint64)
    for index in range(limbs):
        byte, shift = divmod(index * radix, 8)
        word = np.ascontiguousarray(rows[:, byte : byte + 8]).view("<u8")[:, 0]
        out[:, index] = (word >> np.uint64(shift)) & mask
    return out


def spread(flat: NDArray[np.uint64], lanes: int) -> NDArray[np.uint64]:
    """Repeat each number in every lane."""
    out = aligned((len(flat), lanes))
    out[:] = flat[:, None]
    return out


def joined(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Put arrays one after the other, aligned."""
    whole = np.concatenate(parts)
    out = aligned(whole.shape, whole.dtype.type)
    out[:] = whole
    return out


def thread_count() -> int:
    """Return the threads to use: what the variable says, else the processors we may run on."""
    named = os.environ.get(THREADS, "")
    return max(1, int(named)) if named.isdigit() else len(os.sched_getaffinity(0))


class Workers:
    """Shares batches among threads; kernels run without the interpreter's lock."""

    def __init__(self, threads: int | None = None) -> None:
        """Take a number of threads, or as many as :func:`thread_count` says."""
        self.threads = threads or thread_count()

    def share(self, batches: int, most: int, work: Callable[[int, int], None]) -> None:
        """Call ``work(first, count)`` until all batches are done, ``most`` at a time at the most.

        Args:
            batches: In all.
            most: Fewer are taken when that keeps every thread busy.
            work: Must not care in which order, or thread, it is called.
        """
        size = max(1, min(most, -(-batches // self.threads)))
        parts = [(first, min(size, batches - first)) for first in range(0, batches, size)]
        if self.threads == 1 or len(parts) == 1:
            for first, count in parts:
                work(first, count)
            return
        with ThreadPoolExecutor(min(self.threads, len(parts))) as pool:
            for done in [pool.submit(work, first, count) for first, count in parts]:
                done.result()
