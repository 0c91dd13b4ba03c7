"""What an organisation publishes of its own log, and how it gathers cosignatures for it.

The same at the hub and at a node: only the way to the others differs. A checkpoint stays published
until a quorum has cosigned it, or for some seconds, so that witnesses who come one after another
find the same one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fusion.errors import LedgerBroken, VerificationFailed
from fusion.ledger.checkpoint import parse
from fusion.ledger.witness import Proof, Published

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fusion.identity.roster import Roster
    from fusion.services.ledger import Book

PATIENCE_SECONDS: Final = 10.0
_MAX_PROOFS: Final = 64


class Publisher:
    """Publishes one organisation's own log."""

    def __init__(self, book: Book) -> None:
        """Take the log; nothing is published yet."""
        self._book = book
        self._size = -1
        self._since = 0.0

    def check_own(self, roster: Roster, published: Published) -> None:
        """Refuse to go on with a log that is behind what was published of it.

        Raises:
            LedgerBroken: The log was put back from a backup, or lost.
        """
        keys, checkpoint = published.opened(*self._book.epochs(roster))
        if keys.log_id != self._book.keys(roster).log_id:
            return  # a log under an earlier key: another log, and everybody can see that
        ledger = self._book.ledger
        size = ledger.size()
        if checkpoint.size > size or ledger.root(checkpoint.size) != checkpoint.root:
            msg = (
                f"The log here has {size} entries and is not the one that was published with "
                f"{checkpoint.size}: it was put back from a backup, or lost."
            )
            hint = "Do not go on with it: see 'Backup' on the page about deploying."
            raise LedgerBroken(msg, index=min(size, checkpoint.size), hint=hint)

    def collect(self, roster: Roster, cosigned: Mapping[str, str]) -> None:
        """Keep the cosignatures that are good; who sent a bad one is not waited for."""
        book, witnesses = self._book, self._book.witnesses(roster)
        heads = book.ledger.heads()
        for name, note in cosigned.items():
            found = parse(note.encode())
            kept = heads.get(found.size)
            if kept is None or parse(kept).text() != found.text():
                continue
            head = parse(kept)
            for keys in witnesses.get(name, []):
                try:
                    head.verify_witness(keys.origin, keys.witness)
                except VerificationFailed:
                    pass
                else:
                    break  # it is there already
                try:
                    found.verify_witness(keys.origin, keys.witness)
                except VerificationFailed:
                    continue
                lines = [s for s in found.signatures if s.name == keys.origin]
                heads[head.size] = head.with_signatures(lines).note()
                book.ledger.keep_head(head.size, heads[head.size])
                break

    def publish(
        self, roster: Roster, current: Published | None, cosigned: Mapping[str, str]
    ) -> Published:
        """Return what is to be published now; the same as before when nothing is new.

        Args:
            roster: The roster now.
            current: What is published.
            cosigned: Each witness's last cosigned note of this log.
        """
        book = self._book
        head = parse(current.checkpoint.encode()) if current is not None else None
        now = book.clock.monotonic()
        own = head is not None and book.ledger.heads().get(head.size) is not None
        if head is None or not own or self._may_go_on(roster, head.size, now):
            head = book.head(roster)
        if head.size != self._size:
            self._size, self._since = head.size, now
        sizes = {parse(note.encode()).size for note in cosigned.values()}
        before = sorted((size for size in sizes if 0 < size < head.size), reverse=True)
        return Published(
            keys=book.stated_keys(roster).decode(),
            checkpoint=_own_signature_only(head.note(), head.origin),
            proofs=[
                Proof(
                    size=size,
                    hashes=[h.hex() for h in book.ledger.consistency_proof(size, head.size)],
                )
                for size in before[:_MAX_PROOFS]
            ],
        )

    def _may_go_on(self, roster: Roster, size: int, now: float) -> bool:
        """Whether the published checkpoint has its quorum, or has waited long enough for it."""
        if self._book.ledger.size() == size:
            return False
        waited = self._size != size or now - self._since > PATIENCE_SECONDS
        return waited or self._book.witnessed(roster) >= size

    def settled(self, roster: Roster) -> bool:
        """Whether a quorum has cosigned the log as it is now."""
        return self._book.witnessed(roster) == self._book.ledger.size()


def _own_signature_only(note: bytes, origin: str) -> str:
    checkpoint = parse(note)
    return checkpoint.with_only(origin).note().decode()
