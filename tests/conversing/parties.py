"""A talker that says so many words to each peer, and waits for as many; and who waits for it."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fusion.services.conversing import Patience

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fusion.services.conversing import Conversations, Talk
    from fusion.services.talker import Talker

LONG = Patience(silence=60.0, standstill=60.0, linger=60.0)
"""Not to be lost on a machine that is busy with other tests: nobody is late or leaves early."""
SHORT = Patience(silence=2.0, standstill=60.0, linger=60.0)
"""Where somebody is to be found silent, by whom this is given to."""


@dataclass
class Counting:
    """Says its words to each peer; the answer to what was taken comes after it."""

    me: str
    peers: frozenset[str]
    words: int
    size: int = 10
    heard: dict[str, list[bytes]] = field(default_factory=dict)
    gone: dict[str, int] = field(default_factory=dict)

    def ready(self, peer: str) -> int:
        return min(self.words, self.taken(peer) + 2)

    def most(self, peer: str) -> int:
        return self.ready(peer)

    def message(self, peer: str, number: int) -> bytes:
        assert number >= self.gone.get(peer, 0), "a message that was forgotten"
        return f"{self.me} to {peer}: {number} ".encode().ljust(self.size, b".")

    def wants(self, peer: str, data: bytes) -> bool:
        del peer, data
        return True

    def take(self, peer: str, data: bytes) -> None:
        self.heard.setdefault(peer, []).append(data)

    def taken(self, peer: str) -> int:
        return len(self.heard.get(peer, []))

    def forget(self, peer: str, below: int) -> int:
        self.gone[peer] = below
        return below

    @property
    def over(self) -> bool:
        return all(self.taken(peer) >= self.words for peer in self.peers)

    def check_heard(self) -> None:
        for peer in self.peers:
            other = Counting(peer, frozenset((self.me,)), self.words, self.size)
            assert self.heard[peer] == [other.message(self.me, n) for n in range(self.words)]


def counting(names: Sequence[str], words: int, size: int = 10) -> dict[str, Counting]:
    """One talker for each name, each with all others."""
    return {me: Counting(me, frozenset(names) - {me}, words, size) for me in sorted(names)}


class Waiting:
    """Somebody who waits for the end of a talk, in a thread."""

    def __init__(self, talk: Talk) -> None:
        self.talk = talk
        self.stop = threading.Event()
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.talk.wait(self.stop)
        except BaseException as error:  # noqa: BLE001 - looked at by the test
            self.error = error

    def end(self, seconds: float = 150.0) -> BaseException | None:
        """Return the error it ended with, if any; it has to end."""
        self._thread.join(seconds)
        assert not self._thread.is_alive(), "it hangs"
        assert self.talk.join(60)
        return self.error


def talking(
    registry: Conversations,
    talker: Talker,
    *,
    job: str = "job-1",
    attempt: int = 1,
    patience: Patience = LONG,
    check: Callable[[], None] = lambda: None,
) -> Waiting:
    """Open a talk and wait for it."""
    return Waiting(registry.open(job, attempt, talker, patience=patience, check=check))


def until(true: Callable[[], bool]) -> None:
    """Wait for something."""
    late = time.monotonic() + 60
    while not true():
        assert time.monotonic() < late
        time.sleep(0.005)
