"""How many bytes each party of a joint run has sent, over all its attempts, as the hub heard.

A party counts what it sends in an attempt and tells that with how it stands; the next attempt
counts from nothing. The hub adds attempts up, and writes down what it has: it may be started anew.
Of a party that is killed, what it sent after it was last heard is not counted.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from federated.job_files import Sent, read_job_file
from fusion.services.files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from federated.vertical.standings import Standing

FILE: Final = "sent.json"


class Tally:
    """See the module."""

    def __init__(self, path: Path) -> None:
        """Take the file, which is read when it is first wanted: a run is told of its damage then.

        Whatever wants it raises EnvironmentUnfit where it is damaged.
        """
        self._path = path
        self._read = False
        self._attempt = 0
        self._now: dict[str, list[int]] = {}
        self._before: dict[str, list[int]] = {}

    def begin(self, attempt: int) -> None:
        """Add up what there is, and count a new attempt."""
        self._before = {
            name: [each["aligning"], each["training"]] for name, each in self.totals().items()
        }
        self._attempt, self._now = attempt, {}
        self._save()

    def hear(self, standings: Mapping[str, Standing | None]) -> None:
        """Take how parties stand: what they say of the attempt that is counted."""
        self._load()
        changed = False
        for name, standing in standings.items():
            if standing is None or standing.attempt != self._attempt:
                continue
            known = self._now.get(name, [0, 0])
            # Every byte once: a party may tell later that it was of aligning.
            aligning = max(known[0], standing.aligning)
            now = [aligning, max(sum(known), standing.bytes, aligning) - aligning]
            changed |= now != known
            self._now[name] = now
        if changed:
            self._save()

    def totals(self) -> dict[str, dict[str, int]]:
        """Return bytes by organisation: of aligning, and of training and judging."""
        self._load()
        nothing = [0, 0]
        return {
            name: {
                what: self._before.get(name, nothing)[at] + self._now.get(name, nothing)[at]
                for at, what in enumerate(("aligning", "training"))
            }
            for name in sorted({*self._before, *self._now})
        }

    def total(self) -> int:
        """Return the bytes of all."""
        return sum(each["aligning"] + each["training"] for each in self.totals().values())

    def _load(self) -> None:
        """Take what an earlier process of the hub has written, once."""
        if self._read:
            return
        found = read_job_file(self._path, Sent)
        if found is not None:
            self._attempt, self._now, self._before = found.attempt, found.now, found.before
        self._read = True

    def _save(self) -> None:
        said = {"attempt": self._attempt, "now": self._now, "before": self._before}
        write_atomic(self._path, json.dumps(said, sort_keys=True).encode())
