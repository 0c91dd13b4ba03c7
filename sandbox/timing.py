"""Time as who asks may see it: when work has to end, and when an answer leaves."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from fusion.errors import FusionError

if TYPE_CHECKING:
    import threading

    from fusion.grants.permit import Permit
    from fusion.ports import Stop
    from fusion.services.grants import GrantDesk

_WATCH_SECONDS: Final = 0.25
_FIRST_STEP: Final = 0.25


def pad(began: float, closing: threading.Event) -> None:
    """Wait until the end of a step: 0.25, 0.5, 1, 2 s, and so on, each twice the one before.

    Args:
        began: When data was first at hand, of the monotonic clock.
        closing: Ends the wait.
    """
    passed, step = time.monotonic() - began, _FIRST_STEP
    while step < passed:
        step *= 2
    closing.wait(step - passed)


class Watch:
    """Says when work has to end: nobody waits, its time is over, its grant is revoked.

    Attributes:
        seconds: That the work itself may take.
        refused: Why its grant does not hold any longer, if it does not.
    """

    def __init__(
        self,
        desk: GrantDesk,
        permit: Permit,
        stop: Stop,
        seconds: float,
        closing: threading.Event,
    ) -> None:
        """Begin to count."""
        self.seconds = float(seconds)
        self.refused: FusionError | None = None
        self._desk, self._permit, self._stop = desk, permit, stop
        self._closing = closing
        self._until = time.monotonic() + seconds
        self._looked = float("-inf")

    def is_set(self) -> bool:
        """Look at all of them, at the grant four times a second."""
        now = time.monotonic()
        if now - self._looked >= _WATCH_SECONDS:
            self._looked = now
            try:
                self._desk.check(self._permit)
            except FusionError as error:
                self.refused = error
        over = now >= self._until or self._stop.is_set() or self._closing.is_set()
        return over or self.refused is not None

    def wait(self, timeout: float | None = None) -> bool:
        """Wait, looking now and then."""
        end = float("inf") if timeout is None else time.monotonic() + timeout
        while not self.is_set() and time.monotonic() < end:
            self._stop.wait(min(0.1, max(0.0, end - time.monotonic())))
        return self.is_set()
