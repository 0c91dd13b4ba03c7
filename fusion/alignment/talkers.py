"""Alignments in the shape in which a carrier talks (:class:`fusion.services.talker.Talker`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusion.alignment.ring import Member
    from fusion.alignment.session import Session


class SessionTalker:
    """A party of an alignment of two."""

    def __init__(
        self, session: Session, on_taken: Callable[[Session], None] = lambda _: None
    ) -> None:
        """Take the session, and what is told of it after each message, before the next leaves."""
        self._session = session
        self._on_taken = on_taken
        self.peers = frozenset((session.peer,))

    def ready(self, peer: str) -> int:
        """Return how many messages may have left by now."""
        del peer
        return self._session.ready

    def most(self, peer: str) -> int:
        """Return how many messages the peer can have."""
        del peer
        return self._session.most

    def message(self, peer: str, number: int) -> bytes:
        """Return a message; asked again, the same bytes."""
        del peer
        return self._session.message(number)

    def wants(self, peer: str, data: bytes) -> bool:
        """Each is looked at as it comes."""
        del peer, data
        return True

    def take(self, peer: str, data: bytes) -> None:
        """Take the peer's next message; raises as :meth:`Session.take` does."""
        del peer
        self._session.take(data)
        self._on_taken(self._session)

    def taken(self, peer: str) -> int:
        """Return how many were taken."""
        del peer
        return self._session.taken

    def forget(self, peer: str, below: int) -> int:
        """Keep everything: every message can be made again."""
        del peer, below
        return 0

    @property
    def over(self) -> bool:
        """Whether everything was taken."""
        return self._session.over


class MemberTalker:
    """A party of a ring."""

    def __init__(self, member: Member, on_taken: Callable[[bytes], None] = lambda _: None) -> None:
        """Take the member, and what is given each message taken, before the next leaves."""
        self._member = member
        self._on_taken = on_taken
        self.peers = frozenset((*member.recipients(), *member.taken))

    def ready(self, peer: str) -> int:
        """Return how many messages for a peer may have left by now."""
        return self._member.ready(peer) if peer in self._member.recipients() else 0

    def most(self, peer: str) -> int:
        """Return how many a peer can have: what was taken is kept before an answer leaves."""
        return self.ready(peer)

    def message(self, peer: str, number: int) -> bytes:
        """Return a message; asked again, the same bytes."""
        return self._member.message(peer, number)

    def wants(self, peer: str, data: bytes) -> bool:
        """Each is looked at as it comes."""
        del peer, data
        return True

    def take(self, peer: str, data: bytes) -> None:
        """Take a peer's next message; raises as :meth:`Member.take` does."""
        self._member.take(peer, data)
        self._on_taken(data)

    def taken(self, peer: str) -> int:
        """Return how many of a peer were taken."""
        return self._member.taken.get(peer, 0)

    def forget(self, peer: str, below: int) -> int:
        """Keep everything: every message can be made again."""
        del peer, below
        return 0

    @property
    def over(self) -> bool:
        """Whether everything was taken."""
        return self._member.over
