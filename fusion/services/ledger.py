"""An organisation's log: opened with its keys, written to, signed, exported.

A node's keys are made with its organisation, the hub's when its log is first opened. Every process
that writes opens the log anew: SQLite keeps them in order.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, Self

from fusion.crypto.signing import SigningKey
from fusion.errors import InputInvalid
from fusion.identity.members import AUTHORITY
from fusion.identity.roster import open_roster
from fusion.ledger import entry as entries
from fusion.ledger.bundle import Bundle, lines_of
from fusion.ledger.checkpoint import Checkpoint, parse
from fusion.ledger.entry import encode, stamp
from fusion.ledger.log_keys import LogKeys, open_stated_keys, sign_log_keys
from fusion.ledger.witness import quorum_of
from fusion.services.clock import SystemClock
from fusion.services.files import write_atomic
from fusion.services.homes import HUB_FILE, NODE_FILE, HubHome, NodeHome
from fusion.stores.ledger import SqliteLedger

if TYPE_CHECKING:
    from pathlib import Path

    from fusion.identity.roster import Roster
    from fusion.ledger.entry import Entry
    from fusion.ports import Clock

_MAX_NOTES_BYTES: Final = 2 * 1024 * 1024
"""Checkpoints in a bundle: the newest, as many as fit."""


class Book:
    """One organisation's log and what it takes to keep it."""

    def __init__(self, home: HubHome | NodeHome, clock: Clock | None = None) -> None:
        """Open the log of a folder; make its keys and its first entry where they are missing.

        Raises:
            EnvironmentUnfit: A file can't be read or made.
        """
        self.home: Final = home
        self.clock: Final = clock or SystemClock()
        self.organisation: Final = home.config.id if isinstance(home, NodeHome) else AUTHORITY
        with home.lock():
            self._log_key = _key(home, "log")
            self.witness_key: Final = _key(home, "witness")
        self._statement_key = (
            home.statement_key if isinstance(home, NodeHome) else home.authority_key
        )
        self.ledger: Final = SqliteLedger(home.ledger)
        self._seen: dict[int, Roster] = {}
        self.once(
            "made",
            entries.OrganisationMade(
                at=self.now(),
                organisation=self.organisation,
                statement_key=self._statement_key.public.hex,
                log_key=self._log_key.public.hex,
                witness_key=self.witness_key.public.hex,
            ),
        )

    def __enter__(self) -> Self:
        """Use the log for a while."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of its file."""
        self.ledger.close()

    def now(self) -> str:
        """Return the time as entries have it."""
        return stamp(self.clock.now())

    def once(self, key: str, entry: Entry) -> bool:
        """Log something that happens once; say whether it was new."""
        return self.ledger.append_once(key, encode(entry))

    # ------------------------------------------------------------------ who

    def keys(self, roster: Roster) -> LogKeys:
        """Return the own keys, in this federation."""
        return LogKeys(
            federation=roster.federation,
            organisation=self.organisation,
            log=self._log_key.public,
            witness=self.witness_key.public,
        )

    def stated_keys(self, roster: Roster) -> bytes:
        """Return the signed statement of the own keys."""
        return sign_log_keys(self.keys(roster), self._statement_key)

    def see_roster(self) -> Roster:
        """Log the roster's epoch if it is new; return the roster.

        Raises:
            EnvironmentUnfit: The node is not admitted yet.
        """
        # Under the lock, so that epochs are logged in their order.
        with self.home.lock():
            roster = self.home.roster()
            data = self.home.roster_file.read_bytes()
            name = f"roster:{roster.epoch:010}"
            entry = entries.RosterSeen(
                at=self.now(),
                federation=roster.federation,
                epoch=roster.epoch,
                digest=hashlib.sha256(data).hexdigest(),
            )
            self.ledger.append_once(name, encode(entry), {name: data})
        return roster

    def see_log(self, keys: LogKeys, stated: bytes) -> None:
        """Log under which keys another organisation keeps its log, when that is new."""
        entry = entries.LogSeen(
            at=self.now(),
            organisation=keys.organisation,
            log_key=keys.log.hex,
            witness_key=keys.witness.hex,
        )
        name = f"keys:{keys.organisation}:{keys.log.hex}:{keys.witness.hex}"
        self.ledger.append_once(name, encode(entry), {name: stated})

    def witnesses(self, roster: Roster) -> dict[str, list[LogKeys]]:
        """Return the keys of all other members whose logs are known, as each was first judged."""
        found: dict[str, list[LogKeys]] = {}
        epochs = self.epochs(roster)
        others = {member.id for member in roster.active} - {AUTHORITY, self.organisation}
        for data in self.ledger.papers("keys:").values():
            keys = open_stated_keys(data, epochs)
            if keys.organisation in others:
                found.setdefault(keys.organisation, []).append(keys)
        return found

    def epochs(self, roster: Roster) -> list[Roster]:
        """Return the epochs that are known here, oldest first: the folder outlives a lost log."""
        for file in self.home.rosters.glob("*.json"):
            if (epoch := int(file.stem)) not in self._seen:
                self._seen[epoch] = open_roster(file.read_bytes(), roster.authority_key)
        self._seen[roster.epoch] = roster
        return [self._seen[epoch] for epoch in sorted(self._seen)]

    # ------------------------------------------------------------------ checkpoints

    def head(self, roster: Roster, *, keep: bool = True) -> Checkpoint:
        """Return the newest checkpoint: the log as it is now, signed; and keep it."""
        size = self.ledger.size()
        kept = self.ledger.heads().get(size)
        if kept is not None:
            return parse(kept)
        origin = self.keys(roster).origin
        checkpoint = Checkpoint(origin=origin, size=size, root=self.ledger.root(size))
        checkpoint = checkpoint.signed(self._log_key)
        if keep:
            self.ledger.keep_head(size, checkpoint.note())
        return checkpoint

    def quorum(self, roster: Roster) -> int:
        """Return how many other organisations have to cosign."""
        return quorum_of(sum(m.id != self.organisation for m in roster.active))

    def witnessed(self, roster: Roster) -> int:
        """Return the size of the newest checkpoint that a quorum has cosigned, or 0."""
        witnesses = {
            keys.origin: keys.witness for found in self.witnesses(roster).values() for keys in found
        }
        names = set(witnesses)
        for size, note in reversed(self.ledger.heads().items()):
            signers = {signature.name for signature in parse(note).signatures} & names
            if len(signers) >= self.quorum(roster):
                return size
        return 0

    # ------------------------------------------------------------------ export

    def bundle(self, *, keep: bool = True) -> Bundle:
        """Return the log as an auditor gets it, up to now.

        Args:
            keep: Whether the checkpoint signed for this is kept, and may be published.

        Raises:
            EnvironmentUnfit: The node is not admitted yet.
        """
        roster = self.see_roster()
        head = self.head(roster, keep=keep)
        notes: list[bytes] = []
        heads = {**self.ledger.heads(), head.size: head.note()}
        witnessed = self.witnessed(roster)
        total = len(heads.get(witnessed, b""))
        for size, note in reversed(heads.items()):
            if total + len(note) > _MAX_NOTES_BYTES and size != witnessed:
                continue
            total += len(note)
            notes.append(note)
        return Bundle(
            federation=roster.federation,
            organisation=self.organisation,
            authority=roster.authority_key.hex,
            rosters=tuple(self.ledger.papers("roster:").values()),
            keys=(self.stated_keys(roster), *self.ledger.papers("keys:").values()),
            checkpoints=tuple(reversed(notes)),
            leaves=list(self.ledger.leaves(0, head.size)),
            entries=list(self.ledger.entries(0, head.size)),
        )

    def export(self, path: Path) -> Bundle:
        """Write the log as a bundle; return it."""
        bundle = self.bundle()
        write_atomic(path, b"".join(lines_of(bundle)), 0o644)
        return bundle


def _key(home: HubHome | NodeHome, name: str) -> SigningKey:
    """Read a key; make the hub's where there is none. The caller holds the folder's lock.

    A node's are made with its organisation: the roster lists them. The hub states its own.
    """
    if isinstance(home, HubHome) and name not in home.key_folder:
        home.key_folder.write(name, SigningKey.generate())
    return home.key_folder.signing(name)


def home_of(folder: Path) -> HubHome | NodeHome:
    """Open a folder as what it is.

    Raises:
        InputInvalid: It is neither a hub's nor a node's.
    """
    if (folder / HUB_FILE).exists():
        return HubHome.open(folder)
    if (folder / NODE_FILE).exists():
        return NodeHome.open(folder)
    raise InputInvalid(
        f"{folder} is neither a hub nor a node.",
        hint="Name the folder that `fusion hub init` or `fusion node init` made.",
    )
