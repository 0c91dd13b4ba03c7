"""Seconds for a whole vector: measured on all of it, or on a part and extrapolated.

CPU time is ``time.process_time``, all threads of the process together, so that other work on the
machine changes it little; the wall clock is kept beside it.
"""

from __future__ import annotations

import ctypes
import math
import os
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_REPEATS: Final = 5


@dataclass(frozen=True, slots=True)
class Timing:
    """What one step takes for the whole vector.

    Attributes:
        cpu: Seconds of CPU, the least of all repeats.
        wall: Seconds by the clock, the least of all repeats.
        measured: Units (ciphertexts; parameters where a system encrypts each) that were measured.
        total: Units of the whole vector.
    """

    cpu: float
    wall: float
    measured: int
    total: int

    @property
    def extrapolated(self) -> bool:
        """Whether only a part was measured."""
        return self.measured < self.total


def measure(action: Callable[[int], object], total: int, *, least: int, budget: float) -> Timing:
    """Time ``action(count)``, with all ``total`` units if ``budget`` seconds of CPU suffice.

    Args:
        action: Does its work for the first ``count`` units.
        total: Units of the whole vector.
        least: Units to try first, and to measure at least: enough to fill lanes and threads.
        budget: Seconds of CPU to spend; a whole vector may take twice as much.
    """
    least = min(least, total)
    cpu, wall = _time(action, least)
    if cpu < budget / 4:  # the first call may have compiled, allocated or loaded something
        cpu, wall = _time(action, least)
    each = cpu / least
    whole = each * total <= 2 * budget
    count = total if whole else min(total, max(least, math.floor(budget / each / 2)))
    if count > least:
        cpu, wall = _time(action, count)
    for _ in range(min(MAX_REPEATS, math.floor(budget / max(cpu, 1e-9))) - 1):
        again_cpu, again_wall = _time(action, count)
        cpu, wall = min(cpu, again_cpu), min(wall, again_wall)
    scale = total / count
    return Timing(cpu * scale, wall * scale, count, total)


def _time(action: Callable[[int], object], count: int) -> tuple[float, float]:
    """Return seconds of CPU and by the clock of one call."""
    clock, processor = time.perf_counter(), time.process_time()
    action(count)
    return time.process_time() - processor, time.perf_counter() - clock


@contextmanager
def cores(count: int) -> Iterator[None]:
    """Keep every thread of this process, also those to come, on ``count`` processors."""
    before = os.sched_getaffinity(0)
    _pin(set(sorted(before)[:count]))
    try:
        yield
    finally:
        _pin(before)


def _pin(processors: set[int]) -> None:
    """Bind all threads that there are; a new one takes over what its maker has."""
    for thread in Path("/proc/self/task").iterdir():
        os.sched_setaffinity(int(thread.name), processors)


def available_cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0))


@contextmanager
def output_kept_clean() -> Iterator[None]:
    """Send what libraries print to standard error: standard output is for the result alone."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        ctypes.CDLL(None).fflush(None)  # what a C library has buffered goes with the rest
        os.dup2(kept, 1)
        os.close(kept)


def progress(text: str) -> None:
    """Say on standard error what is going on."""
    print(text, file=sys.stderr, flush=True)
