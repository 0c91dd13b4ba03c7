"""The hub's part in witnessing: a board on which members read what others handed in.

The hub is not believed. It checks what it is given so that nobody can fill the board with rubbish,
publishes its own log there as every member does, and cosigns nothing: it is no organisation that
holds data, and counts in no quorum. Files only, so that the port serves them without asking.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from fusion.crypto import rng
from fusion.errors import FusionError, MessageInvalid
from fusion.identity.members import AUTHORITY
from fusion.ledger.checkpoint import parse
from fusion.ledger.witness import Index, Item, Packet, Published
from fusion.services.files import make_folder, write_atomic
from fusion.services.ledger import Book
from fusion.services.publishing import Publisher

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fusion.identity.roster import Roster
    from fusion.ports import Clock
    from fusion.services.homes import HubHome

LOOK_SECONDS: Final = 0.5


def receive(hub: HubHome, member: str, packet: bytes) -> None:
    """Put down what a member handed in; its last packet before the next look counts.

    Not durable on purpose: who handed it in sees on the board whether it came, and does so again.
    """
    folder = _inbox(hub)
    temporary = folder / f".{member}.{rng.token(6).hex()}"
    temporary.touch(mode=0o600)
    temporary.write_bytes(packet)
    temporary.replace(folder / f"{member}.json")


def _inbox(hub: HubHome) -> Path:
    """Make the folders one by one: of those made on the way nobody sets the mode."""
    make_folder(hub.witness)
    return make_folder(hub.witness_inbox)


class Board:
    """Keeps the board of one hub."""

    def __init__(
        self, hub: HubHome, say: Callable[[str], None], clock: Clock | None = None
    ) -> None:
        """Read the board as it was left.

        Raises:
            EnvironmentUnfit: A file can't be read.
            LedgerBroken: The hub's own log is behind what it published.
        """
        self._hub = hub
        self._say = say
        self._book = Book(hub, clock)
        self._publisher = Publisher(self._book)
        self._items: dict[str, Item] = {}
        self._written: dict[str, bytes] = {}
        self._written_index = b""
        self._next = 0.0
        _inbox(hub)
        roster = self._book.see_roster()
        for name in (AUTHORITY, *(member.id for member in roster.active)):
            self._load(name)
        if AUTHORITY in self._items:
            self._publisher.check_own(roster, self._items[AUTHORITY].published)

    def _load(self, name: str) -> None:
        file = self._hub.witness / f"{name}.json"
        if not file.exists():
            return
        try:
            data = file.read_bytes()
            self._items[name], self._written[name] = Item.from_bytes(data), data
        except MessageInvalid as error:
            self._say(f"the board's entry of {name} can't be read and is made anew: {error}")

    def tend(self) -> None:
        """Take in what was handed in and publish what is new, at most twice a second."""
        now = self._book.clock.monotonic()
        if now < self._next:
            return
        self._next = now + LOOK_SECONDS
        try:
            self._look()
        except FusionError as error:
            self._say(f"checkpoints are not exchanged: {error}")
            self._next = now + 20 * LOOK_SECONDS

    def _look(self) -> None:
        roster = self._book.see_roster()
        for file in sorted(self._hub.witness_inbox.glob("[!.]*.json")):
            name = file.name.removesuffix(".json")
            try:
                packet = Packet.from_bytes(file.read_bytes())
                self._take(roster, name, packet)
            except FusionError as error:
                self._say(f"what {name} handed in for its log is refused: {error}")
            file.unlink(missing_ok=True)
        self._publish_own(roster)
        self._write()

    def _take(self, roster: Roster, name: str, packet: Packet) -> None:
        """Put a member's checkpoint and cosignatures on the board.

        Raises:
            VerificationFailed: They are not the member's, or not what they should be.
        """
        keys, checkpoint = packet.published.opened(roster)
        if keys.organisation != name:
            raise MessageInvalid(f"{name} hands in a log of {keys.organisation}.")
        self._book.see_log(keys, packet.published.keys.encode())
        before = self._items.get(name)
        if before is None:
            self._items[name] = Item(published=packet.published, cosigned={})
        else:
            had, last = before.published.opened(*self._book.epochs(roster))
            if had.log_id != keys.log_id:
                self._say(f"{name} keeps its log under a new key; the old one is another log")
                self._items[name] = Item(published=packet.published, cosigned={})
            elif checkpoint.size < last.size:
                self._say(f"{name} hands in a log that has gone back")
            else:
                self._items[name] = before.model_copy(update={"published": packet.published})
        for note in packet.cosigned:
            cosigned = parse(note.encode())
            if any(s.name != keys.origin for s in cosigned.signatures):
                raise MessageInvalid(f"{name} hands in a signature that is not its own.")
            cosigned.verify_witness(keys.origin, keys.witness)
            self._cosigned(cosigned.origin, name, note)

    def _cosigned(self, origin: str, witness: str, note: str) -> None:
        """Keep a cosignature with its log; a witness's latest word counts, whatever its size.

        A log that was begun anew is shorter than the one that was cosigned before.
        """
        name = origin.rpartition("/")[2]
        item = self._items.get(name)
        if item is None or name == witness or parse(_note(item.published)).origin != origin:
            return
        cosigned = {**item.cosigned, witness: note}
        self._items[name] = item.model_copy(update={"cosigned": cosigned})

    def _publish_own(self, roster: Roster) -> None:
        item = self._items.get(AUTHORITY)
        cosigned = item.cosigned if item else {}
        self._publisher.collect(roster, cosigned)
        published = self._publisher.publish(roster, item.published if item else None, cosigned)
        self._items[AUTHORITY] = Item(published=published, cosigned=cosigned)

    def _write(self) -> None:
        """Write what has changed; the index last."""
        for name, item in self._items.items():
            data = item.to_bytes()
            if self._written.get(name) != data:
                write_atomic(self._hub.witness / f"{name}.json", data)
                self._written[name] = data
        digests = {n: hashlib.sha256(d).hexdigest() for n, d in sorted(self._written.items())}
        index = Index(items=digests).to_bytes()
        if self._written_index != index:
            write_atomic(self._hub.witness / "index.json", index)
            self._written_index = index


def _note(published: Published) -> bytes:
    return published.checkpoint.encode()
