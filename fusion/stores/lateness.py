"""Which answers of an owner's node were late, and at which step statements are answered since.

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
  key TEXT PRIMARY KEY, dataset TEXT NOT NULL, organisation TEXT NOT NULL, month TEXT NOT NULL,
  step INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS late_answer_of ON late_answer(dataset, organisation, month);
CREATE TABLE IF NOT EXISTS late_step(
  dataset TEXT NOT NULL, organisation TEXT NOT NULL, shape TEXT NOT NULL, step INTEGER NOT NULL,
  PRIMARY KEY (dataset, organisation, shape)) WITHOUT ROWID;
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
    """Whose events are counted together.

    Attributes:
        dataset: Of which data.
        organisation: That asks.
    """

    dataset: str
    organisation: str


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
        """Return the events of a month, and the step of a shape: milliseconds, 0 if none."""
        with self._database.reading() as connection:
            (events,) = connection.execute(
                "SELECT count(*) FROM late_answer"
                " WHERE dataset = ? AND organisation = ? AND month = ?",
                (asker.dataset, asker.organisation, month),
            ).fetchone()
            row = connection.execute(
                "SELECT step FROM late_step WHERE dataset = ? AND organisation = ? AND shape = ?",
                (asker.dataset, asker.organisation, shape),
            ).fetchone()
        return int(events), 0 if row is None else int(row[0])

    def late(self, key: str, asker: Asker, month: str, shape: str, step: int) -> None:
        """Write an event, and the step at which the shape is answered from now on, durably.

        Args:
            key: Names the event, once.
            asker: Whose.
            month: Of it, ``2026-11``.
            shape: Names what was asked.
            step: Milliseconds; a step that is already longer stays.
        """
        own = (asker.dataset, asker.organisation)
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO late_answer VALUES (?, ?, ?, ?, ?)", (key, *own, month, step)
            )
            connection.execute(
                "INSERT INTO late_step VALUES (?, ?, ?, ?)"
                " ON CONFLICT (dataset, organisation, shape) DO UPDATE SET step = excluded.step"
                " WHERE excluded.step > late_step.step",
                (*own, shape, step),
            )
