"""A party as a script that sends, and waits for what is due: bytes in, bytes out, no I/O.

Secret-shared training is a fixed sequence of exchanges, so a party is written down as that
sequence: a generator that yields what it waits for. :class:`Scripted` runs it as far as the
messages at hand allow. Messages of one sender are read in their order; one that is not what is due
is refused, and one of a kind that the sender never sends at once. Whoever carries messages gives
one when it can be used (:meth:`Scripted.wants`) and lets others wait where they are: how much a
sender may say ahead of its turn is then the carrier's to bound.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from federated.protocols.vertical.messages import (
    Kind,
    Message,
    Outgoing,
    decode,
    encode,
    kind_of,
    need,
)
from fusion.errors import KeyRefused, MessageInvalid, VerificationFailed

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Mapping, Sequence

    from federated.protocols.vertical.messages import Array, Shape

    Script = Generator["Due", Sequence[Array], None]


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

    def __init__(self, senders: Mapping[str, Collection[Kind]]) -> None:
        """Take everybody from whom messages may come, and of which kinds."""
        self._kinds = {sender: frozenset(kinds) for sender, kinds in senders.items()}
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

    def wants(self, sender: str, data: bytes) -> bool:
        """Return whether a message can be used now, or refused: else it is to be given later.

        Raises:
            MessageInvalid: It is of a kind that the sender never sends.
        """
        if sender in self._kinds:
            self._check_kind(sender, kind_of(data))
        waits = self._due is not None and self._due.sender != sender
        return not waits or sender not in self._kinds

    def _check_kind(self, sender: str, kind: Kind) -> None:
        if kind not in self._kinds[sender]:
            raise MessageInvalid(f"A {kind.name} message never comes from this party.")

    def receive(self, sender: str, data: bytes) -> list[Outgoing]:
        """Take a message and return the answers.

        One that is not due yet waits for its turn, in memory.

        Raises:
            MessageInvalid: It is from a stranger, of a kind that never comes from its sender, or
                not what is due. Where another party's message had waited for this one, and it is
                the one that is wrong, the error begins with that party's name.
            KeyRefused: A message brings a key that is none; likewise.
            VerificationFailed: A message brings a proof that does not hold; likewise.
        """
        inbox = self._inbox.get(sender)
        if inbox is None or self._running is None or self.done:
            raise MessageInvalid("A message came from a stranger, or after the end.")
        message = decode(data)
        self._check_kind(sender, message.kind)
        inbox.append(message)
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
