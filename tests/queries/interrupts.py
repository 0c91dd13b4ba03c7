"""An interrupt that reaches whoever asks while the owner's node has the query, and never later."""

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
_AGAIN_SECONDS = 5
_TIMES = 12


@contextlib.contextmanager
def interrupted(up: Up, *, answered: bool) -> Iterator[threading.Event]:
    """Interrupt the main thread at its next query, which the owner's node holds until it is told.

    Args:
        up: The owner's node; its service answers as ever but for the wait.
        answered: Whether the query has been answered, and charged, by then; the answer is held.

    Yields:
        What is set once the node was told that whoever asked went away.
    """
    reply, told, main = up.service.reply, threading.Event(), threading.main_thread().ident
    assert main is not None

    def held(stop: Stop) -> None:
        for _ in range(_TIMES):
            signal.pthread_kill(main, signal.SIGINT)
            if stop.wait(_AGAIN_SECONDS):
                told.set()
                return

    def replied(caller: str, asked: bytes, stop: Stop) -> bytes:
        if messages.asked_of(asked).kind != "query":
            return reply(caller, asked, stop)
        if not answered:
            held(stop)
        answer = reply(caller, asked, stop)
        if answered:
            held(stop)
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(up.service, "reply", replied)
        yield told
