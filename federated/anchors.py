"""A key holder's side of the evidence: it opens nothing that is not in a witnessed log.

Before a partial decryption a holder is shown that the hub's log has exactly this manifest and list
(:mod:`fusion.ledger.anchor`), that enough of the study's organisations have cosigned a checkpoint
that covers it, and that this checkpoint goes on from the last one it saw itself. So a hub has no
round opened that it could later deny, or that it shows to some and not to others
(``docs/adr/0015-holders-open-under-witnessed-rounds.md``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from federated.protocols.statements import same
from fusion.errors import Unwitnessed
from fusion.ledger.anchor import open_anchor
from fusion.ledger.entry import RoundListed, opening_digest
from fusion.ledger.witness import quorum_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from federated.protocols.statements import ContributionList, RoundManifest
    from fusion.identity.roster import Roster
    from fusion.ledger.entry import Entry
    from fusion.services.logbook import LogBook


class Anchors:
    """:class:`federated.protocols.secure_sum.Evidenced` over an organisation's own log."""

    def __init__(
        self, book: LogBook, roster: Roster, pool: Collection[str], quorum: int = 0
    ) -> None:
        """Take the own log and whose cosignatures count.

        Args:
            book: The own log, which remembers what was seen of the hub's.
            roster: As it was when the job was agreed to.
            pool: The study's organisations.
            quorum: How many of them have to have cosigned; 0 for more than half.
        """
        self._book = book
        self._roster = roster
        self._pool = frozenset(pool)
        self._quorum = quorum or quorum_of(len(self._pool))

    def check(self, manifest: RoundManifest, listed: ContributionList, anchor: bytes) -> None:
        """Return if this list is logged and witnessed; log which checkpoint shows it.

        Raises:
            Unwitnessed: It is not shown to be logged, or too few have cosigned.
            LedgerBroken: The hub's log has gone back, or has two histories.
            VerificationFailed: A signature is wrong, or nothing shows that the log only grew.
        """
        if not anchor:
            raise Unwitnessed(
                f"Round {manifest.round} is not opened: nothing shows that the hub logged it.",
                hint="The hub has to send an inclusion proof under a cosigned checkpoint.",
            )
        shown = open_anchor(anchor, self._roster, self._pool, self._quorum)
        reason = _reason_against(shown.entry, manifest, listed)
        if reason:
            raise Unwitnessed(
                f"Round {manifest.round} is not opened: what is shown of the hub's log {reason}.",
                hint="The hub has to prove the entry of this very list.",
            )
        self._book.rely_on(self._roster, shown.keys, shown.checkpoint, shown.proofs)


def _reason_against(entry: Entry, manifest: RoundManifest, listed: ContributionList) -> str | None:
    """Say why an entry is not that of this list, or None."""
    if not isinstance(entry, RoundListed):
        return f"is an entry of the kind {entry.kind}"
    named = (entry.job, entry.round, entry.attempt)
    if named != (manifest.job, manifest.round, manifest.attempt):
        return "is about another round"
    opening = opening_digest(manifest.digest(), listed.digest()).hex()
    if not same(entry.opening, opening):
        return "is about another list"
    if not same(entry.manifest, manifest.digest().hex()) or not same(
        entry.listing, listed.digest().hex()
    ):
        return "names another manifest or list"
    commitments = tuple(each.commitment for each in listed.entries)
    if (entry.contributors, entry.commitments) != (listed.organisations(), commitments):
        return "names other contributions than the list"
    return None
