"""What a node remembers of its rounds, in its ``state.sqlite``, beside its log.

An entry that comes with what it is about is appended in the same transaction: neither is ever
there without the other. A node restored from a backup older than its last opening could open a
round again: see ``docs/limitations.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fusion.grants.order import Code, refused
from fusion.stores.ledger import LEDGER, append, append_once, keep_papers
from fusion.stores.memory import opened_before, second_commitment, second_list, second_opening
from fusion.stores.postgres import PostgresDatabase
from fusion.stores.sql import Schema
from fusion.stores.sqlite import KeptDatabase

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fusion.grants.budget import Evidence
    from fusion.stores.sql import Connection, Cursor, Postgres, Sql

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS job(
  job TEXT PRIMARY KEY, study BLOB NOT NULL, key TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ordered(
  id TEXT PRIMARY KEY, job TEXT NOT NULL UNIQUE, document BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS commitment(
  job TEXT, round INTEGER, attempt INTEGER, manifest BLOB NOT NULL, nonce BLOB NOT NULL,
  vector BLOB NOT NULL, PRIMARY KEY (job, round, attempt)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS secret(
  job TEXT, round INTEGER, attempt INTEGER, secret BLOB NOT NULL,
  PRIMARY KEY (job, round, attempt)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS proof(
  job TEXT, round INTEGER, attempt INTEGER, proof BLOB NOT NULL,
  PRIMARY KEY (job, round, attempt)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS submission(
  job TEXT, round INTEGER, attempt INTEGER, listing BLOB NOT NULL,
  PRIMARY KEY (job, round, attempt)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS opening(
  job TEXT, round INTEGER, opening BLOB NOT NULL, PRIMARY KEY (job, round)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS opened(
  contribution BLOB PRIMARY KEY, opening BLOB NOT NULL) WITHOUT ROWID;
"""
ROUNDS: Final = Schema(tables=_TABLES) + LEDGER


class SqlRoundLog:
    """:class:`fusion.ports.ContributionLog` and :class:`fusion.ports.OpeningLog` in a database."""

    def __init__(self, database: Sql) -> None:
        """Take a database that has the tables of :data:`ROUNDS`."""
        self._database = database

    @classmethod
    def in_postgres(cls, place: Postgres) -> SqlRoundLog:
        """Open or make the memory in PostgreSQL.

        Raises:
            fusion.errors.EnvironmentUnfit: The server can't be used.
        """
        return cls(PostgresDatabase(place, ROUNDS))

    def close(self) -> None:
        """Let go of the database until it is used again."""
        self._database.close()

    def record(self, key: str, entry: bytes) -> None:
        """Append an entry about nothing that is stored here, once for this key."""
        with self._database.transaction() as connection:
            append_once(connection, key, entry)

    def commitment(
        self, job: str, round_number: int, attempt: int
    ) -> tuple[bytes, bytes, bytes] | None:
        """Return what was remembered, if anything."""
        with self._database.transaction() as connection:
            row: tuple[bytes, bytes, bytes] | None = connection.execute(
                "SELECT manifest, nonce, vector FROM commitment "
                "WHERE job = ? AND round = ? AND attempt = ?",
                (job, round_number, attempt),
            ).fetchone()
        return row

    def remember_commitment(
        self,
        job: str,
        round_number: int,
        attempt: int,
        kept: tuple[bytes, bytes, bytes],
        secret: bytes,
    ) -> None:
        """Store a commitment durably; those to earlier rounds of the job are dropped."""
        with self._database.transaction() as connection:
            if connection.execute(
                "SELECT 1 FROM commitment WHERE job = ? AND round = ? AND attempt = ?",
                (job, round_number, attempt),
            ).fetchone():
                raise second_commitment(round_number, attempt)
            # Only the round in progress can still be submitted to.
            for drop in (
                "DELETE FROM commitment WHERE job = ? AND round <> ?",
                "DELETE FROM secret WHERE job = ? AND round <> ?",
                "DELETE FROM proof WHERE job = ? AND round <> ?",
            ):
                connection.execute(drop, (job, round_number))
            connection.execute(
                "INSERT INTO commitment VALUES (?, ?, ?, ?, ?, ?)",
                (job, round_number, attempt, *kept),
            )
            connection.execute(
                "INSERT INTO secret VALUES (?, ?, ?, ?)", (job, round_number, attempt, secret)
            )
        self._database.scrub()

    def secret(self, job: str, round_number: int, attempt: int) -> bytes | None:
        """Return what a vector was made from, while it is kept."""
        with self._database.transaction() as connection:
            row: tuple[bytes] | None = connection.execute(
                "SELECT secret FROM secret WHERE job = ? AND round = ? AND attempt = ?",
                (job, round_number, attempt),
            ).fetchone()
        return None if row is None else row[0]

    def forget_secret(self, job: str, round_number: int, attempt: int) -> None:
        """Drop what a vector was made from."""
        with self._database.transaction() as connection:
            connection.execute(
                "DELETE FROM secret WHERE job = ? AND round = ? AND attempt = ?",
                (job, round_number, attempt),
            )
        self._database.scrub()

    def submission(self, job: str, round_number: int, attempt: int) -> tuple[bytes, bytes] | None:
        """Return list and proof of a submission, if it was claimed."""
        with self._database.transaction() as connection:
            row: tuple[bytes, bytes] | None = connection.execute(
                "SELECT listing, proof FROM submission JOIN proof USING (job, round, attempt) "
                "WHERE job = ? AND round = ? AND attempt = ?",
                (job, round_number, attempt),
            ).fetchone()
        return row

    def claim_submission(
        self,
        job: str,
        round_number: int,
        attempt: int,
        listing: bytes,
        proof: bytes,
        entry: bytes | None = None,
    ) -> bytes:
        """Bind an attempt to one list and one proof, durably; return the proof claimed first."""
        with self._database.transaction() as connection:
            row = connection.execute(
                "SELECT listing FROM submission WHERE job = ? AND round = ? AND attempt = ?",
                (job, round_number, attempt),
            ).fetchone()
            if row is not None and row[0] != listing:
                raise second_list(round_number, attempt)
            new = connection.execute(
                "INSERT INTO submission VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (job, round_number, attempt, listing),
            )
            _say(connection, new, entry)
            connection.execute(
                "INSERT INTO proof VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (job, round_number, attempt, proof),
            )
            first = connection.execute(
                "SELECT proof FROM proof WHERE job = ? AND round = ? AND attempt = ?",
                (job, round_number, attempt),
            ).fetchone()
        return bytes(first[0])

    def keep_job(self, job: str, study: bytes, key: str, entry: bytes | None = None) -> None:
        """Store what was agreed to, durably; what was agreed to first stays."""
        with self._database.transaction() as connection:
            new = connection.execute(
                "INSERT INTO job VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (job, study, key)
            )
            _say(connection, new, entry)

    def job(self, job: str) -> tuple[bytes, str] | None:
        """Return what was agreed to, if anything."""
        with self._database.transaction() as connection:
            row: tuple[bytes, str] | None = connection.execute(
                "SELECT study, key FROM job WHERE job = ?", (job,)
            ).fetchone()
        return row

    def bind_order(self, order: str, job: str, document: bytes, said: Evidence) -> None:
        """Bind an order and a job to each other, durably and for good, and log it the first time.

        Raises:
            OrderRefused: One of them was bound to another.
        """
        with self._database.transaction() as connection:
            rows = connection.execute(
                "SELECT id, job FROM ordered WHERE id = ? OR job = ?", (order, job)
            ).fetchall()
            if any(tuple(row) != (order, job) for row in rows):
                raise refused(Code.USED)
            if not rows:
                connection.execute("INSERT INTO ordered VALUES (?, ?, ?)", (order, job, document))
                append(connection, said.entries)
                keep_papers(connection, said.papers)

    def order(self, job: str) -> bytes | None:
        """Return the order that a job is bound to, if it is to any."""
        with self._database.transaction() as connection:
            row: tuple[bytes] | None = connection.execute(
                "SELECT document FROM ordered WHERE job = ?", (job,)
            ).fetchone()
        return None if row is None else bytes(row[0])

    def forget_job(self, job: str, entry: bytes | None = None) -> None:
        """Drop vectors, secrets and proofs of a job; what was bound or opened stays so."""
        with self._database.transaction() as connection:
            for drop in (
                "DELETE FROM commitment WHERE job = ?",
                "DELETE FROM secret WHERE job = ?",
                "DELETE FROM proof WHERE job = ?",
            ):
                connection.execute(drop, (job,))
            gone = connection.execute("DELETE FROM job WHERE job = ?", (job,))
            _say(connection, gone, entry)
        self._database.scrub()

    def consume(
        self,
        job: str,
        round_number: int,
        opening: bytes,
        contributions: Sequence[bytes],
        entry: bytes | None = None,
    ) -> None:
        """Record an opening durably, or refuse."""
        with self._database.transaction() as connection:
            row = connection.execute(
                "SELECT opening FROM opening WHERE job = ? AND round = ?", (job, round_number)
            ).fetchone()
            if row is not None and row[0] != opening:
                raise second_opening(round_number)
            for contribution in contributions:
                row = connection.execute(
                    "SELECT opening FROM opened WHERE contribution = ?", (contribution,)
                ).fetchone()
                if row is not None and row[0] != opening:
                    raise opened_before(round_number)
            new = connection.execute(
                "INSERT INTO opening VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                (job, round_number, opening),
            )
            _say(connection, new, entry)
            connection.executemany(
                "INSERT INTO opened VALUES (?, ?) ON CONFLICT DO NOTHING",
                [(contribution, opening) for contribution in contributions],
            )


class SqliteRoundLog(SqlRoundLog):
    """A node's memory in an SQLite file."""

    def __init__(self, path: Path) -> None:
        """Open or make the file.

        Raises:
            fusion.errors.EnvironmentUnfit: It can't be opened.
        """
        super().__init__(KeptDatabase(path, ROUNDS))


def _say(connection: Connection, change: Cursor, entry: bytes | None) -> None:
    """Append the entry of a change that took place."""
    if entry is not None and change.rowcount:
        append(connection, [entry])
