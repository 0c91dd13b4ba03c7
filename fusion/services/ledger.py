"""An organisation's log: opened with its keys, written to, signed, exported.

A node's keys are made with its organisation, the hub's when its log is first opened. Every process
that writes opens the log anew: SQLite keeps them in order.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, Self

from fusion.crypto.signing import SigningKey
from fusion.errors import EnvironmentUnfit, InputInvalid
from fusion.identity.members import AUTHORITY
from fusion.identity.roster import open_roster
from fusion.ledger import entry as entries
from fusion.ledger.bundle import Bundle, lines_of
from fusion.ledger.checkpoint import parse
from fusion.ledger.entry import decode, encode
from fusion.ledger.witness import quorum_of
from fusion.services.clock import SystemClock
from fusion.services.files import write_atomic
from fusion.services.homes import HUB_FILE, NODE_FILE, HubHome, NodeHome
from fusion.services.logbook import ATTACHED, LogBook
from fusion.services.storage import open_ledger

if TYPE_CHECKING:
    from pathlib import Path

    from fusion.identity.roster import Roster
    from fusion.ports import Clock

_MAX_NOTES_BYTES: Final = 2 * 1024 * 1024
"""Checkpoints in a bundle: the newest, as many as fit."""


class Book(LogBook):
    """One organisation's log in its folder."""

    def __init__(self, home: HubHome | NodeHome, clock: Clock | None = None) -> None:
        """Open the log of a folder; make its keys and its first entry where they are missing.

        Raises:
            EnvironmentUnfit: A file can't be read or made.
        """
        self.home: Final = home
        with home.lock_to_read():
            log_key, witness_key = _key(home, "log"), _key(home, "witness")
        self._epochs: dict[int, Roster] = {}
        self._file = open_ledger(home)
        super().__init__(
            self._file,
            home.config.id if isinstance(home, NodeHome) else AUTHORITY,
            statement_key=(
                home.statement_key if isinstance(home, NodeHome) else home.authority_key
            ),
            log_key=log_key,
            witness_key=witness_key,
            clock=clock or SystemClock(),
        )
        first = decode(next(iter(self.ledger.entries(0, 1))))
        if isinstance(first, entries.OrganisationMade) and first.organisation != self.organisation:
            raise EnvironmentUnfit(
                f"The log that {home.path} names is that of {first.organisation}.",
                hint="Each organisation has a database, or a schema in one, of its own.",
            )

    def __enter__(self) -> Self:
        """Use the log for a while."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of its file."""
        self._file.close()

    # ------------------------------------------------------------------ who

    def see_roster(self) -> Roster:
        """Log the roster's epoch if it is new; return the roster.

        Raises:
            EnvironmentUnfit: The node is not admitted yet.
        """
        # Under the lock, so that epochs are logged in their order.
        with self.home.lock_to_read():
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

    def epochs(self, roster: Roster) -> list[Roster]:
        """Return the epochs that are known here, oldest first: the folder outlives a lost log."""
        for file in self.home.rosters.glob("*.json"):
            if (epoch := int(file.stem)) not in self._epochs:
                self._epochs[epoch] = open_roster(file.read_bytes(), roster.authority_key)
        self._epochs[roster.epoch] = roster
        return [self._epochs[epoch] for epoch in sorted(self._epochs)]

    # ------------------------------------------------------------------ checkpoints

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
        head = self.head(roster, keep=keep and self.home.writable)
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
            attachments={
                name.removeprefix(ATTACHED): data
                for name, data in self.ledger.papers(ATTACHED).items()
            },
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
