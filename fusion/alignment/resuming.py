"""Alignments that go on after a crash: what is kept of one, and when.

Of a session of two its state is kept before anything leaves, and again after the peer's hello and
after its pledge: the peer is held to the list and to the answer that it committed to, and sends
everything after that again. Of a ring,
where nobody commits to a list, the own list is kept before it leaves, and every message before its
sender hears that it was taken: it goes on from the last message that was acknowledged. Of RR22
nothing can be kept but what was committed to, and that the own process has begun: it never does
twice.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from fusion.alignment.ring import Member
from fusion.alignment.rr22 import NONCE, Rr22Session
from fusion.alignment.rules import Broken, Decided, broken, refused
from fusion.alignment.session import Session
from fusion.alignment.states import Role, State
from fusion.crypto import rng
from fusion.errors import InputInvalid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusion.alignment.session import Maskers
    from fusion.alignment.terms import Terms

_KEY: Final = 32
_ORDER: Final = 32
_NAME: Final = re.compile(r"align-.+")
_TAKEN: Final = re.compile(r"align-ring-(\d{7})")
_RING: Final = "align-ring"
_RR22: Final = "align-rr22"
_WAITING, _BEGUN = b"\0", b"\1"


class Keeping(Protocol):
    """Where a party keeps a job's state: sealed to itself, durable, gone when the job is over."""

    def names(self) -> list[str]:
        """Return the names of what is kept."""
        ...

    def put(self, name: str, data: bytes) -> None:
        """Keep bytes under a name, durably, in place of what was there."""
        ...

    def get(self, name: str) -> bytes | None:
        """Return what is kept under a name, if anything is."""
        ...

    def drop(self, name: str) -> None:
        """Keep it no longer."""
        ...


def is_of_alignment(name: str) -> bool:
    """Return whether a name in a keeping is one of these here."""
    return _NAME.fullmatch(name) is not None


def begun(keeping: Keeping) -> bool:
    """Return whether an alignment was begun: something of it may have left."""
    return any(map(is_of_alignment, keeping.names()))


def forget(keeping: Keeping) -> None:
    """Keep nothing of the alignment: its scalars are gone."""
    for name in filter(is_of_alignment, keeping.names()):
        keeping.drop(name)


def table_changed() -> InputInvalid:
    """Return what is raised where a job goes on over another table than it was begun with."""
    return InputInvalid(
        "The table has changed since the alignment was begun.", hint="Order it again."
    )


@dataclass(slots=True)
class KeptSession:
    """One session, with one peer.

    Attributes:
        keeping: Where its state is.
        peer: With whom.
    """

    keeping: Keeping
    peer: str
    _key: bytes = b""
    _order: bytes = b""
    _holds: State | None = None

    def open(self, terms: Terms, me: str, keys: Sequence[str], open_masker: Maskers) -> Session:
        """Return the session that was kept, or a new one, kept before anything of it leaves.

        Args:
            terms: Of the job.
            me: This party.
            keys: The own set, ascending.
            open_masker: Puts a scalar to work.

        Raises:
            InputInvalid: It was begun with another set.
            AlignmentRefused: A new one: the set is too large, or empty.
            AlignmentBroken: A-68: what was kept does not open.
        """
        self._order = order_of(keys)
        found = _got(self.keeping, self._name)
        if found is not None:
            self._key = found[:_KEY]
            _hold_to(found[_KEY : _KEY + _ORDER], self._order)
            session = Session.go_on(terms, me, found[_KEY + _ORDER :], self._key, open_masker)
            self._holds = session.state
            return session
        session = Session.begin(terms, me, keys, open_masker)
        self._key = rng.token(_KEY)
        self._keep(session)
        return session

    def taken(self, session: Session) -> None:
        """Keep what the peer is held to; called after each message, before the next leaves."""
        pledged = session.role is Role.MUTUAL and session.state is State.ANSWERING
        if session.taken == 1 or (pledged and self._holds is not State.ANSWERING):
            self._keep(session)

    def _keep(self, session: Session) -> None:
        self._holds = session.state
        self.keeping.put(self._name, self._key + self._order + session.keep(self._key))

    @property
    def _name(self) -> str:
        return f"align-with-{self.peer}"


@dataclass(slots=True)
class KeptRing:
    """A ring.

    Attributes:
        keeping: Where its state is.
    """

    keeping: Keeping
    _count: int = 0

    def open(self, terms: Terms, me: str, keys: Sequence[str], open_masker: Maskers) -> Member:
        """Return the member that was kept, or a new one; as :meth:`KeptSession.open`."""
        order = order_of(keys)
        found = _got(self.keeping, _RING)
        if found is not None:
            key, before, sealed = found[:_KEY], found[_KEY : _KEY + _ORDER], found[_KEY + _ORDER :]
            _hold_to(before, order)
            return Member.go_on(terms, me, sealed, key, self._taken(), open_masker)
        member = Member.begin(terms, me, keys, open_masker)
        key = rng.token(_KEY)
        self.keeping.put(_RING, key + order + member.keep(key))
        return member

    def _taken(self) -> list[bytes]:
        """Return the messages that were taken, in order.

        Raises:
            AlignmentBroken: A-68: one of them is lost. It must not come again with other items.
        """
        there = [each[1] for name in self.keeping.names() if (each := _TAKEN.fullmatch(name))]
        messages = []
        for number in range(len(there)):
            data = self.keeping.get(_name(number))
            if data is None:
                raise broken(Broken.SEAL)
            messages.append(data)
        self._count = len(messages)
        return messages

    def taken(self, data: bytes) -> None:
        """Keep a message that was taken; called before its sender hears of that."""
        self.keeping.put(_name(self._count), data)
        self._count += 1


@dataclass(slots=True)
class KeptRr22:
    """An alignment by RR22.

    Attributes:
        keeping: Where it is remembered.
    """

    keeping: Keeping
    _held: bytes = b""

    def open(self, terms: Terms, me: str, keys: Sequence[str]) -> Rr22Session:
        """Return a session under the nonce that was kept, or a new one, before anything leaves.

        Raises:
            InputInvalid: It was opened with another set, or the terms are not for RR22.
            AlignmentRefused: A-21: it was begun. Else as :class:`Rr22Session`.
            AlignmentBroken: A-68: what was kept does not open.
        """
        order = order_of(keys)
        found = _got(self.keeping, _RR22)
        if found is not None:
            nonce, before, begun = found[:NONCE], found[NONCE : NONCE + _ORDER], found[-1:]
            if begun != _WAITING:
                raise refused(Decided.BEGUN)
            _hold_to(before, order)
        else:
            nonce = rng.token(NONCE)
        session = Rr22Session(terms, me, keys, nonce)
        self._held = nonce + order
        if found is None:
            self.keeping.put(_RR22, self._held + _WAITING)
        return session

    def begin(self) -> None:
        """Remember that the own process begins, before it does."""
        self.keeping.put(_RR22, self._held + _BEGUN)


def _got(keeping: Keeping, name: str) -> bytes | None:
    """Return what is kept under a name; None if nothing is.

    Raises:
        AlignmentBroken: A-68: something is, and does not open: it is not begun anew over that.
    """
    found = keeping.get(name)
    if found is None and name in keeping.names():
        raise broken(Broken.SEAL)
    return found


def _name(number: int) -> str:
    return f"{_RING}-{number:07d}"


def _hold_to(before: bytes, order: bytes) -> None:
    if before != order:
        raise table_changed()


def order_of(keys: Sequence[str]) -> bytes:
    """Return a digest of the keys, in order: what places in a session mean."""
    state = hashlib.sha256()
    for key in keys:
        state.update(f"{len(key.encode())}:{key};".encode())
    return state.digest()
