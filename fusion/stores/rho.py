"""What a data owner has spent of its datasets' privacy budgets, and the answers it was spent on.

A charge names dataset and grant, and counts against both: whoever works together adds up. It is on
disk before :meth:`SqlRho.charge` returns, one writer at a time, and stays: there is no way to give
it back, and triggers hold other users of the file to that. Caps are the owner's policy of the day,
and no part of the file. A file restored from a backup forgets what was spent since
(``docs/limitations.md``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fusion.errors import InputInvalid
from fusion.stores.ledger import LEDGER
from fusion.stores.postgres import PostgresDatabase
from fusion.stores.sql import Schema
from fusion.stores.sqlite import KeptDatabase

if TYPE_CHECKING:
    from pathlib import Path

    from fusion.stores.sql import Connection, Postgres, Sql

MAX_ANSWERS: Final = 1000
"""Answers of a dataset that are kept, the newest."""

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS rho_charge(
  key TEXT PRIMARY KEY, dataset TEXT NOT NULL, grant_id TEXT NOT NULL,
  rho_micro INTEGER NOT NULL CHECK (rho_micro > 0)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS rho_charge_of ON rho_charge(dataset, grant_id);
CREATE TABLE IF NOT EXISTS rho_answer(
  name TEXT PRIMARY KEY, dataset TEXT NOT NULL, number INTEGER NOT NULL,
  answer BLOB NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS rho_answer_of ON rho_answer(dataset, number);
"""
_SQLITE: Final = """
CREATE TRIGGER IF NOT EXISTS rho_stays BEFORE DELETE ON rho_charge BEGIN
  SELECT RAISE(ABORT, 'nothing is given back');
END;
CREATE TRIGGER IF NOT EXISTS rho_is_not_changed BEFORE UPDATE ON rho_charge BEGIN
  SELECT RAISE(ABORT, 'nothing is given back');
END;
"""
_POSTGRES: Final = """
CREATE OR REPLACE TRIGGER rho_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON rho_charge
  FOR EACH STATEMENT EXECUTE FUNCTION banyan_never();
"""
RHO: Final = LEDGER + Schema(tables=_TABLES, sqlite=_SQLITE, postgres=_POSTGRES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rho:
    """Rho under a grant, and over a dataset, in millionths: a cap, or what is spent."""

    grant: int
    dataset: int

    def without(self, used: Rho) -> Rho:
        """Return what is left of a cap."""
        return Rho(
            grant=max(0, self.grant - used.grant), dataset=max(0, self.dataset - used.dataset)
        )

    @property
    def least(self) -> int:
        """The most that one charge may be."""
        return min(self.grant, self.dataset)


class SqlRho:
    """Charges of rho, and answers, in a database."""

    def __init__(self, database: Sql) -> None:
        """Take a database that has the tables of :data:`RHO`."""
        self._database = database

    @classmethod
    def in_file(cls, path: Path) -> SqlRho:
        """Open or make an SQLite file.

        Raises:
            fusion.errors.EnvironmentUnfit: It can't be opened.
        """
        return cls(KeptDatabase(path, RHO))

    @classmethod
    def in_postgres(cls, place: Postgres) -> SqlRho:
        """Open or make the tables in PostgreSQL.

        Raises:
            fusion.errors.EnvironmentUnfit: The server can't be used.
        """
        return cls(PostgresDatabase(place, RHO))

    def close(self) -> None:
        """Let go of the database until it is used again."""
        self._database.close()

    def used(self, dataset: str, grant: str) -> Rho:
        """Return what was charged under a grant, and of the dataset under all of them."""
        with self._database.reading() as connection:
            return _used(connection, dataset, grant)

    def charge(self, key: str, dataset: str, grant: str, rho_micro: int, cap: Rho) -> bool:
        """Charge rho durably, before any work; return whether it was.

        Args:
            key: Names the use, once.
            dataset: Of which data.
            grant: Under which grant.
            rho_micro: How much, in millionths.
            cap: The most that may be spent in all.

        Returns:
            False where it would go beyond the cap; nothing was charged then.

        Raises:
            InputInvalid: It is no amount, or the key was charged before.
        """
        if type(rho_micro) is not int or rho_micro < 1:
            raise InputInvalid("An amount of rho is a whole number of millionths from 1 up.")
        with self._database.transaction() as connection:
            known = connection.execute("SELECT 1 FROM rho_charge WHERE key = ?", (key,)).fetchone()
            if known is not None:
                raise InputInvalid("This was charged before.")
            if rho_micro > cap.without(_used(connection, dataset, grant)).least:
                return False
            connection.execute(
                "INSERT INTO rho_charge VALUES (?, ?, ?, ?)", (key, dataset, grant, rho_micro)
            )
        return True

    def answer(self, name: str) -> bytes | None:
        """Return an answer that was kept."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT answer FROM rho_answer WHERE name = ?", (name,)
            ).fetchone()
        return None if row is None else bytes(row[0])

    def keep(self, name: str, dataset: str, answer: bytes) -> None:
        """Keep an answer durably; of a dataset the newest :data:`MAX_ANSWERS`."""
        with self._database.transaction() as connection:
            if connection.execute("SELECT 1 FROM rho_answer WHERE name = ?", (name,)).fetchone():
                return
            (last,) = connection.execute(
                "SELECT coalesce(max(number), 0) FROM rho_answer WHERE dataset = ?", (dataset,)
            ).fetchone()
            connection.execute(
                "INSERT INTO rho_answer VALUES (?, ?, ?, ?)",
                (name, dataset, int(last) + 1, answer),
            )
            connection.execute(
                "DELETE FROM rho_answer WHERE dataset = ? AND number <= ?",
                (dataset, int(last) + 1 - MAX_ANSWERS),
            )


def _used(connection: Connection, dataset: str, grant: str) -> Rho:
    row = connection.execute(
        "SELECT coalesce(sum(CASE WHEN grant_id = ? THEN rho_micro ELSE 0 END), 0), "
        "coalesce(sum(rho_micro), 0) FROM rho_charge WHERE dataset = ?",
        (grant, dataset),
    ).fetchone()
    return Rho(grant=int(row[0]), dataset=int(row[1]))
