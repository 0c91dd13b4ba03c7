"""A bell between threads of one process; see :mod:`fusion.link.bell` for one between processes."""

from __future__ import annotations

import threading


class Rings:
    """Counts its rings; none is lost on somebody who was not waiting yet."""

    def __init__(self) -> None:
        """Begin silent."""
        self._count = 0
        self._changed = threading.Condition()

    def ring(self) -> None:
        """Wake whoever waits."""
        with self._changed:
            self._count += 1
            self._changed.notify_all()

    def rings(self) -> int:
        """Return how often it has rung."""
        with self._changed:
            return self._count

    def wait(self, heard: int, seconds: float) -> int:
        """Return the number of rings once it is another than ``heard``, or time is up."""
        with self._changed:
            self._changed.wait_for(lambda: self._count != heard, seconds)
            return self._count
