"""The rows that all parties of a study have, found over conversations: one party's side.

As in :mod:`federated.vertical.joining`: two parties hold one session in which both learn what is
common; three and more go round a ring in which the label party learns, which then holds a session
with each feature party over these records alone. A job aligns once: whoever is killed goes on with
what it kept, in a later attempt, under the scalars that it has shown (ADR 0035).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from fusion.alignment.resuming import KeptRing, KeptSession
from fusion.alignment.rules import Broken, broken
from fusion.alignment.talkers import MemberTalker
from fusion.alignment.terms import Terms, field_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from federated.vertical.work import Cast
    from fusion.alignment.identifiers import Kind
    from fusion.alignment.resuming import Keeping
    from fusion.alignment.session import Maskers, Session
    from fusion.alignment.terms import Outcome
    from fusion.services.talker import Talker

FIELD: Final = "identifier"
"""What all call it; each party's column may have another name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Meeting:
    """What the parties of a study agree on about their records.

    Attributes:
        federation: Where.
        job: The run.
        cast: Who takes part.
        kind: Of identifiers.
        fold: Of ``text``: whether upper and lower case are the same.
        set_size: Most keys of a set.
        minimum_intersection: Fewer common records are not released.
        minimum_overlap_permille: Least share of the larger set that is common.
    """

    federation: str
    job: str
    cast: Cast
    kind: Kind
    fold: bool
    set_size: int
    minimum_intersection: int
    minimum_overlap_permille: int

    def terms(self, stage: str, parties: Sequence[str], outcome: Outcome) -> Terms:
        """Return what is agreed on for one stage."""
        name = f"{self.job}/{stage}"
        return Terms(
            field=field_of(self.federation, name, FIELD, self.kind, fold=self.fold),
            parties=tuple(parties),
            outcome=outcome,
            set_size=self.set_size,
            minimum_intersection=self.minimum_intersection,
            minimum_overlap_permille=self.minimum_overlap_permille,
        )


@dataclass(frozen=True, slots=True)
class Seen:
    """What a party saw of another in an alignment; for its log.

    Attributes:
        organisation: The other.
        commitment: To its masked list.
        items: Of its set, as it was in that session.
    """

    organisation: str
    commitment: str
    items: int


@dataclass(frozen=True, slots=True)
class Aligned:
    """What a party has after an alignment.

    Attributes:
        keys: The common ones, in the order that all parties put them in.
        commitment: To its own masked list.
        own: Keys of its set.
        seen: Of the others.
    """

    keys: list[str]
    commitment: str
    own: int
    seen: tuple[Seen, ...]


class SessionsTalker:
    """:class:`fusion.services.talker.Talker` for sessions, one with each peer."""

    def __init__(
        self,
        sessions: Mapping[str, Session],
        on_taken: Callable[[str, Session], None] = lambda *_: None,
    ) -> None:
        """Take sessions by peer, and what is told of one after each message, before the next."""
        self._sessions = dict(sessions)
        self._on_taken = on_taken
        self.peers = frozenset(sessions)

    @property
    def over(self) -> bool:
        """Whether every session has taken everything."""
        return all(session.over for session in self._sessions.values())

    def ready(self, peer: str) -> int:
        """Return how many messages there are for a peer."""
        return self._sessions[peer].ready

    def most(self, peer: str) -> int:
        """Return how many messages a peer can have."""
        return self._sessions[peer].most

    def message(self, peer: str, number: int) -> bytes:
        """Return a message."""
        return self._sessions[peer].message(number)

    def wants(self, peer: str, data: bytes) -> bool:
        """Each is looked at as it comes."""
        del peer, data
        return True

    def take(self, peer: str, data: bytes) -> None:
        """Take a message."""
        self._sessions[peer].take(data)
        self._on_taken(peer, self._sessions[peer])

    def taken(self, peer: str) -> int:
        """Return how many messages of a peer were taken."""
        return self._sessions[peer].taken

    def forget(self, peer: str, below: int) -> int:
        """Nothing is dropped."""
        del peer, below
        return 0


class Carry(Protocol):
    """Carries a stage of an attempt to its end."""

    def __call__(self, stage: str, talker: Talker) -> None:
        """Return when every party has what is for it.

        Raises:
            FusionError: As :meth:`fusion.services.conversing.Talk.wait`.
        """
        ...


@dataclass(slots=True)
class Alignment:
    """One party's side.

    Attributes:
        meeting: What was agreed.
        me: The party.
        keys: Its set, each key once.
        keeping: What it keeps of the job: an alignment that was begun goes on.
        open_masker: Puts a scalar to work.
        carry: Carries stages.
    """

    meeting: Meeting
    me: str
    keys: Sequence[str]
    keeping: Keeping
    open_masker: Maskers
    carry: Carry
    _seen: list[Seen] = field(default_factory=list)

    def run(self) -> Aligned:
        """Find the common records.

        Raises:
            AlignmentRefused: Sets are too large, or too little is common.
            AlignmentBroken: A party broke a rule.
            InputInvalid: It was begun with another set.
            FusionError: As :class:`Carry`.
        """
        cast, own = self.meeting.cast, len(self.keys)
        # Places in what is kept are those of sorted keys, whatever order the table has by then.
        keys: Sequence[str] = sorted(self.keys)
        commitment = ""
        if len(cast.parties) > 2:
            keys, commitment = self._ring(keys)
        found, from_session = self._sessions(keys, check=len(cast.parties) > 2)
        return Aligned(sorted(found), commitment or from_session, own, tuple(self._seen))

    def _ring(self, keys: Sequence[str]) -> tuple[Sequence[str], str]:
        """Go round; return the keys to go on with: the label party's are the common ones."""
        cast = self.meeting.cast
        terms = self.meeting.terms("ring", cast.parties, "one")
        ring = KeptRing(self.keeping)
        member = ring.open(terms, self.me, keys, self.open_masker)
        try:
            self.carry("ring", MemberTalker(member, ring.taken))
            learned = member.outcome()
        finally:
            member.wipe()
        if learned is None:
            return keys, member.commitment
        return [keys[at] for at in learned.keys or ()], member.commitment

    def _sessions(self, keys: Sequence[str], *, check: bool) -> tuple[list[str], str]:
        """Hold the sessions of a star; return what is common to all, and the commitment."""
        cast, me = self.meeting.cast, self.me
        peers = cast.features if me == cast.label else (cast.label,)
        sessions: dict[str, Session] = {}
        kept = {peer: KeptSession(self.keeping, peer) for peer in peers}
        try:
            for peer in peers:
                feature = peer if me == cast.label else me
                terms = self.meeting.terms(f"pair-{feature}", (cast.label, feature), "both")
                sessions[peer] = kept[peer].open(terms, me, keys, self.open_masker)
            talker = SessionsTalker(sessions, lambda peer, session: kept[peer].taken(session))
            self.carry("pairs", talker)
            found: list[str] = []
            for peer, session in sessions.items():
                learned = session.outcome()
                found = [keys[at] for at in learned.keys or ()] if learned else []
                if check and me == cast.label and len(found) != len(keys):
                    # What it put into the ring is another set.
                    raise broken(Broken.OUTPUTS, peer)
                self._seen.append(Seen(peer, session.peer_commitment, session.peer_total))
        finally:
            for session in sessions.values():
                session.wipe()
        return found, next(iter(sessions.values())).commitment
