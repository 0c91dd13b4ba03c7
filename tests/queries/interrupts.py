"""A query that the owner's node holds, and an interrupt that reaches whoever asks meanwhile."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from fusion.services import query_messages as messages

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusion.ports import Stop
    from tests.queries.world import Up

SECONDS = 120
"""How long a query is held for whoever is to go away."""


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
        if stop.wait(SECONDS):
            self.told.set()


class Interrupting(Held):
    """One during which the main thread is interrupted, once."""

    def until_told(self, stop: Stop) -> None:
        """Interrupt whoever asks, when there is nothing left to do but to wait for the answer.

        Anywhere else Python may drop what an interrupt raises: in a callback of the collector, or
        of a weak reference.
        """
        main = threading.main_thread().ident
        assert main is not None
        until = time.monotonic() + SECONDS
        while not _waits(main) and time.monotonic() < until:
            time.sleep(0.005)
        signal.pthread_kill(main, signal.SIGINT)
        super().until_told(stop)


def _waits(thread: int) -> bool:
    frame = sys._current_frames().get(thread)
    return frame is not None and frame.f_code is threading.Condition.wait.__code__


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
def interrupted(up: Up, *, answered: bool) -> Iterator[Held]:
    """Interrupt the main thread at its next query, which the owner's node holds until it is told.

    Yields:
        What knows whether the node was told.
    """
    held = Interrupting()
    with holding(up, held, answered=answered):
        yield held
