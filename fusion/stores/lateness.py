"""Which answers of an owner's node were late, and at which step what was asked is answered since.

An event is on disk before :meth:`SqlLateness.late` returns, and stays: triggers hold other users of
the file to that. How many there may be in a month is the owner's policy of the day, and no part of
the file. What it means: :mod:`sandbox.lateness`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fusion.stores.ledger import LEDGER
from fusion.stores.postgres import PostgresDatabase
from fusion.stores.sql import Schema
from fusion.stores.sqlite import KeptDatabase

if TYPE_CHECKING:
    from pathlib import Path

    from fusion.stores.sql import Postgres, Sql

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS late_answer(
  key TEXT PRIMARY KEY, dataset TEXT NOT NULL, party TEXT NOT NULL, month TEXT NOT NULL,
  shape TEXT NOT NULL, step INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS late_answer_of ON late_answer(dataset, party, month);
"""
_SQLITE: Final = """
CREATE TRIGGER IF NOT EXISTS late_stays BEFORE DELETE ON late_answer BEGIN
  SELECT RAISE(ABORT, 'nothing is given back');
END;
CREATE TRIGGER IF NOT EXISTS late_is_not_changed BEFORE UPDATE ON late_answer BEGIN
  SELECT RAISE(ABORT, 'nothing is given back');
END;
"""
_POSTGRES: Final = """
CREATE OR REPLACE TRIGGER late_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON late_answer
  FOR EACH STATEMENT EXECUTE FUNCTION banyan_never();
"""
LATENESS: Final = LEDGER + Schema(tables=_TABLES, sqlite=_SQLITE, postgres=_POSTGRES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Who asks, and whose events are counted together with its own.

    Events are kept by organisation: a pool that is made, or grows, has what its members had.

    Attributes:
        dataset: Of which data.
        party: The organisation that asks.
        others: Those that pool with it; None: whoever asks.
    """

    dataset: str
    party: str
    others: frozenset[str] | None = frozenset()

    def counts(self, dataset: str, party: str) -> bool:
        """Return whether an organisation's events about a dataset count here."""
        mine = self.others is None or party == self.party or party in self.others
        return mine and dataset == self.dataset


class SqlLateness:
    """Events and steps, in a database."""

    def __init__(self, database: Sql) -> None:
        """Take a database that has the tables of :data:`LATENESS`."""
        self._database = database

    @classmethod
    def in_file(cls, path: Path) -> SqlLateness:
        """Open or make an SQLite file.

        Raises:
            fusion.errors.EnvironmentUnfit: It can't be opened.
        """
        return cls(KeptDatabase(path, LATENESS))

    @classmethod
    def in_postgres(cls, place: Postgres) -> SqlLateness:
        """Open or make the tables in PostgreSQL.

        Raises:
            fusion.errors.EnvironmentUnfit: The server can't be used.
        """
        return cls(PostgresDatabase(place, LATENESS))

    def close(self) -> None:
        """Let go of the database until it is used again."""
        self._database.close()

    def known(self, asker: Asker, month: str, shape: str) -> tuple[int, int]:
        """Return the events of a month, and the longest step of a shape in it, in milliseconds.

        Those of all who are counted together. The step is 0 where there was none.
        """
        with self._database.reading() as connection:
            found = connection.execute(
                "SELECT party, count(*), max(CASE WHEN shape = ? THEN step ELSE 0 END)"
                " FROM late_answer WHERE dataset = ? AND month = ? GROUP BY party",
                (shape, asker.dataset, month),
            ).fetchall()
        own = [row for row in found if asker.counts(asker.dataset, row[0])]
        return sum(int(row[1]) for row in own), max((int(row[2]) for row in own), default=0)

    def late(self, key: str, asker: Asker, month: str, shape: str, step: int) -> None:
        """Write an event, durably.

        Args:
            key: Names the event, once.
            asker: Who asked; it is the one organisation's.
            month: Of it, ``2026-11``.
            shape: Names what was asked.
            step: At which the shape is answered from now on, in milliseconds.

        Raises:
            fusion.errors.EnvironmentUnfit: It could not be written, or was before.
        """
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO late_answer VALUES (?, ?, ?, ?, ?, ?)",
                (key, asker.dataset, asker.party, month, shape, step),
            )
