"""A bell between processes of one machine: whoever waits for it need not look all the time.

A file that grows by a byte with every ring. Its size is read by anybody and is all there is to it:
rings are never lost, however many wait, and a crash leaves nothing to clean up.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

LOOK_SECONDS: Final = 0.01


class Bell:
    """One bell."""

    def __init__(self, path: Path) -> None:
        """Name the file; it is made by the first ring."""
        self._path = path

    def ring(self) -> None:
        """Wake whoever waits."""
        descriptor = os.open(
            self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        try:
            os.write(descriptor, b".")
        finally:
            os.close(descriptor)

    def rings(self) -> int:
        """Return how often it has rung."""
        try:
            return self._path.stat().st_size
        except FileNotFoundError:
            return 0

    def wait(self, heard: int, seconds: float) -> int:
        """Return the number of rings once it is another than ``heard``, or time is up."""
        until = time.monotonic() + seconds
        while (now := self.rings()) == heard and time.monotonic() < until:
            time.sleep(min(LOOK_SECONDS, max(0.0, until - time.monotonic())))
        return now

    async def wait_async(self, heard: int, seconds: float) -> int:
        """Do what :meth:`wait` does, in an event loop."""
        until = time.monotonic() + seconds
        while (now := self.rings()) == heard and time.monotonic() < until:  # noqa: ASYNC110 - rung by others
            await asyncio.sleep(LOOK_SECONDS)
        return now
