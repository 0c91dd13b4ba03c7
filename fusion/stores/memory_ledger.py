"""The log in memory: the same tree and the same rules, gone with the process."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from fusion.ledger import merkle
from fusion.stores.ledger import check_unchanged

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


class MemoryLedger:
    """:class:`fusion.ports.Ledger` in memory."""

    def __init__(self) -> None:
        """Start empty."""
        self._lock = threading.RLock()
        self._entries: list[bytes] = []
        self._nodes: dict[tuple[int, int], bytes] = {}
        self._once: dict[str, int] = {}
        self._papers: dict[str, bytes] = {}
        self._heads: dict[int, bytes] = {}
        self._witnessed: dict[str, tuple[int, bytes, bytes]] = {}

    def size(self) -> int:
        """Return the number of entries."""
        return len(self._entries)

    def append(self, entries: Sequence[bytes]) -> int:
        """Append entries; return the number of the first."""
        with self._lock:
            first = len(self._entries)
            leaves = [merkle.leaf_hash(entry) for entry in entries]
            for level, start, hashes in merkle.completed_by(first, leaves, self._subtree):
                self._nodes.update(((level, p), h) for p, h in enumerate(hashes, start))
            self._entries.extend(entries)
            return first

    def _subtree(self, level: int, place: int) -> bytes:
        return self._nodes[level, place]

    def append_once(
        self, key: str, entry: bytes, papers: Mapping[str, bytes] | None = None
    ) -> bool:
        """Append an entry unless one was under this key; say whether it was new."""
        with self._lock:
            if key in self._once:
                return False
            self._once[key] = self.append([entry])
            self._papers.update(papers or {})
            return True

    def has(self, key: str) -> bool:
        """Return whether an entry is under this key."""
        return key in self._once

    def number_of(self, key: str) -> int | None:
        """Return the number of the entry under this key, if there is one."""
        return self._once.get(key)

    def entries(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield the entries from ``start`` below ``stop``."""
        yield from self._entries[start:stop]

    def leaves(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield the hashes of these entries."""
        yield from (self._nodes[0, place] for place in range(start, min(stop, self.size())))

    def root(self, size: int) -> bytes:
        """Return the root of the first ``size`` entries."""
        return merkle.root(size, self._subtree)

    def inclusion_proof(self, index: int, size: int) -> list[bytes]:
        """Return the proof that entry ``index`` is in the log of ``size``."""
        return merkle.inclusion_proof(index, size, self._subtree)

    def consistency_proof(self, old: int, new: int) -> list[bytes]:
        """Return the proof that the log of ``new`` extends that of ``old``."""
        return merkle.consistency_proof(old, new, self._subtree)

    def papers(self, prefix: str) -> dict[str, bytes]:
        """Return the documents whose names begin so."""
        return {k: v for k, v in sorted(self._papers.items()) if k.startswith(prefix)}

    def keep_head(self, size: int, note: bytes) -> None:
        """Store the own signed checkpoint of this size, in place of an earlier copy."""
        with self._lock:
            self._heads[size] = note

    def heads(self, most: int = 256) -> dict[int, bytes]:
        """Return the newest own checkpoints by size, smallest first."""
        with self._lock:
            return dict(sorted(self._heads.items())[-most:])

    def witnessed(self) -> dict[str, tuple[int, bytes, bytes]]:
        """Return ``(size, root, cosigned note)`` last cosigned of each other log."""
        with self._lock:
            return dict(self._witnessed)

    def witness(
        self, log: str, before: tuple[int, bytes] | None, size: int, root: bytes, note: bytes
    ) -> None:
        """Remember what is about to be cosigned."""
        with self._lock:
            found = self._witnessed.get(log)
            check_unchanged(log, before, found and found[:2])
            self._witnessed[log] = (size, root, note)
