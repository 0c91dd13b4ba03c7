"""Ties a process to the one that started it: a parent that is killed leaves nothing running."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Final

PARENT_VARIABLE: Final = "FUSION_PARENT"
"""Environment variable with the process id of the parent that a verb is tied to."""
_PR_SET_PDEATHSIG: Final = 1


def tie_to_parent(parent: int, number: int = signal.SIGKILL) -> None:
    """Have the kernel send this process a signal when its parent ends.

    Raises:
        SystemExit: The parent is gone already, or the kernel can't.
    """
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0) != 0:
        sys.exit(f"prctl failed: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:
        sys.exit("the parent is gone")


def tie_if_asked() -> None:
    """Tie this process if its environment says so; what it starts is not tied by the same word."""
    parent = os.environ.pop(PARENT_VARIABLE, "")
    if parent.isdecimal():
        # It stops in order, and with it what it started.
        tie_to_parent(int(parent), signal.SIGTERM)
