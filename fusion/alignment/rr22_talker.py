"""An alignment by RR22 in the shape in which a carrier talks.

See :class:`fusion.services.talker.Talker`. What the own process says is collected when the
carrier asks what is ready; the process rings when there is something.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from fusion.wire.limits import MEBI

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusion.alignment.rr22 import Rr22Session
    from fusion.engine_ports import Rr22Process

AHEAD: Final = 16 * MEBI
"""Bytes of the link that may be unacknowledged; beyond them the own process waits."""


class Rr22Talker:
    """A party whose process waits for the peer's hello.

    Attributes:
        peers: With whom it talks.
        wake: What is rung when the process has something; set once there is a talk.
    """

    def __init__(
        self, session: Rr22Session, process: Rr22Process, on_hello: Callable[[], None]
    ) -> None:
        """Take both.

        Args:
            session: The machine.
            process: It has not begun.
            on_hello: Called once the peer's hello was taken, before anything else leaves.
        """
        self.peers = frozenset((session.peer,))
        self.wake: Callable[[], object] = lambda: None
        self._session, self._process, self._on_hello = session, process, on_hello
        self._ahead: deque[tuple[int, int]] = deque()  # number and bytes, unacknowledged
        self._ahead_bytes = 0

    def ready(self, peer: str) -> int:
        """Return how many messages may have left by now.

        Raises:
            AlignmentRefused: The process has ended without a result, or too little is common.
            AlignmentBroken: The process makes no sense.
        """
        del peer
        session = self._session
        if session.greeted and not session.closed:
            while self._ahead_bytes < AHEAD and (data := self._process.collect()):
                self._ahead.append((session.ready, len(data)))
                self._ahead_bytes += len(data)
                session.link(data)
            found = None if session.ended else self._process.found()
            if found is not None:
                session.end(found)
        return session.ready

    def most(self, peer: str) -> int:
        """Return how many messages the peer can have: a process that ended is never begun again."""
        del peer
        return self._session.ready

    def works(self) -> bool:
        """Return whether the own process was begun, and has no result yet."""
        return self._session.greeted and not self._session.ended and not self._session.closed

    def _ring(self) -> None:
        self.wake()

    def message(self, peer: str, number: int) -> bytes:
        """Return a message; asked again, the same bytes."""
        del peer
        return self._session.message(number)

    def wants(self, peer: str, data: bytes) -> bool:
        """Each is looked at as it comes."""
        del peer, data
        return True

    def take(self, peer: str, data: bytes) -> None:
        """Take the peer's next message; raises as :meth:`Rr22Session.take` does."""
        del peer
        before = self._session.greeted
        self._session.take(data)
        if self._session.greeted and not before:
            self._on_hello()
            # One item more than the peer says: see Rr22Session.items.
            self._process.begin(self._session.peer_total + 1, self._ring)
        for each in self._session.arrived():
            self._process.deliver(each)

    def taken(self, peer: str) -> int:
        """Return how many were taken."""
        del peer
        return self._session.taken

    def forget(self, peer: str, below: int) -> int:
        """Drop what the peer has taken: it can't be made again."""
        del peer
        while self._ahead and self._ahead[0][0] < below:
            self._ahead_bytes -= self._ahead.popleft()[1]
        return self._session.forget(below)

    @property
    def over(self) -> bool:
        """Whether everything was taken."""
        return self._session.over
