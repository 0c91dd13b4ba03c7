"""Whose turn it is: so many at a time, and callers one after another whatever each has queued."""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from fusion.errors import IsolationBusy, WorkCancelled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusion.ports import Stop

_LOOK_SECONDS: Final = 0.05


class Turns:
    """A bounded, fair queue in front of a bounded number of places.

    A free place goes to the caller who was longest without one, and of its requests to the oldest.
    """

    def __init__(self, places: int, waiting: int) -> None:
        """Have so many places, and room for so many who wait, all callers together."""
        self._changed = threading.Condition()
        self._free = places
        self._room = waiting
        self._queues: dict[str, deque[object]] = {}  # in the order in which callers get a place
        self._admitted: set[object] = set()

    @contextmanager
    def turn(self, caller: str, stop: Stop | None, wait_seconds: float) -> Iterator[None]:
        """Hold a place.

        Raises:
            IsolationBusy: The queue is full, or the time to wait is over.
            WorkCancelled: Asked to stop before there was a place.
        """
        self._wait(caller, stop, wait_seconds)
        try:
            yield
        finally:
            with self._changed:
                self._free += 1
                self._admit()

    def waiting(self) -> int:
        """Return how many wait."""
        with self._changed:
            return sum(map(len, self._queues.values()))

    def _wait(self, caller: str, stop: Stop | None, wait_seconds: float) -> None:
        ticket = object()
        end = time.monotonic() + wait_seconds
        with self._changed:
            if not self._free and sum(map(len, self._queues.values())) >= self._room:
                raise IsolationBusy("Too many requests wait for a worker.")
            self._queues.setdefault(caller, deque()).append(ticket)
            self._admit()
            while ticket not in self._admitted:
                stopped = stop is not None and stop.is_set()
                if stopped or time.monotonic() >= end:
                    self._forget(caller, ticket)
                    if stopped:
                        raise WorkCancelled
                    raise IsolationBusy("No worker became free in time.")
                # Cancelling has no condition to wait for: look now and then.
                self._changed.wait(min(_LOOK_SECONDS, max(0.0, end - time.monotonic())))
            self._admitted.discard(ticket)

    def _admit(self) -> None:
        while self._free and self._queues:
            caller = next(iter(self._queues))
            queue = self._queues.pop(caller)
            self._admitted.add(queue.popleft())
            self._free -= 1
            if queue:
                self._queues[caller] = queue  # behind everybody else
        self._changed.notify_all()

    def _forget(self, caller: str, ticket: object) -> None:
        queue = self._queues[caller]
        queue.remove(ticket)
        if not queue:
            del self._queues[caller]
