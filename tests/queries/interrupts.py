"""A query that the owner's node holds, and an interrupt that reaches whoever asks meanwhile."""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING

import pytest

from fusion.services import query_messages as messages

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusion.ports import Stop
    from tests.queries.world import Up

# Python drops what is raised in a callback of the collector: whoever asks is interrupted again
# when the node has not heard of it by then.
AGAIN_SECONDS = 20
TIMES = 6


class Held:
    """A query at the owner's node, which answers when it is told that whoever asked went away.

    Attributes:
        came: Set once the node has the query.
        told: Set once the node was told.
    """

    def __init__(self) -> None:
        self.came, self.told = threading.Event(), threading.Event()

    def until_told(self, stop: Stop) -> None:
        """Hold the query."""
        self.came.set()
        if stop.wait(AGAIN_SECONDS * TIMES):
            self.told.set()


class Interrupting(Held):
    """One during which the main thread is interrupted, until it says that it was."""

    def __init__(self) -> None:
        super().__init__()
        self._over, self._lock = False, threading.Lock()

    def until_told(self, stop: Stop) -> None:
        """Interrupt whoever asks."""
        main = threading.main_thread().ident
        assert main is not None
        for _ in range(TIMES):
            with self._lock:
                if not self._over:
                    signal.pthread_kill(main, signal.SIGINT)
            if stop.wait(AGAIN_SECONDS):
                self.told.set()
                return

    def end(self) -> None:
        """Have no more interrupts come from here on; one that is under way ends here."""
        while not self._over:
            try:
                with self._lock:
                    self._over = True
                signal.getsignal(signal.SIGINT)
            except KeyboardInterrupt:
                self._over = False


@contextlib.contextmanager
def holding(up: Up, held: Held, *, answered: bool) -> Iterator[None]:
    """Have the owner's node hold the next query.

    Args:
        up: The owner's node; its service answers as ever but for the wait.
        held: How, and until when.
        answered: Whether the query has been answered, and charged, by then; the answer is held.
    """
    reply = up.service.reply

    def replied(caller: str, asked: bytes, stop: Stop) -> bytes:
        if messages.asked_of(asked).kind != "query":
            return reply(caller, asked, stop)
        if not answered:
            held.until_told(stop)
        answer = reply(caller, asked, stop)
        if answered:
            held.until_told(stop)
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(up.service, "reply", replied)
        yield


@contextlib.contextmanager
def interrupted(up: Up, *, answered: bool) -> Iterator[Interrupting]:
    """Interrupt the main thread at its next query, which the owner's node holds until it is told.

    Yields:
        What knows whether the node was told, and interrupts no more once its ``end`` is called.
    """
    held = Interrupting()
    with holding(up, held, answered=answered):
        try:
            yield held
        finally:
            held.end()
