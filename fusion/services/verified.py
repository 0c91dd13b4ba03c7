"""Grants that were verified before: their exact bytes, under exactly this roster.

Verifying a grant's signatures takes most of the time of a decision, and the same few files are
asked for again and again. What is kept is what verification gave for these very bytes; a byte more,
less or other is another key. With another roster (another epoch, another key) nothing that was kept
counts. Whether a grant is revoked, complete or over is no part of it: that is looked at each time.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from fusion.grants import signing

if TYPE_CHECKING:
    from fusion.grants.signing import SignedGrant
    from fusion.identity.roster import Roster

KEPT: Final = 256
"""Grants kept; of more, those asked for longest ago are verified again."""


class VerifiedGrants:
    """Opens grants; the same bytes under the same roster are verified once."""

    def __init__(self, limit: int = KEPT) -> None:
        """Start empty, to keep ``limit`` grants at most."""
        self._limit = limit
        self._lock = threading.Lock()
        self._roster: Roster | None = None
        self._found: OrderedDict[tuple[int, bytes], SignedGrant] = OrderedDict()

    def __len__(self) -> int:
        """Return how many are kept."""
        return len(self._found)

    def open(self, data: bytes, roster: Roster) -> SignedGrant:
        """Return a verified grant; :func:`fusion.grants.signing.open_grant` for the rest.

        Args:
            data: The envelope's exact bytes.
            roster: As it is known now, itself verified.

        Raises:
            VerificationFailed: It, or a signature under it, is not as it has to be. Nothing of
                this is kept.
        """
        key = (roster.epoch, hashlib.sha256(data).digest())
        with self._lock:
            # The epoch alone would do, did nobody ever sign two rosters of one epoch.
            if roster != self._roster:
                self._found.clear()
                self._roster = roster
            found = self._found.get(key)
            if found is not None:
                self._found.move_to_end(key)
                return found
        signed = signing.open_grant(data, roster)
        with self._lock:
            # The roster may have changed while this was verified.
            if roster == self._roster:
                self._found[key] = signed
                while len(self._found) > self._limit:
                    self._found.popitem(last=False)
        return signed
