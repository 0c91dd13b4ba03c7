"""A machine of a vertical run in the shape in which a carrier talks.

A machine answers with messages as it takes others; the carrier asks for them by number. They wait
here, numbered for each peer, until the peer has taken them.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, TypeVar

from federated.protocols.vertical.scripts import Scripted
from fusion.errors import ConversationBroken, KeyRefused, MessageInvalid, VerificationFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from federated.protocols.vertical.conversation import Machine
    from federated.protocols.vertical.messages import Outgoing


T = TypeVar("T")

_OF_A_PEER = (MessageInvalid, KeyRefused, VerificationFailed)
"""What a machine says of a message: whose it was, the talker knows."""


class MachineTalker:
    """A :class:`fusion.services.talker.Talker` around a machine.

    Attributes:
        peers: With whom it talks.
    """

    def __init__(
        self,
        machine: Machine,
        peers: Iterable[str],
        first: Iterable[Outgoing],
        over: Callable[[], bool],
        after: Callable[[], None] = lambda: None,
    ) -> None:
        """Take a machine.

        Args:
            machine: It.
            peers: With whom it talks.
            first: What it says before it has heard anything.
            over: Whether it has taken everything that it needs.
            after: Called when it has taken a message, before the answers to that may leave: what
                is kept then on disk is never behind what others have seen.
        """
        self.peers = frozenset(peers)
        self._machine, self._over, self._after = machine, over, after
        self._waiting: dict[str, deque[bytes]] = {peer: deque() for peer in self.peers}
        self._gone = dict.fromkeys(self.peers, 0)
        self._taken = dict.fromkeys(self.peers, 0)
        self._put(first)

    def _put(self, answers: Iterable[Outgoing]) -> None:
        for each in answers:
            self._waiting[each.to].append(each.data)

    def ready(self, peer: str) -> int:
        """Return how many messages there are for a peer, counted from the first."""
        return self._gone[peer] + len(self._waiting[peer])

    def most(self, peer: str) -> int:
        """Return how many messages a peer can have: an attempt is not gone on with."""
        return self.ready(peer)

    def message(self, peer: str, number: int) -> bytes:
        """Return a message that the peer has not taken.

        Raises:
            ConversationBroken: It had, or there is none yet.
        """
        place = number - self._gone[peer]
        if not 0 <= place < len(self._waiting[peer]):
            raise ConversationBroken(f"{peer} asks for a message that is gone.", party=peer)
        return self._waiting[peer][place]

    def wants(self, peer: str, data: bytes) -> bool:
        """Return whether the machine can use a message now. Others look at each as it comes.

        Raises:
            MessageInvalid: It is of a kind that the peer never sends; names the peer.
        """
        machine = self._machine
        return not isinstance(machine, Scripted) or self._named(peer, machine.wants, data)

    def take(self, peer: str, data: bytes) -> None:
        """Have the machine take a message, and keep its answers.

        Raises:
            MessageInvalid: It is not what is due; names the peer, as the others do.
            KeyRefused: It brings a key that is none.
            VerificationFailed: It brings a proof that does not hold.
        """
        answers = self._named(peer, self._machine.receive, data)
        self._after()
        self._taken[peer] += 1
        self._put(answers)

    def _named(self, peer: str, act: Callable[[str, bytes], T], data: bytes) -> T:
        """Have the machine do something with a message, and name the peer if it refuses."""
        try:
            return act(peer, data)
        except _OF_A_PEER as error:
            if error.message.startswith(tuple(f"{each}: " for each in self.peers)):
                raise  # of one whose message had waited for this one
            raise type(error)(f"{peer}: {error.message}", hint=error.hint) from None

    def taken(self, peer: str) -> int:
        """Return how many messages of a peer were taken."""
        return self._taken[peer]

    def forget(self, peer: str, below: int) -> int:
        """Drop what a peer has taken; return the first number that is left."""
        while self._gone[peer] < below and self._waiting[peer]:
            self._waiting[peer].popleft()
            self._gone[peer] += 1
        return self._gone[peer]

    @property
    def over(self) -> bool:
        """Whether the machine has taken everything that it needs."""
        return self._over()
