"""What a job is to the conversations that carry its messages.

Messages are numbered from 0 for each peer and made again whenever they are asked for, so that a
connection that broke goes on from what the other side has. Who calls it:
:mod:`fusion.services.conversing`.
"""

from __future__ import annotations

from typing import Protocol


class Talker(Protocol):
    """A party's own logic in a job; called by one thread at a time."""

    @property
    def peers(self) -> frozenset[str]:
        """With whom it talks."""
        ...

    def ready(self, peer: str) -> int:
        """Return how many messages for a peer, counted from the first, may have left by now."""
        ...

    def most(self, peer: str) -> int:
        """Return how many messages a peer can have.

        As many as may have left by now; more where this party goes on from a state that is older
        than what it has sent. Asked after :meth:`ready`.
        """
        ...

    def message(self, peer: str, number: int) -> bytes:
        """Return a message; asked again, the same bytes, unless it was forgotten."""
        ...

    def wants(self, peer: str, data: bytes) -> bool:
        """Return whether the next message of a peer is of use now; asked again until it is taken.

        What is not taken waits at the line, which bounds it: no more is read from the peer then.

        Raises:
            FusionError: It will never be of any.
        """
        ...

    def take(self, peer: str, data: bytes) -> None:
        """Take the next message of a peer.

        Raises:
            FusionError: It breaks a rule, or the job is not to go on.
        """
        ...

    def taken(self, peer: str) -> int:
        """Return how many messages of a peer were taken."""
        ...

    def forget(self, peer: str, below: int) -> int:
        """Drop messages that a peer has taken, if there is no use for them.

        Args:
            peer: The peer.
            below: It has taken those with smaller numbers.

        Returns:
            The number of the first message that can still be made.
        """
        ...

    @property
    def over(self) -> bool:
        """Whether everything was taken that is needed; messages may be left to send."""
        ...
