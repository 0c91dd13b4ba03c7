"""What a node remembers of its rounds, in its ``state.sqlite``.

A node restored from a backup older than its last opening could open a round again: see
``docs/limitations.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fusion.stores.memory import opened_before, second_commitment, second_list, second_opening
from fusion.stores.sqlite import Database

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS job(
  job TEXT PRIMARY KEY, study BLOB NOT NULL, key TEXT NOT NULL) WITHOUT ROWID;
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


class SqliteRoundLog:
    """:class:`fusion.ports.ContributionLog` and :class:`fusion.ports.OpeningLog` on disk."""

    def __init__(self, path: Path) -> None:
        """Open or make the file.

        Raises:
            fusion.errors.EnvironmentUnfit: It can't be opened.
        """
        self._database = Database(path, _SCHEMA)

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
        self, job: str, round_number: int, attempt: int, listing: bytes, proof: bytes
    ) -> bytes:
        """Bind an attempt to one list and one proof, durably; return the proof claimed first."""
        with self._database.transaction() as connection:
            row = connection.execute(
                "SELECT listing FROM submission WHERE job = ? AND round = ? AND attempt = ?",
                (job, round_number, attempt),
            ).fetchone()
            if row is not None and row[0] != listing:
                raise second_list(round_number, attempt)
            connection.execute(
                "INSERT OR IGNORE INTO submission VALUES (?, ?, ?, ?)",
                (job, round_number, attempt, listing),
            )
            connection.execute(
                "INSERT OR IGNORE INTO proof VALUES (?, ?, ?, ?)",
                (job, round_number, attempt, proof),
            )
            first = connection.execute(
                "SELECT proof FROM proof WHERE job = ? AND round = ? AND attempt = ?",
                (job, round_number, attempt),
            ).fetchone()
        return bytes(first[0])

    def keep_job(self, job: str, study: bytes, key: str) -> None:
        """Store what was agreed to, durably; what was agreed to first stays."""
        with self._database.transaction() as connection:
            connection.execute("INSERT OR IGNORE INTO job VALUES (?, ?, ?)", (job, study, key))

    def job(self, job: str) -> tuple[bytes, str] | None:
        """Return what was agreed to, if anything."""
        with self._database.transaction() as connection:
            row: tuple[bytes, str] | None = connection.execute(
                "SELECT study, key FROM job WHERE job = ?", (job,)
            ).fetchone()
        return row

    def forget_job(self, job: str) -> None:
        """Drop vectors, secrets and proofs of a job; what was bound or opened stays so."""
        with self._database.transaction() as connection:
            for drop in (
                "DELETE FROM commitment WHERE job = ?",
                "DELETE FROM secret WHERE job = ?",
                "DELETE FROM proof WHERE job = ?",
                "DELETE FROM job WHERE job = ?",
            ):
                connection.execute(drop, (job,))

    def consume(
        self, job: str, round_number: int, opening: bytes, contributions: Sequence[bytes]
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
            connection.execute(
                "INSERT OR IGNORE INTO opening VALUES (?, ?, ?)", (job, round_number, opening)
            )
            connection.executemany(
                "INSERT OR IGNORE INTO opened VALUES (?, ?)",
                [(contribution, opening) for contribution in contributions],
            )
