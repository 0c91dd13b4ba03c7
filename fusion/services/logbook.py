"""A log with the keys it is kept under: entries, checkpoints, and the cosigning of other logs.

The same over SQLite at an organisation (:class:`fusion.services.ledger.Book`) and in memory in a
simulation: what a run needs of a log is here, and asks for no folder.
"""

from __future__ import annotations

import hashlib
from collections import deque
from typing import TYPE_CHECKING, Final

from fusion.errors import VerificationFailed
from fusion.identity.members import AUTHORITY
from fusion.ledger import entry as entries
from fusion.ledger.anchor import check_continues
from fusion.ledger.checkpoint import Checkpoint, parse
from fusion.ledger.entry import encode, stamp
from fusion.ledger.log_keys import LogKeys, open_stated_keys, sign_log_keys
from fusion.ledger.witness import check_extends

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusion.crypto.signing import SigningKey, VerifyKey
    from fusion.identity.roster import Roster
    from fusion.ledger.entry import Entry
    from fusion.ledger.witness import Proof, Published
    from fusion.ports import Clock, Ledger

ATTACHED: Final = "doc:"
"""Begins the name of a document that entries name by its SHA-256; it goes into the bundle."""

_TRIES: Final = 3
_REMEMBERED: Final = 64


def papers_of(attached: Sequence[bytes]) -> dict[str, bytes]:
    """Return documents under the names that a log keeps them under."""
    return {f"{ATTACHED}{hashlib.sha256(data).hexdigest()}": data for data in attached}


class LogBook:
    """One organisation's log and what it takes to keep it."""

    def __init__(
        self,
        ledger: Ledger,
        organisation: str,
        *,
        statement_key: SigningKey,
        log_key: SigningKey,
        witness_key: SigningKey,
        clock: Clock,
    ) -> None:
        """Take a log and its keys; write its first entry where it is missing."""
        self.ledger: Final = ledger
        self.organisation: Final = organisation
        self.clock: Final = clock
        self._statement_key = statement_key
        self._log_key = log_key
        self.witness_key: Final = witness_key
        # What was cosigned from here: everything cosigned later was shown to extend it.
        self._extended: deque[tuple[str, int, bytes]] = deque(maxlen=_REMEMBERED)
        self.once(
            "made",
            entries.OrganisationMade(
                at=self.now(),
                organisation=organisation,
                statement_key=statement_key.public.hex,
                log_key=log_key.public.hex,
                witness_key=witness_key.public.hex,
            ),
        )

    @property
    def public(self) -> tuple[VerifyKey, VerifyKey]:
        """The public log key and the public witness key."""
        return self._log_key.public, self.witness_key.public

    def now(self) -> str:
        """Return the time as entries have it."""
        return stamp(self.clock.now())

    def once(self, key: str, entry: Entry, attached: Sequence[bytes] = ()) -> bool:
        """Log something that happens once; say whether it was new.

        Args:
            key: Names the occasion.
            entry: The entry.
            attached: Documents that it names by their SHA-256.
        """
        return self.ledger.append_once(key, encode(entry), papers_of(attached))

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
        """Return the rosters known here, oldest first; without a folder, this one alone."""
        return [roster]

    # ------------------------------------------------------------------ the own log

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

    # ------------------------------------------------------------------ the logs of others

    def cosign(self, roster: Roster, published: Published) -> bytes:
        """Cosign another log's checkpoint if it extends the last one; durable before it returns.

        Returns:
            The checkpoint with this organisation's signature alone.

        Raises:
            LedgerBroken: The log has gone back, or has two histories.
            VerificationFailed: A signature is wrong, or nothing shows that the log only grew.
        """
        keys, checkpoint = published.opened(roster)
        self.see_log(keys, published.keys.encode())
        for last in range(_TRIES):
            seen, note = self._seen(keys.log_id)
            check_extends(checkpoint, published.proofs, seen)
            if seen == (checkpoint.size, checkpoint.root):
                self._extended.append((keys.log_id, *seen))
                return note
            try:
                return self._remember(roster, keys, checkpoint, seen)
            except VerificationFailed:
                # Another thread or process of this organisation cosigned in between.
                if last == _TRIES - 1:
                    raise
        raise AssertionError

    def rely_on(
        self, roster: Roster, keys: LogKeys, checkpoint: Checkpoint, proofs: Sequence[Proof]
    ) -> None:
        """Log that something is about to be done under another log's checkpoint.

        Raises:
            LedgerBroken: That log has gone back, or has two histories.
            VerificationFailed: Nothing shows that it only grew since it was last seen.
        """
        seen, _ = self._seen(keys.log_id)
        if (keys.log_id, checkpoint.size, checkpoint.root) not in self._extended:
            check_continues(checkpoint, proofs, seen)
        if seen is None or seen[0] < checkpoint.size:
            self._remember(roster, keys, checkpoint, seen)
        root = checkpoint.root.hex()
        self.once(
            f"relied:{keys.log_id}:{checkpoint.size}:{root}",
            entries.CheckpointSeen(
                at=self.now(), organisation=keys.organisation, size=checkpoint.size, root=root
            ),
        )

    def last_seen(self, log_id: str) -> int:
        """Return how many entries were last seen of another log."""
        seen, _ = self._seen(log_id)
        return 0 if seen is None else seen[0]

    def _seen(self, log_id: str) -> tuple[tuple[int, bytes] | None, bytes]:
        found = self.ledger.witnessed().get(log_id)
        return (None, b"") if found is None else ((found[0], found[1]), found[2])

    def _remember(
        self,
        roster: Roster,
        keys: LogKeys,
        checkpoint: Checkpoint,
        seen: tuple[int, bytes] | None,
    ) -> bytes:
        bare = Checkpoint(origin=checkpoint.origin, size=checkpoint.size, root=checkpoint.root)
        now = int(self.clock.now().timestamp())
        note = bare.cosigned(self.keys(roster).origin, self.witness_key, now).note()
        self.ledger.witness(keys.log_id, seen, checkpoint.size, checkpoint.root, note)
        self._extended.append((keys.log_id, checkpoint.size, checkpoint.root))
        return note
