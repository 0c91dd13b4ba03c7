"""A federation of four with a hub, and logs of theirs made up for the purpose."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from fusion.crypto.signing import SigningKey
from fusion.identity.members import AUTHORITY
from fusion.identity.roster import Roster, open_roster, sign_roster
from fusion.ledger import entry as entries
from fusion.ledger.bundle import Bundle
from fusion.ledger.checkpoint import Checkpoint
from fusion.ledger.entry import encode
from fusion.ledger.log_keys import LogKeys, sign_log_keys
from fusion.stores.memory_ledger import MemoryLedger
from tests.members import Keys, with_keys

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fusion.ledger.entry import Entry

NAMES = ("east", "north", "south", "west")
AT = "2026-01-01T00:00:00.000Z"
FEDERATION = "test.example"


def hexed(word: str) -> str:
    """A digest that stands for something."""
    return hashlib.sha256(word.encode()).hexdigest()


@dataclass(frozen=True)
class Organisation:
    """One organisation's secret keys."""

    name: str
    statement: SigningKey = field(default_factory=SigningKey.generate)
    log: SigningKey = field(default_factory=SigningKey.generate)
    witness: SigningKey = field(default_factory=SigningKey.generate)

    @property
    def keys(self) -> LogKeys:
        return LogKeys(
            federation=FEDERATION,
            organisation=self.name,
            log=self.log.public,
            witness=self.witness.public,
        )

    @property
    def stated(self) -> bytes:
        return sign_log_keys(self.keys, self.statement)

    def made(self) -> entries.OrganisationMade:
        return entries.OrganisationMade(
            at=AT,
            organisation=self.name,
            statement_key=self.statement.public.hex,
            log_key=self.log.public.hex,
            witness_key=self.witness.public.hex,
        )


@dataclass
class World:
    """Everybody's keys and the roster."""

    hub: Organisation = field(default_factory=lambda: Organisation(AUTHORITY))
    members: dict[str, Organisation] = field(
        default_factory=lambda: {name: Organisation(name) for name in NAMES}
    )

    def __post_init__(self) -> None:
        full = {name: Keys(name).member() for name in self.members}
        listed = tuple(
            with_keys(
                full[name],
                statement_key=member.statement.public,
                log_key=member.log.public,
                witness_key=member.witness.public,
            )
            for name, member in self.members.items()
        )
        self.roster = Roster(
            federation=FEDERATION,
            epoch=5,
            previous=hexed("epoch 4"),
            authority_key=self.hub.statement.public,
            members=listed,
        )
        self.signed_roster = sign_roster(self.roster, self.hub.statement)
        self.roster = open_roster(self.signed_roster, self.hub.statement.public)

    def organisation(self, name: str) -> Organisation:
        return self.hub if name == AUTHORITY else self.members[name]

    def roster_seen(self) -> entries.RosterSeen:
        digest = hashlib.sha256(self.signed_roster).hexdigest()
        return entries.RosterSeen(at=AT, federation=FEDERATION, epoch=5, digest=digest)

    def bundle(
        self,
        name: str,
        logged: Iterable[Entry],
        sizes: Iterable[int] = (),
        witnesses: Iterable[str] = NAMES,
    ) -> Bundle:
        """A bundle of these entries, with checkpoints at these sizes and at the end."""
        ledger = MemoryLedger()
        ledger.append([encode(item) for item in logged])
        own = self.organisation(name)
        notes = []
        for size in sorted({*sizes, ledger.size()}):
            head = Checkpoint(origin=own.keys.origin, size=size, root=ledger.root(size))
            head = head.signed(own.log)
            for witness in witnesses:
                if witness != name:
                    other = self.members[witness]
                    head = head.cosigned(other.keys.origin, other.witness, 1_700_000_000)
            notes.append(head.note())
        return Bundle(
            federation=FEDERATION,
            organisation=name,
            authority=self.hub.statement.public.hex,
            rosters=(self.signed_roster,),
            keys=(self.hub.stated, *(m.stated for m in self.members.values())),
            checkpoints=tuple(notes),
            leaves=list(ledger.leaves(0, ledger.size())),
            entries=list(ledger.entries(0, ledger.size())),
        )

    # -------------------------------------------------------------- a run, as logs tell it

    def node_log(self, name: str, rounds: int = 4, job: str = "job") -> list[Entry]:
        """A node's log of a run in which everybody contributed and this node opened the sums."""
        logged: list[Entry] = [
            self.members[name].made(),
            self.roster_seen(),
            entries.StudyAgreed(at=AT, job=job, study=hexed("study"), key=hexed("key"), order=""),
        ]
        for number in range(rounds):
            logged += [self.contributed(name, number, job), self.opened(number, job)]
        logged.append(entries.JobEnded(at=AT, job=job, status="done"))
        return logged

    def hub_log(self, rounds: int = 4, job: str = "job") -> list[Entry]:
        """The hub's log of the same run."""
        logged: list[Entry] = [
            self.hub.made(),
            self.roster_seen(),
            entries.JobStarted(
                at=AT,
                job=job,
                study=hexed("study"),
                key=hexed("key"),
                organisations=NAMES,
                quorum=3,
            ),
        ]
        for number in range(rounds):
            logged += [self.listed(number, job), self.summed(number, job)]
        model = hexed("model")
        return [
            *logged,
            entries.ModelMade(at=AT, job=job, model=model),
            entries.Released(at=AT, job=job, output="model", digest=model),
            entries.JobEnded(at=AT, job=job, status="done"),
        ]

    @staticmethod
    def contributed(name: str, number: int, job: str = "job") -> entries.RoundContributed:
        return entries.RoundContributed(
            at=AT,
            job=job,
            round=number,
            attempt=1,
            manifest=hexed(f"manifest {job} {number}"),
            vector=vector(name, number, job),
            listing=hexed(f"list {job} {number}"),
        )

    @staticmethod
    def opened(number: int, job: str = "job") -> entries.SumOpened:
        return entries.SumOpened(
            at=AT,
            job=job,
            round=number,
            opening=opening(number, job),
            contributions=tuple(vector(name, number, job) for name in NAMES),
        )

    @staticmethod
    def listed(number: int, job: str = "job") -> entries.RoundListed:
        return entries.RoundListed(
            at=AT,
            job=job,
            round=number,
            attempt=1,
            manifest=hexed(f"manifest {job} {number}"),
            listing=hexed(f"list {job} {number}"),
            opening=opening(number, job),
            contributors=NAMES,
            commitments=tuple(hexed(f"commitment {job} {name} {number}") for name in NAMES),
        )

    @staticmethod
    def summed(number: int, job: str = "job") -> entries.RoundSummed:
        return entries.RoundSummed(
            at=AT,
            job=job,
            round=number,
            attempt=1,
            manifest=hexed(f"manifest {job} {number}"),
            listing=hexed(f"list {job} {number}"),
            opening=opening(number, job),
            contributors=NAMES,
            contributions=tuple(vector(name, number, job) for name in NAMES),
        )


def vector(name: str, number: int, job: str) -> str:
    """Digest of one organisation's vector of one round."""
    return hexed(f"vector {job} {name} {number}")


def opening(number: int, job: str) -> str:
    """What names the opening of one round."""
    manifest = bytes.fromhex(hexed(f"manifest {job} {number}"))
    listing = bytes.fromhex(hexed(f"list {job} {number}"))
    return entries.opening_digest(manifest, listing).hex()


def changed(bundle: Bundle, **parts: object) -> Bundle:
    """The bundle with other parts."""
    return replace(bundle, **parts)  # type: ignore[arg-type]  # tests know the parts
