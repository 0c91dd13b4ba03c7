"""What a peer counted in one attempt of a run it counts in the next: what holds it to that.

The label party remembers what commits to the sums of each peer before it goes on with them. So a
peer that ends attempt after attempt has one set of bins counted, and not six.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from federated.vertical.keeping import BOUND, of_the_job
from fusion.errors import DataInvalid, MessageInvalid
from fusion.wire import canonical

if TYPE_CHECKING:
    from federated.vertical.keeping import Keeping


class Binding:
    """What a party keeps of them, sealed as all that it keeps; may be called by threads."""

    def __init__(self, keeping: Keeping) -> None:
        """Take where it is kept.

        Raises:
            DataInvalid: What was kept of them does not open, or is something else.
        """
        self._keeping = keeping
        self._lock = threading.Lock()
        kept = of_the_job(keeping, BOUND)
        self._known = {} if kept is None else _read(kept)

    def bind(self, which: str, commitment: str, sender: str) -> None:
        """Remember sums before anything is made of them.

        Args:
            which: Of a peer.
            commitment: What commits to them, in hexadecimal.
            sender: Whom to name.

        Raises:
            MessageInvalid: They were others in an earlier attempt.
        """
        with self._lock:
            known = self._known.get(which)
            if known is None:
                self._known[which] = commitment
                self._keeping.put(BOUND, canonical.encode(self._known))
            elif known != commitment:
                raise MessageInvalid(f"{sender} counts other bins than in an earlier attempt.")


def _read(kept: bytes) -> dict[str, str]:
    try:
        found = canonical.decode(kept)
    except MessageInvalid:
        found = None
    if not isinstance(found, dict) or not all(isinstance(each, str) for each in found.values()):
        raise DataInvalid(
            "What was kept of what peers counted is not well formed.", hint="Start a new run."
        )
    return found
