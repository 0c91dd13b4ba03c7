"""A node's part in witnessing: cosigns the others' checkpoints, and has its own cosigned.

One exchange reads what is new on the hub's board, cosigns what extends the last it cosigned, and
hands in its own checkpoint with all its cosignatures. Whatever was handed in is on disk here
first, so that a node that was killed never cosigns two histories. Between exchanges the node's file
is let go of: SQLite's write-ahead log goes with its last user, and with it what else was in it.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from fusion.errors import (
    FusionError,
    LedgerBroken,
    MessageInvalid,
    PartyUnreachable,
    VerificationFailed,
)
from fusion.ledger.checkpoint import Checkpoint
from fusion.ledger.witness import Index, Item, Packet, check_extends
from fusion.services.ledger import Book
from fusion.services.publishing import Publisher

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusion.identity.roster import Roster
    from fusion.link.dial import Link
    from fusion.ports import Clock, Stop
    from fusion.services.homes import NodeHome

_LOOK_SECONDS: Final = 1.0
_SELDOM_SECONDS: Final = 15.0
_DOCUMENT: Final = "witness"


class Witness:
    """One node's exchange with the others, over the hub."""

    def __init__(
        self,
        node: NodeHome,
        link: Link,
        note: Callable[[str], None],
        clock: Clock | None = None,
    ) -> None:
        """Take an admitted node, and its connection to the hub.

        Raises:
            EnvironmentUnfit: A file can't be read.
        """
        self._book = Book(node, clock)
        self._publisher = Publisher(self._book)
        self._note = note
        self._link = link
        self._index: dict[str, str] = {}
        self._logs: dict[str, str] = {}
        self._own: Item | None = None
        self._handed_in = b""
        self._said: set[str] = set()

    def exchange(self) -> bool:
        """Read, cosign, hand in; say whether everything is settled for now.

        Raises:
            PartyUnreachable: The hub does not answer.
            LedgerBroken: This node's own log is behind what was published of it.
            VerificationFailed: What the hub sends is not well formed.
        """
        with self._book:
            return self._exchange()

    def _exchange(self) -> bool:
        roster = self._book.see_roster()
        data = self._link.read(_DOCUMENT, Index.LIMIT)
        found = Index.from_bytes(data).items if data is not None else {}
        changed = {
            name: digest for name, digest in found.items() if self._index.get(name) != digest
        }
        # The own log last: whose cosignatures are good is known from the others' statements.
        for name in sorted(changed, key=lambda name: name == self._book.organisation):
            item = self._item(name)
            if item is None:
                continue
            if name == self._book.organisation:
                self._publisher.check_own(roster, item.published)
                self._own = item
            else:
                self._cosign(roster, name, item)
            self._index[name] = changed[name]
        cosigned = self._own.cosigned if self._own else {}
        self._publisher.collect(roster, cosigned)
        published = self._publisher.publish(
            roster, self._own.published if self._own else None, cosigned
        )
        # Of logs that were given up for another key nothing more is said.
        witnessed = self._book.ledger.witnessed()
        current = sorted(set(self._logs.values()) & witnessed.keys())
        notes = [witnessed[log][2].decode() for log in current]
        packet = Packet(published=published, cosigned=notes).to_bytes()
        if packet != self._handed_in or self._own is None or self._own.published != published:
            self._hand_in(packet)
        return not changed and self._publisher.settled(roster)

    def _item(self, name: str) -> Item | None:
        try:
            data = self._link.read(f"{_DOCUMENT}/{name}", Item.LIMIT)
            return Item.from_bytes(data) if data is not None else None
        except MessageInvalid as error:
            self._say(f"what the hub publishes of the log of {name} can't be read: {error}")
            return None

    def _cosign(self, roster: Roster, name: str, item: Item) -> None:
        """Cosign a checkpoint if it extends the last one; say why not, once."""
        book = self._book
        try:
            keys, checkpoint = item.published.opened(roster)
            if keys.organisation != name:
                raise MessageInvalid(f"The log of {keys.organisation} is published as {name}'s.")
            book.see_log(keys, item.published.keys.encode())
            self._logs[name] = keys.log_id
            last = book.ledger.witnessed().get(keys.log_id)
            seen = None if last is None else (last[0], last[1])
            check_extends(checkpoint, item.published.proofs, seen)
            if seen == (checkpoint.size, checkpoint.root):
                return
            bare = Checkpoint(origin=checkpoint.origin, size=checkpoint.size, root=checkpoint.root)
            now = int(book.clock.now().timestamp())
            note = bare.cosigned(book.keys(roster).origin, book.witness_key, now).note()
            book.ledger.witness(keys.log_id, seen, checkpoint.size, checkpoint.root, note)
        except LedgerBroken as error:
            self._say(f"NO cosignature for the log of {name}: {error}")
        except VerificationFailed as error:
            self._say(f"no cosignature for the log of {name} yet: {error}")

    def _say(self, message: str) -> None:
        if message not in self._said:
            self._said.add(message)
            self._note(message)

    def _hand_in(self, packet: bytes) -> None:
        self._link.hand_in(_DOCUMENT, packet)
        self._handed_in = packet

    # ------------------------------------------------------------------ beside the node's work

    def run(self, stop: Stop) -> None:
        """Exchange until ``stop``: soon when there is news, seldom when there is none."""
        bell = self._link.bell(_DOCUMENT)
        pause = waited = _LOOK_SECONDS
        size = heard = -1
        while not stop.wait(_LOOK_SECONDS):
            waited += _LOOK_SECONDS
            try:
                with self._book:
                    now = self._book.ledger.size()
                rung = bell.rings()
                if waited < pause and now == size and rung == heard:
                    continue
                heard = rung
                settled = self.exchange()
                pause = min(2 * pause, _SELDOM_SECONDS) if settled else _LOOK_SECONDS
                size = now
            except LedgerBroken as error:
                self._say(f"this node's log is no longer published: {error}")
                pause = _SELDOM_SECONDS
            except FusionError as error:
                self._note(f"checkpoints could not be exchanged: {error}")
                pause = _SELDOM_SECONDS
            waited = 0.0


class Witnessing:
    """Runs a :class:`Witness` in a thread of its own while inside."""

    def __init__(self, node: NodeHome, link: Link, note: Callable[[str], None]) -> None:
        """Prepare; see :class:`Witness` for what can be wrong."""
        self._witness = Witness(node, link, note)
        self._note = note
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._witness.run, args=(self._stop,), name="witness"
        )

    def __enter__(self) -> None:
        """Look at what was published of this log before, then go on beside.

        Raises:
            LedgerBroken: This node's log is behind that: it must not serve.
        """
        try:
            self._witness.exchange()
        except LedgerBroken:
            raise
        except PartyUnreachable:
            pass  # whoever serves says that the hub is away; it is asked again in any case
        except FusionError as error:
            self._note(f"checkpoints could not be exchanged yet: {error}")
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        """End with the exchange in hand."""
        self._stop.set()
        self._thread.join()
