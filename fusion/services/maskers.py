"""A scalar at work on several processors: what :class:`~fusion.crypto.ristretto.group.Masker` is.

Kernels run without the interpreter's lock, so that a vector engine shares an array among threads
of this process. libsodium is called point by point and gets processes of its own. These are started
afresh (spawn): nothing of this process is in them but what they are told. The scalar reaches them
over the pipe on which a new process learns what to do, never as an argument or in the environment,
and is gone with the process. A point that is refused comes back as what it is.
"""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import TYPE_CHECKING, Final

from fusion.crypto.ristretto.group import (
    POINT_BYTES,
    UNIFORM_BYTES,
    LocalMasker,
    PointRefused,
    Scalar,
)
from fusion.crypto.ristretto.selection import current, named
from fusion.errors import EnvironmentUnfit

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusion.crypto.ristretto.group import Group, Masker

PART: Final = 512
"""Points that one worker is given at a time: an eighth of a message's list, as terms have it."""
WORTH_IT: Final = 20_000
"""Items of a set from which on processes of their own pay for being started."""

_held: list[LocalMasker] = []
"""In a worker: the scalar."""


def _hold(scalar: bytes) -> None:
    _held.append(LocalMasker(Scalar(scalar), current()))


def _mask(digests: bytes) -> bytes:
    return _held[0].mask(digests)


def _multiply(points: bytes) -> bytes:
    return _held[0].multiply(points)


class ProcessMasker:
    """Cuts an array into parts and gives them to workers."""

    def __init__(self, workers: int, scalar: Scalar) -> None:
        """Start workers as they are needed, at most so many."""
        self._pool = ProcessPoolExecutor(
            workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_hold,
            initargs=(bytes(scalar.held),),
        )

    def mask(self, digests: bytes) -> bytes:
        """See :class:`~fusion.crypto.ristretto.group.Masker`."""
        return self._in_parts(_mask, digests, UNIFORM_BYTES)

    def multiply(self, points: bytes) -> bytes:
        """See :class:`~fusion.crypto.ristretto.group.Masker`."""
        return self._in_parts(_multiply, points, POINT_BYTES)

    def _in_parts(self, work: Callable[[bytes], bytes], data: bytes, width: int) -> bytes:
        step = PART * width
        parts = [data[at : at + step] for at in range(0, len(data), step)]
        done: list[bytes] = []
        try:
            done.extend(self._pool.map(work, parts))
        except PointRefused as error:
            raise PointRefused(len(done) * PART + error.index, error.fault) from None
        except BrokenProcessPool:
            raise EnvironmentUnfit(
                "A process that masks records was ended from outside.",
                hint="Look whether the machine ran out of memory; fewer --workers need less.",
            ) from None
        return b"".join(done)

    def close(self) -> None:
        """End the workers, and with them what they hold."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def maskers(items: int, workers: int | None = None) -> Callable[[Scalar], Masker]:
    """Return what puts a scalar to work for sets of this size.

    Args:
        items: Of the larger set.
        workers: Threads or processes; by default as many as there are processors. Small sets are
            not worth a process.
    """
    engine = current()
    if engine.name != "sodium":
        return partial(_local, engine if workers is None else named(engine.name, workers))
    if workers is None:
        workers = len(os.sched_getaffinity(0)) if items >= WORTH_IT else 1
    return partial(ProcessMasker, workers) if workers > 1 else partial(_local, engine)


def _local(group: Group, scalar: Scalar) -> LocalMasker:
    return LocalMasker(scalar, group)
