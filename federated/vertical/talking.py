"""A machine of a vertical run as its carrier sees it: numbered messages to each peer, both ways.

What the machine sends waits in an outbox a peer until that peer has acknowledged it, so that a
broken connection goes on where it was. A step that is finished is kept before anything leaves that
was made after it: no other party is ever more than one step ahead of what is on disk here.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from fusion.errors import MessageInvalid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from federated.protocols.vertical.messages import Outgoing


class Machine(Protocol):
    """A party or the dealer: bytes in, bytes out."""

    @property
    def done(self) -> bool:
        """Whether it has taken everything."""
        ...

    def receive(self, sender: str, data: bytes) -> list[Outgoing]:
        """Take a message and return the answers."""
        ...


@dataclass(slots=True)
class _Outbox:
    """Messages to one peer; the first of them has the number ``first``."""

    first: int = 0
    waiting: deque[bytes] = field(default_factory=deque)


class MachineTalker:
    """:class:`fusion.services.conversing.Talker` for a machine; may be called from any thread."""

    def __init__(
        self,
        machine: Machine,
        peers: Iterable[str],
        opening: Sequence[Outgoing],
        after: Callable[[], None] = lambda: None,
    ) -> None:
        """Take a machine that is about to begin.

        Args:
            machine: The machine.
            peers: All with whom it talks.
            opening: Its first messages.
            after: Called when a message was taken, before the answers to it may leave.
        """
        self._machine = machine
        self._after = after
        self._lock = threading.RLock()
        self._out = {peer: _Outbox() for peer in peers}
        self._taken = dict.fromkeys(self._out, 0)
        self._send(opening)

    @property
    def peers(self) -> frozenset[str]:
        """With whom it talks."""
        return frozenset(self._out)

    @property
    def over(self) -> bool:
        """Whether the machine has taken everything; it may have messages left to send."""
        with self._lock:
            return self._machine.done

    def ready(self, peer: str) -> int:
        """Return how many messages to a peer there are, counted from the first."""
        with self._lock:
            box = self._out[peer]
            return box.first + len(box.waiting)

    def message(self, peer: str, number: int) -> bytes:
        """Return a message that was not acknowledged yet.

        Raises:
            MessageInvalid: There is none of this number, or no longer.
        """
        with self._lock:
            box = self._out[peer]
            if not 0 <= number - box.first < len(box.waiting):
                raise MessageInvalid(f"{peer} asks for a message that is not there.")
            return box.waiting[number - box.first]

    def take(self, peer: str, data: bytes) -> None:
        """Take the next message of a peer.

        Raises:
            MessageInvalid: It is not what is due; names the peer.
        """
        with self._lock:
            try:
                answers = self._machine.receive(peer, data)
            except MessageInvalid as error:
                raise MessageInvalid(f"{peer}: {error.message}", hint=error.hint) from None
            self._after()
            self._taken[peer] += 1
            self._send(answers)

    def taken(self, peer: str) -> int:
        """Return how many messages of a peer were taken."""
        with self._lock:
            return self._taken[peer]

    def forget(self, peer: str, below: int) -> int:
        """Drop messages to a peer below a number: they were acknowledged; return the next one's."""
        with self._lock:
            box = self._out[peer]
            while box.waiting and box.first < below:
                box.waiting.popleft()
                box.first += 1
            return box.first

    def _send(self, outgoing: Iterable[Outgoing]) -> None:
        for each in outgoing:
            self._out[each.to].waiting.append(each.data)
