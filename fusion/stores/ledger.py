"""The log in a database: entries that can't be changed, and every complete subtree (RFC 6962).

The tables may lie in the file of another store, so that what happened and the entry that says so
are one transaction: :func:`append` works inside whichever is open. Triggers refuse updates and
deletions; they stop mistakes, not an owner of the file, whom only the checkpoints at witnesses do.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from fusion.errors import VerificationFailed
from fusion.ledger import merkle
from fusion.stores.postgres import PostgresDatabase
from fusion.stores.sql import Schema
from fusion.stores.sqlite import KeptDatabase

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from fusion.ledger.merkle import Subtree
    from fusion.stores.sql import Connection, Postgres, Sql

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS entry(number INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS subtree(
  level INTEGER, place INTEGER, hash BLOB NOT NULL, PRIMARY KEY (level, place)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS once(key TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS paper(name TEXT PRIMARY KEY, document BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS head(size INTEGER PRIMARY KEY, note BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS witnessed(
  log TEXT PRIMARY KEY, size INTEGER NOT NULL, root BLOB NOT NULL, note BLOB NOT NULL)
  WITHOUT ROWID;
"""
_SQLITE: Final = """
CREATE TRIGGER IF NOT EXISTS entry_stays BEFORE UPDATE ON entry
  BEGIN SELECT RAISE(ABORT, 'an entry is never changed'); END;
CREATE TRIGGER IF NOT EXISTS entry_kept BEFORE DELETE ON entry
  BEGIN SELECT RAISE(ABORT, 'an entry is never dropped'); END;
CREATE TRIGGER IF NOT EXISTS entry_next BEFORE INSERT ON entry
  WHEN NEW.number <> (SELECT coalesce(max(number) + 1, 0) FROM entry)
  BEGIN SELECT RAISE(ABORT, 'an entry comes after the last one'); END;
CREATE TRIGGER IF NOT EXISTS subtree_stays BEFORE UPDATE ON subtree
  BEGIN SELECT RAISE(ABORT, 'a subtree is never changed'); END;
CREATE TRIGGER IF NOT EXISTS subtree_kept BEFORE DELETE ON subtree
  BEGIN SELECT RAISE(ABORT, 'a subtree is never dropped'); END;
CREATE TRIGGER IF NOT EXISTS once_kept BEFORE DELETE ON once
  BEGIN SELECT RAISE(ABORT, 'an occasion is never forgotten'); END;
"""
_POSTGRES: Final = """
CREATE OR REPLACE FUNCTION banyan_never() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN RAISE EXCEPTION '% is never changed and never dropped', TG_TABLE_NAME; END $$;
CREATE OR REPLACE FUNCTION banyan_next() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN
    IF NEW.number <> (SELECT coalesce(max(number) + 1, 0) FROM entry) THEN
      RAISE EXCEPTION 'an entry comes after the last one';
    END IF;
    RETURN NEW;
  END $$;
CREATE OR REPLACE TRIGGER entry_next BEFORE INSERT ON entry
  FOR EACH ROW EXECUTE FUNCTION banyan_next();
CREATE OR REPLACE TRIGGER entry_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON entry
  FOR EACH STATEMENT EXECUTE FUNCTION banyan_never();
CREATE OR REPLACE TRIGGER subtree_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON subtree
  FOR EACH STATEMENT EXECUTE FUNCTION banyan_never();
CREATE OR REPLACE TRIGGER once_kept BEFORE DELETE OR TRUNCATE ON once
  FOR EACH STATEMENT EXECUTE FUNCTION banyan_never();
"""
LEDGER: Final = Schema(tables=_TABLES, sqlite=_SQLITE, postgres=_POSTGRES)

_PAGE: Final = 1000


def size_of(connection: Connection) -> int:
    """Return the number of entries."""
    (size,) = connection.execute("SELECT coalesce(max(number) + 1, 0) FROM entry").fetchone()
    return int(size)


def append(connection: Connection, entries: Sequence[bytes]) -> int:
    """Append entries within the open transaction; return the number of the first."""
    first = size_of(connection)
    leaves = [merkle.leaf_hash(entry) for entry in entries]
    connection.executemany("INSERT INTO entry VALUES (?, ?)", enumerate(entries, first))
    # Levels are read before they are written: a left sibling outside of the batch is stored.
    levels = list(merkle.completed_by(first, leaves, _subtrees(connection)))
    connection.executemany(
        "INSERT INTO subtree VALUES (?, ?, ?)",
        (
            (level, place, value)
            for level, start, hashes in levels
            for place, value in enumerate(hashes, start)
        ),
    )
    return first


def keep_papers(connection: Connection, papers: Mapping[str, bytes]) -> None:
    """Keep documents under their names, within the open transaction."""
    connection.executemany(
        "INSERT INTO paper VALUES (?, ?) "
        "ON CONFLICT (name) DO UPDATE SET document = excluded.document",
        list(papers.items()),
    )


def append_once(connection: Connection, key: str, entry: bytes) -> bool:
    """Append an entry within the open transaction unless one is under this key."""
    if _is_there(connection, key):
        return False
    connection.execute("INSERT INTO once VALUES (?, ?)", (key, append(connection, [entry])))
    return True


def _subtrees(connection: Connection) -> Subtree:
    def subtree(level: int, place: int) -> bytes:
        row = connection.execute(
            "SELECT hash FROM subtree WHERE level = ? AND place = ?", (level, place)
        ).fetchone()
        if row is None:
            msg = f"The log's tree lacks a node ({level}, {place})."
            raise VerificationFailed(msg, hint="`fusion ledger verify` says where it is damaged.")
        found: bytes = row[0]
        return found

    return subtree


class SqlLedger:
    """:class:`fusion.ports.Ledger` in a database."""

    def __init__(self, database: Sql) -> None:
        """Take a database that has the tables of :data:`LEDGER`."""
        self._database = database

    @classmethod
    def in_postgres(cls, place: Postgres) -> SqlLedger:
        """Open or make the log in PostgreSQL.

        Raises:
            fusion.errors.EnvironmentUnfit: The server can't be used.
        """
        return cls(PostgresDatabase(place, LEDGER))

    def close(self) -> None:
        """Let go of the database until it is used again."""
        self._database.close()

    def size(self) -> int:
        """Return the number of entries."""
        with self._database.reading() as connection:
            return size_of(connection)

    def append(self, entries: Sequence[bytes]) -> int:
        """Append entries durably, all or none; return the number of the first."""
        with self._database.transaction() as connection:
            return append(connection, entries)

    def append_once(
        self, key: str, entry: bytes, papers: Mapping[str, bytes] | None = None
    ) -> bool:
        """Append an entry durably unless one was under this key; say whether it was new."""
        with self._database.reading() as connection:
            if _is_there(connection, key):
                return False
        with self._database.transaction() as connection:
            new = append_once(connection, key, entry)
            if new and papers:
                keep_papers(connection, papers)
            return new

    def has(self, key: str) -> bool:
        """Return whether an entry is under this key."""
        with self._database.reading() as connection:
            return _is_there(connection, key)

    def number_of(self, key: str) -> int | None:
        """Return the number of the entry under this key, if there is one."""
        with self._database.reading() as connection:
            row = connection.execute("SELECT number FROM once WHERE key = ?", (key,)).fetchone()
        return None if row is None else int(row[0])

    def entries(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield the entries from ``start`` below ``stop``."""
        # Cast: who changed an entry in the file may have left text, which has bytes too.
        query = (
            "SELECT CAST(body AS BLOB) FROM entry WHERE number >= ? AND number < ? ORDER BY number"
        )
        yield from self._pages(query, start, stop)

    def leaves(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield the hashes of these entries, as they were when they were appended."""
        query = (
            "SELECT hash FROM subtree WHERE level = 0 AND place >= ? AND place < ? ORDER BY place"
        )
        yield from self._pages(query, start, stop)

    def _pages(self, query: str, start: int, stop: int) -> Iterator[bytes]:
        """No transaction stays open while the caller works; what is read never changes."""
        for first in range(start, stop, _PAGE):
            with self._database.reading() as connection:
                rows = connection.execute(query, (first, min(first + _PAGE, stop))).fetchall()
            yield from (row[0] for row in rows)

    def root(self, size: int) -> bytes:
        """Return the root of the first ``size`` entries."""
        with self._database.reading() as connection:
            return merkle.root(size, _subtrees(connection))

    def inclusion_proof(self, index: int, size: int) -> list[bytes]:
        """Return the proof that entry ``index`` is in the log of ``size``."""
        with self._database.reading() as connection:
            return merkle.inclusion_proof(index, size, _subtrees(connection))

    def consistency_proof(self, old: int, new: int) -> list[bytes]:
        """Return the proof that the log of ``new`` extends that of ``old``."""
        with self._database.reading() as connection:
            return merkle.consistency_proof(old, new, _subtrees(connection))

    def papers(self, prefix: str) -> dict[str, bytes]:
        """Return the documents whose names begin so."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT name, document FROM paper WHERE substr(name, 1, ?) = ? ORDER BY name",
                (len(prefix), prefix),
            ).fetchall()
        return {name: bytes(document) for name, document in rows}

    def keep_head(self, size: int, note: bytes) -> None:
        """Store the own signed checkpoint of this size, in place of an earlier copy."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO head VALUES (?, ?) "
                "ON CONFLICT (size) DO UPDATE SET note = excluded.note",
                (size, note),
            )

    def heads(self, most: int = 256) -> dict[int, bytes]:
        """Return the newest own checkpoints by size, smallest first."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT size, note FROM head ORDER BY size DESC LIMIT ?", (most,)
            ).fetchall()
        return dict(reversed(rows))

    def witnessed(self) -> dict[str, tuple[int, bytes, bytes]]:
        """Return ``(size, root, cosigned note)`` last cosigned of each other log."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT log, size, root, note FROM witnessed").fetchall()
        return {log: (size, root, note) for log, size, root, note in rows}

    def witness(
        self, log: str, before: tuple[int, bytes] | None, size: int, root: bytes, note: bytes
    ) -> None:
        """Remember durably what is about to be cosigned, before the cosignature leaves."""
        with self._database.transaction() as connection:
            found = connection.execute(
                "SELECT size, root FROM witnessed WHERE log = ?", (log,)
            ).fetchone()
            check_unchanged(log, before, found)
            connection.execute(
                "INSERT INTO witnessed VALUES (?, ?, ?, ?) ON CONFLICT (log) DO UPDATE "
                "SET size = excluded.size, root = excluded.root, note = excluded.note",
                (log, size, root, note),
            )


class SqliteLedger(SqlLedger):
    """A log in an SQLite file."""

    def __init__(self, path: Path) -> None:
        """Open or make the file, readable by its owner only.

        Raises:
            fusion.errors.EnvironmentUnfit: It can't be opened.
        """
        if not path.exists() and os.access(path.parent, os.W_OK):
            path.touch(mode=0o600)
        super().__init__(KeptDatabase(path, LEDGER))


def _is_there(connection: Connection, key: str) -> bool:
    row = connection.execute("SELECT 1 FROM once WHERE key = ?", (key,)).fetchone()
    return row is not None


def check_unchanged(
    log: str, before: tuple[int, bytes] | None, found: tuple[int, bytes] | None
) -> None:
    """Refuse to cosign what was checked against something that is not the last cosigned.

    Raises:
        VerificationFailed: Another checkpoint was cosigned in the meantime.
    """
    if found != before:
        msg = f"Another checkpoint of {log} was cosigned in the meantime."
        raise VerificationFailed(msg, hint="Ask again.")
