"""The hub's log as a run uses it: what is logged, shown to the parties, and cosigned by them.

A round's list is logged when it is closed. The request that asks for the vectors also carries the
log's newest checkpoint, and each answer brings a cosignature: by the time that all vectors are
there, so is the quorum, and the holders can be shown it with the request to open. Only after a
restart, or where too few cosigned, does it take an exchange of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fusion.errors import MessageInvalid
from fusion.identity.members import AUTHORITY
from fusion.ledger.anchor import Anchor, Announcement
from fusion.ledger.checkpoint import Checkpoint, parse
from fusion.ledger.log_keys import open_log_keys
from fusion.ledger.witness import Proof, Published, quorum_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from federated.cohort import Reply
    from fusion.identity.roster import Roster
    from fusion.ledger.checkpoint import NoteSignature
    from fusion.ledger.entry import Entry
    from fusion.services.logbook import LogBook

_MAX_PROOFS: Final = 32
_NEWEST_HEADS: Final = 6


class Notary:
    """Keeps the evidence of one run."""

    def __init__(self, book: LogBook, roster: Roster, pool: Collection[str]) -> None:
        """Take the hub's log, and whose cosignatures count: the study's organisations."""
        self.book: Final = book
        self.roster: Final = roster
        self._pool = frozenset(pool)
        self.quorum: Final = quorum_of(len(self._pool))
        self._seen: dict[str, int] = {}
        self._head: Checkpoint | None = None
        self._signatures: dict[str, NoteSignature] = {}
        self._statements: dict[str, str] = {}

    def log(self, key: str, entry: Entry) -> None:
        """Write an entry, once for its key."""
        self.book.once(key, entry)

    # ------------------------------------------------------------------ to the parties

    def announce(self) -> str:
        """Return the log as it is now, for the parties to cosign."""
        head = self.book.head(self.roster)
        if self._head is None or head.text() != self._head.text():
            self._head, self._signatures = head, {}
        return Announcement(published=self._published(head)).to_bytes().decode()

    def _published(self, head: Checkpoint) -> Published:
        ledger = self.book.ledger
        newest = sorted(ledger.heads(_NEWEST_HEADS), reverse=True)
        sizes = [size for size in {*self._seen.values(), *newest} if size > 0]
        proofs = []
        for size in sorted(sizes, reverse=True)[:_MAX_PROOFS]:
            # From what a party saw before, or to what it has seen since.
            old, new = min(size, head.size), max(size, head.size)
            if old != new:
                hashes = [value.hex() for value in ledger.consistency_proof(old, new)]
                proofs.append(Proof(size=size, hashes=hashes))
        return Published(
            keys=self.book.stated_keys(self.roster).decode(),
            checkpoint=head.with_only(head.origin).note().decode(),
            proofs=proofs,
        )

    def take(self, reply: Reply) -> None:
        """Keep the cosignature that came with an answer, if there is a good one.

        Raises:
            VerificationFailed: What came is not what it should be.
        """
        seen = reply.head.get("seen")
        if isinstance(seen, int) and 0 <= seen <= self.book.ledger.size():
            self._seen[reply.organisation] = seen
        cosigned, stated = reply.head.get("cosigned"), reply.head.get("log_keys")
        if not isinstance(cosigned, str) or not isinstance(stated, str):
            return
        keys = open_log_keys(stated.encode(), self.roster)
        note = parse(cosigned.encode())
        if keys.organisation != reply.organisation:
            msg = f"{reply.organisation} sent the log keys of {keys.organisation}."
            raise MessageInvalid(msg)
        note.verify_witness(keys.origin, keys.witness)
        self.book.see_log(keys, stated.encode())
        self._seen[reply.organisation] = note.size
        if self._head is not None and note.text() == self._head.text():
            (line,) = note.with_only(keys.origin).signatures
            self._signatures[reply.organisation] = line
            self._statements[reply.organisation] = stated

    def missing(self) -> tuple[str, ...]:
        """Return who has not cosigned the checkpoint that was announced last."""
        return tuple(sorted(self._pool - self._signatures.keys()))

    # ------------------------------------------------------------------ to the holders

    def anchor(self, key: str) -> str | None:
        """Return what shows a holder the entry under a key; None while too few have cosigned."""
        ledger = self.book.ledger
        head, number = self._head, ledger.number_of(key)
        if head is None or number is None or number >= head.size:
            return None
        if len(self._signatures) < self.quorum:
            return None
        (entry,) = ledger.entries(number, number + 1)
        cosigned = head.with_only(head.origin).with_signatures(
            [self._signatures[name] for name in sorted(self._signatures)]
        )
        note = cosigned.note()
        if ledger.heads().get(head.size) != note:
            ledger.keep_head(head.size, note)
        return (
            Anchor(
                published=self._published(head),
                entry=entry.decode(),
                number=number,
                path=[h.hex() for h in ledger.inclusion_proof(number, head.size)],
                statements=[self._statements[name] for name in sorted(self._signatures)],
                cosigned=note.decode(),
            )
            .to_bytes()
            .decode()
        )


def cosign(book: LogBook, roster: Roster, announced: str) -> Mapping[str, str | int]:
    """Return a party's answer to what a hub announced: a cosignature, or what it saw last.

    Raises:
        LedgerBroken: The hub's log has gone back, or has two histories.
        MessageInvalid: What came is not well formed.
        SignatureInvalid: It is not signed by the hub.
    """
    published = Announcement.from_bytes(announced.encode()).published
    keys, checkpoint = published.opened(roster)
    if keys.organisation != AUTHORITY:
        raise MessageInvalid(f"The hub announces a log of {keys.organisation}.")
    stated = book.stated_keys(roster).decode()
    seen = book.last_seen(keys.log_id)
    proved = {proof.size for proof in published.proofs}
    # What was seen may be newer than what is announced; a log that went back finds no quorum.
    if seen > checkpoint.size or (0 < seen < checkpoint.size and seen not in proved):
        return {"seen": seen}
    return {"cosigned": book.cosign(roster, published).decode(), "log_keys": stated}
