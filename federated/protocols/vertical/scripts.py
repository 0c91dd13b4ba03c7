"""A party as a script that sends, and waits for what is due: bytes in, bytes out, no I/O.

Secret-shared training is a fixed sequence of exchanges, so a party is written down as that
sequence: a generator that yields what it waits for. :class:`Scripted` runs it as far as the
messages at hand allow. Messages of one sender are read in their order; one that is not what is due
is refused.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from federated.protocols.vertical.messages import Kind, Message, Outgoing, decode, encode, need
from fusion.errors import KeyRefused, MessageInvalid, VerificationFailed

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    from federated.protocols.vertical.messages import Array, Shape

    Script = Generator["Due", Sequence[Array], None]

MAX_WAITING: Final = 64
"""Messages of one sender that may wait for their turn."""


@dataclass(frozen=True, slots=True)
class Due:
    """What a script waits for.

    Attributes:
        sender: Of whom.
        kind: What.
        epoch: Of which epoch.
        step: At which step of it.
        shapes: Types and sizes of its arrays.
    """

    sender: str
    kind: Kind
    epoch: int
    step: int
    shapes: tuple[Shape, ...]


class Scripted(ABC):
    """Runs a party's script."""

    def __init__(self, senders: Iterable[str]) -> None:
        """Take everybody from whom messages may come."""
        self._inbox: dict[str, deque[Message]] = {sender: deque() for sender in senders}
        self._out: list[Outgoing] = []
        self._running: Script | None = None
        self._due: Due | None = None
        self.done = False

    @abstractmethod
    def script(self) -> Script:
        """Yield what is due, in order; get its arrays."""
        ...

    def send(self, to: str, kind: Kind, epoch: int, step: int, *arrays: Array) -> None:
        """Send a message, at the next opportunity."""
        self._out.append(Outgoing(to, encode(kind, epoch, step, *arrays)))

    def start(self) -> list[Outgoing]:
        """Run up to the first wait; return the messages to send."""
        self._running = self.script()
        self._advance(None)
        return self._flushed()

    def receive(self, sender: str, data: bytes) -> list[Outgoing]:
        """Take a message and return the answers.

        Raises:
            MessageInvalid: It is from a stranger, not what is due, or one too many. Where another
                party's message had waited for this one, and it is the one that is wrong, the
                error begins with that party's name.
            KeyRefused: A message brings a key that is none; likewise.
            VerificationFailed: A message brings a proof that does not hold; likewise.
        """
        inbox = self._inbox.get(sender)
        if inbox is None or self._running is None or self.done:
            raise MessageInvalid("A message came from a stranger, or after the end.")
        if len(inbox) >= MAX_WAITING:
            raise MessageInvalid("A party sends more messages than can be due.")
        inbox.append(decode(data))
        while self._due is not None and self._inbox[self._due.sender]:
            due = self._due
            message = self._inbox[due.sender].popleft()
            try:
                self._advance(need(message, due.kind, due.epoch, due.step, *due.shapes))
            except (MessageInvalid, KeyRefused, VerificationFailed) as error:
                if due.sender == sender:
                    raise
                raise type(error)(f"{due.sender}: {error.message}", hint=error.hint) from None
        return self._flushed()

    def _advance(self, arrays: Sequence[Array] | None) -> None:
        running = self._running
        assert running is not None  # noqa: S101 - start() came first
        try:
            self._due = next(running) if arrays is None else running.send(arrays)
        except StopIteration:
            self._due, self.done = None, True

    def _flushed(self) -> list[Outgoing]:
        out, self._out = self._out, []
        return out
