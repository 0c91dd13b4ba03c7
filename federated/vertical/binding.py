"""One charge is for one set of each party: what holds all to it, attempt after attempt of a run.

A party masks its set with the same scalars in every attempt of a run, and remembers of each list
that came what commits to it. In a later attempt the list has to be the same points: of another set
they could be only if the hashes of two identifiers were known multiples of each other. So a peer
that ends attempt after attempt asks about one set, and is answered with the same bytes.
"""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING

from federated.vertical.keeping import BOUND
from fusion.alignment.rules import Broken, broken
from fusion.crypto.ristretto.group import Scalar
from fusion.wire import canonical

if TYPE_CHECKING:
    from federated.vertical.keeping import Keeping


class Binding:
    """What a party keeps of a run's sets, sealed as all that it keeps; may be called by threads."""

    def __init__(self, keeping: Keeping) -> None:
        """Take where it is kept."""
        self._keeping = keeping
        self._lock = threading.Lock()
        kept = keeping.get(BOUND)
        self._scalars: dict[str, str] = {}
        self._lists: dict[str, str] = {}
        if kept is not None:
            found = json.loads(kept)
            self._scalars, self._lists = found["scalars"], found["lists"]

    def scalar(self, stage: str) -> Scalar:
        """Return the run's scalar of a stage, drawn when it is first asked for, and then kept."""
        with self._lock:
            if stage not in self._scalars:
                drawn = Scalar.fresh()
                self._scalars[stage] = bytes(drawn.held).hex()
                drawn.wipe()
                self._keep()
            return Scalar(bytes.fromhex(self._scalars[stage]))

    def bind(self, stage: str, which: str, commitment: str, sender: str) -> None:
        """Remember a list before anything of it is answered.

        Args:
            stage: Of the alignment.
            which: List.
            commitment: What commits to it, in hexadecimal.
            sender: Whom to name.

        Raises:
            AlignmentBroken: A-69: it was another in an earlier attempt.
        """
        with self._lock:
            place = f"{stage} {which}"
            known = self._lists.get(place)
            if known is None:
                self._lists[place] = commitment
                self._keep()
            elif known != commitment:
                raise broken(Broken.ANOTHER_SET, sender)

    def _keep(self) -> None:
        kept = {"lists": self._lists, "scalars": self._scalars}
        self._keeping.put(BOUND, canonical.encode(kept))
