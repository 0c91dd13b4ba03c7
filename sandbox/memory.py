"""Memory that was freed is kept for the next array, not given back to the kernel.

The reduction of rows makes and drops arrays of half a megabyte all the time. By default glibc gives
such memory back at once and gets it again, zeroed, page by page, which took longer than the work
itself.
"""

from __future__ import annotations

import ctypes
from typing import Final

from fusion.wire.limits import MEBI

# Numbers are those of malloc.h; see mallopt(3).
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_KEPT_BYTES: Final = 128 * MEBI
_MAPPED_BYTES: Final = 32 * MEBI
"""The most that glibc takes."""


def keep_freed() -> None:
    """Have this process keep what it frees; where the C library has no such setting, nothing."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _MAPPED_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
