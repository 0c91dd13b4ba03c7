"""The history's file: what was decided is on disk, and chained, before a number leaves.

One file for all ledgers of a node, one writer at a time. Each ledger is a chain of events, each
linked to the one before by an HMAC under a secret of the node, so that whoever edits the file
without the secret is found out when it is read. A chain does not show that its end was cut or the
file put back from a backup: :meth:`Store.heads` is for a log that others witness.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from fusion.crypto.hashing import digest
from fusion.errors import HistoryBroken
from fusion.stores.sql import Schema
from fusion.stores.sqlite import KeptDatabase

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from numpy.typing import NDArray

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS event(
  scope TEXT NOT NULL, number INTEGER NOT NULL CHECK (number >= 0),
  party TEXT NOT NULL, month TEXT NOT NULL,
  kind TEXT NOT NULL CHECK (kind IN ('open', 'carried', 'table', 'values')),
  query INTEGER NOT NULL CHECK (query >= 0), charged INTEGER NOT NULL CHECK (charged IN (0, 1)),
  body BLOB NOT NULL, codes BLOB NOT NULL, rows BLOB NOT NULL, link BLOB NOT NULL,
  PRIMARY KEY (scope, number)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS event_of ON event(party, month, charged);
CREATE INDEX IF NOT EXISTS event_query ON event(party, query);
CREATE TABLE IF NOT EXISTS snapshot(
  scope TEXT PRIMARY KEY, number INTEGER NOT NULL, h BLOB NOT NULL, mac BLOB NOT NULL);
CREATE TRIGGER IF NOT EXISTS event_stays BEFORE DELETE ON event BEGIN
  SELECT RAISE(ABORT, 'nothing is deleted');
END;
CREATE TRIGGER IF NOT EXISTS event_is_final BEFORE UPDATE ON event BEGIN
  SELECT RAISE(ABORT, 'nothing is changed');
END;
CREATE TRIGGER IF NOT EXISTS event_in_order BEFORE INSERT ON event
WHEN NEW.number <> (SELECT count(*) FROM event WHERE scope = NEW.scope) BEGIN
  SELECT RAISE(ABORT, 'events are numbered without gap');
END;
"""
_FIELDS: Final = "number, party, month, kind, query, charged, body, codes, rows, link"


@dataclass(frozen=True, slots=True)
class Event:
    """One step of a ledger.

    Attributes:
        number: Of the step, from 0.
        party: Owner and grantee group whose refusals and queries are counted together.
        month: When it was asked.
        kind: ``open`` (cohort and declaration), ``carried`` (a decision, or charge, of before),
            ``table`` (a decision), ``values`` (what was answered).
        query: Number of the query in its group, from 1; 0 for ``open`` and charges of before.
        charged: Whether it counts as a refusal of the month.
        body: Canonical JSON.
        codes: A table, compressed.
        rows: Of the factor.
        link: HMAC over the event and the link before.
    """

    number: int
    party: str
    month: str
    kind: str
    query: int
    charged: bool
    body: bytes
    codes: bytes = b""
    rows: bytes = b""
    link: bytes = b""


class Store:
    """All ledgers of one node."""

    def __init__(self, path: Path, secret: bytes) -> None:
        """Open or make the file.

        Raises:
            fusion.errors.EnvironmentUnfit: It can't be opened.
        """
        self._key = hmac.digest(secret, b"banyan/history/chain/v1", "sha256")
        self._database = KeptDatabase(path, Schema(tables=_SCHEMA))

    def transaction(self) -> AbstractContextManager[sqlite3.Connection]:
        """Hold the write lock; what was written is on disk at the end."""
        return self._database.transaction()

    def reading(self) -> AbstractContextManager[sqlite3.Connection]:
        """See the file as it is now."""
        return self._database.reading()

    def close(self) -> None:
        """Let go of the file until it is used again."""
        self._database.close()

    def append(
        self, connection: sqlite3.Connection, scope: str, event: Event, before: bytes
    ) -> bytes:
        """Add an event to a ledger; return its link."""
        link = self._link(scope, event, before)
        connection.execute(
            f"INSERT INTO event(scope, {_FIELDS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - fixed names
            (
                *(scope, event.number, event.party, event.month, event.kind, event.query),
                *(int(event.charged), event.body, event.codes, event.rows, link),
            ),
        )
        return link

    def events(
        self, connection: sqlite3.Connection, scope: str, first: int, before: bytes
    ) -> Iterator[Event]:
        """Yield a ledger's events from a number on, each checked against the link before.

        Raises:
            HistoryBroken: One was changed, or one is missing.
        """
        found = connection.execute(
            f"SELECT {_FIELDS} FROM event WHERE scope = ? AND number >= ? ORDER BY number",  # noqa: S608 - fixed names
            (scope, first),
        )
        for number, row in enumerate(found, start=first):
            found_number, party, month, kind, query, charged, body, codes, rows, link = row
            if not all(isinstance(part, bytes) for part in (body, codes, rows, link)):
                raise HistoryBroken(f"Event {number} of a history was changed.")
            event = Event(
                *(found_number, party, month, kind, query),
                *(bool(charged), body, codes, rows, link),
            )
            if event.number != number or not hmac.compare_digest(
                event.link, self._link(scope, event, before)
            ):
                raise HistoryBroken(
                    f"Event {number} of a history was changed, or one before it is missing.",
                    hint="Nothing is released from it; docs/claims/history.md says what to do.",
                )
            before = event.link
            yield event

    def _link(self, scope: str, event: Event, before: bytes) -> bytes:
        words = (scope, str(event.number), event.party, event.month, event.kind)
        counts = (str(event.query), str(int(event.charged)))
        parts = (*(word.encode() for word in (*words, *counts)), event.body, event.codes)
        name = digest("banyan/history/event/v1", before, *parts, event.rows)
        return hmac.digest(self._key, name, "sha256")

    def charged(self, connection: sqlite3.Connection, party: str, month: str) -> int:
        """Return how many refusals a group was charged in a month."""
        (count,) = connection.execute(
            "SELECT count(*) FROM event WHERE party = ? AND month = ? AND charged = 1",
            (party, month),
        ).fetchone()
        return int(count)

    def last_charges(self, connection: sqlite3.Connection, party: str) -> tuple[str, int]:
        """Return the last month in which a group was charged refusals, and how many; or none."""
        row = connection.execute(
            "SELECT month, count(*) FROM event WHERE party = ? AND charged = 1"
            " GROUP BY month ORDER BY month DESC LIMIT 1",
            (party,),
        ).fetchone()
        return ("", 0) if row is None else (str(row[0]), int(row[1]))

    def brought(self, connection: sqlite3.Connection, party: str, month: str, body: bytes) -> int:
        """Return how many refusals of a month a group took over, by what they say."""
        (count,) = connection.execute(
            "SELECT count(*) FROM event WHERE party = ? AND month = ? AND charged = 1"
            " AND kind = 'carried' AND body = ?",
            (party, month, body),
        ).fetchone()
        return int(count)

    def length(self, connection: sqlite3.Connection, scope: str) -> int:
        """Return how many events a ledger has."""
        (count,) = connection.execute(
            "SELECT count(*) FROM event WHERE scope = ?", (scope,)
        ).fetchone()
        return int(count)

    def queries(self, connection: sqlite3.Connection, party: str) -> int:
        """Return the greatest number of a query of a group."""
        (last,) = connection.execute(
            "SELECT coalesce(max(query), 0) FROM event WHERE party = ?", (party,)
        ).fetchone()
        return int(last)

    def opening(self, connection: sqlite3.Connection, scope: str) -> bytes | None:
        """Return what a ledger began with, if it has begun."""
        row = connection.execute(
            "SELECT body FROM event WHERE scope = ? AND number = 0", (scope,)
        ).fetchone()
        return None if row is None else bytes(row[0])

    def scopes(self, connection: sqlite3.Connection) -> list[str]:
        """Return all ledgers."""
        return [row[0] for row in connection.execute("SELECT DISTINCT scope FROM event")]

    def heads(self) -> dict[str, tuple[int, str]]:
        """Return how many events each ledger has, and its last link in hexadecimal."""
        with self.reading() as connection:
            found = connection.execute(
                "SELECT scope, max(number) + 1, link FROM event GROUP BY scope"
            )
            return {scope: (int(count), link.hex()) for scope, count, link in found}

    def keep(
        self, connection: sqlite3.Connection, scope: str, number: int, h: NDArray[np.float64]
    ) -> None:
        """Keep all leverages after an event, so that opening the file need not compute them."""
        data = h.astype("<f8").tobytes()
        connection.execute(
            "INSERT OR REPLACE INTO snapshot VALUES (?, ?, ?, ?)",
            (scope, number, data, self._mac(scope, number, data)),
        )

    def kept(
        self, connection: sqlite3.Connection, scope: str, entities: int
    ) -> tuple[int, NDArray[np.float64]] | None:
        """Return the last kept leverages and the event that they follow.

        Raises:
            HistoryBroken: They were changed.
        """
        row = connection.execute(
            "SELECT number, h, mac FROM snapshot WHERE scope = ?", (scope,)
        ).fetchone()
        if row is None:
            return None
        number, data, mac = row
        if len(data) != 8 * entities or not hmac.compare_digest(
            mac, self._mac(scope, number, data)
        ):
            raise HistoryBroken("The kept leverages of a history were changed.")
        return int(number), np.frombuffer(data, dtype="<f8").copy()

    def _mac(self, scope: str, number: int, data: bytes) -> bytes:
        name = digest("banyan/history/snapshot/v1", scope.encode(), str(number).encode(), data)
        return hmac.digest(self._key, name, "sha256")
