"""Runs a service until it is told to stop, in order."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

INTERRUPTED: Final = 130


def serve(service: Callable[[threading.Event], int]) -> int:
    """Run ``service`` with an event that SIGTERM and Ctrl-C set.

    A second signal ends the process at once: nobody should have to look for ``kill -9``.

    Returns:
        The service's exit code, or 130 after Ctrl-C.
    """
    stop = threading.Event()
    got: list[int] = []

    def ask_to_stop(number: int, _frame: FrameType | None) -> None:
        got.append(number)
        stop.set()
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask_to_stop)
    code = service(stop)
    return INTERRUPTED if signal.SIGINT in got else code
