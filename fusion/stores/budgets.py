"""What a data owner has spent under its grants, in its ``state.sqlite``; and in memory.

An amount is on disk before :meth:`SqliteBudgets.reserve` returns, one writer at a time, so that a
crash loses no charge and two writers together spend no more than one could. What the log says of it
is written in the same transaction. Triggers hold it
against other readers of the file as well: a sum beyond the cap, a deletion, a change after the
end and a change of an amount all fail. A file restored from a backup forgets what was spent since
(``docs/limitations.md``).
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final, Literal

from fusion.errors import GrantRefused
from fusion.grants.budget import COUNTERS, NO_EVIDENCE, NOTHING, Amount, Cap, Counter, Evidence
from fusion.grants.refusal import Code
from fusion.stores.ledger import LEDGER, append, keep_papers
from fusion.stores.memory_ledger import MemoryLedger
from fusion.stores.postgres import PostgresDatabase
from fusion.stores.sql import Schema
from fusion.stores.sqlite import KeptDatabase

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fusion.ports import Ledger
    from fusion.stores.sql import Connection, Postgres, Sql

State = Literal["reserved", "committed", "released"]
_CODES: Final[dict[Counter, Code]] = {
    "runs": Code.RUNS,
    "epsilon_micro": Code.EPSILON,
    "rows": Code.ROWS,
}
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS charge_cap(
  grant_id TEXT, action TEXT, runs INTEGER NOT NULL, epsilon_micro INTEGER NOT NULL,
  rows INTEGER NOT NULL, PRIMARY KEY (grant_id, action)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS charge(
  key TEXT PRIMARY KEY, grant_id TEXT NOT NULL, action TEXT NOT NULL,
  runs INTEGER NOT NULL CHECK (runs >= 0),
  epsilon_micro INTEGER NOT NULL CHECK (epsilon_micro >= 0),
  rows INTEGER NOT NULL CHECK (rows >= 0),
  state TEXT NOT NULL CHECK (state IN ('reserved', 'committed', 'released')),
  FOREIGN KEY (grant_id, action) REFERENCES charge_cap) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS charge_of ON charge(grant_id, action);
CREATE INDEX IF NOT EXISTS charge_open ON charge(key) WHERE state = 'reserved';
"""
_SQLITE: Final = """
CREATE TRIGGER IF NOT EXISTS charge_within_cap AFTER INSERT ON charge BEGIN
  SELECT RAISE(ABORT, 'beyond the cap') FROM charge_cap AS cap JOIN (
    SELECT sum(runs) AS r, sum(epsilon_micro) AS e, sum(rows) AS w FROM charge
    WHERE grant_id = NEW.grant_id AND action = NEW.action AND state <> 'released')
  WHERE grant_id = NEW.grant_id AND action = NEW.action
    AND (r > cap.runs OR e > cap.epsilon_micro OR w > cap.rows);
END;
CREATE TRIGGER IF NOT EXISTS charge_stays BEFORE DELETE ON charge BEGIN
  SELECT RAISE(ABORT, 'nothing is deleted');
END;
CREATE TRIGGER IF NOT EXISTS charge_moves_on BEFORE UPDATE ON charge
WHEN OLD.state <> 'reserved' OR NEW.state = 'reserved'
  OR (OLD.key, OLD.grant_id, OLD.action, OLD.runs, OLD.epsilon_micro, OLD.rows)
  IS NOT (NEW.key, NEW.grant_id, NEW.action, NEW.runs, NEW.epsilon_micro, NEW.rows) BEGIN
  SELECT RAISE(ABORT, 'only a reservation is committed or released, once');
END;
CREATE TRIGGER IF NOT EXISTS cap_stays BEFORE UPDATE ON charge_cap BEGIN
  SELECT RAISE(ABORT, 'a cap is that of its grant');
END;
CREATE TRIGGER IF NOT EXISTS cap_stays_there BEFORE DELETE ON charge_cap BEGIN
  SELECT RAISE(ABORT, 'nothing is deleted');
END;
"""
_POSTGRES: Final = """
CREATE OR REPLACE FUNCTION banyan_within_cap() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN
    IF EXISTS (
      SELECT 1 FROM charge_cap AS cap CROSS JOIN (
        SELECT sum(runs) AS r, sum(epsilon_micro) AS e, sum(rows) AS w FROM charge
        WHERE grant_id = NEW.grant_id AND action = NEW.action AND state <> 'released') AS used
      WHERE cap.grant_id = NEW.grant_id AND cap.action = NEW.action
        AND (r > cap.runs OR e > cap.epsilon_micro OR w > cap.rows)) THEN
      RAISE EXCEPTION 'beyond the cap';
    END IF;
    RETURN NEW;
  END $$;
CREATE OR REPLACE FUNCTION banyan_moves_on() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN
    IF OLD.state <> 'reserved' OR NEW.state = 'reserved'
      OR (OLD.key, OLD.grant_id, OLD.action, OLD.runs, OLD.epsilon_micro, OLD.rows)
      IS DISTINCT FROM
      (NEW.key, NEW.grant_id, NEW.action, NEW.runs, NEW.epsilon_micro, NEW.rows) THEN
      RAISE EXCEPTION 'only a reservation is committed or released, once';
    END IF;
    RETURN NEW;
  END $$;
CREATE OR REPLACE TRIGGER charge_within_cap AFTER INSERT ON charge
  FOR EACH ROW EXECUTE FUNCTION banyan_within_cap();
CREATE OR REPLACE TRIGGER charge_moves_on BEFORE UPDATE ON charge
  FOR EACH ROW EXECUTE FUNCTION banyan_moves_on();
CREATE OR REPLACE TRIGGER charge_stays BEFORE DELETE OR TRUNCATE ON charge
  FOR EACH STATEMENT EXECUTE FUNCTION banyan_never();
CREATE OR REPLACE TRIGGER cap_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON charge_cap
  FOR EACH STATEMENT EXECUTE FUNCTION banyan_never();
"""
BUDGETS: Final = LEDGER + Schema(tables=_TABLES, sqlite=_SQLITE, postgres=_POSTGRES)

_Entry = tuple[str, str, Amount, State]


def _check_again(key: str, found: _Entry, grant: str, action: str, asked: Amount) -> None:
    """Return if a key that is there stands for the very same charge.

    Raises:
        GrantRefused: It stands for another, or was released.
    """
    if found[:3] != (grant, action, asked):
        raise GrantRefused(f"{key[:80]!r} was charged for something else.", hint="Use a new name.")
    if found[3] == "released":
        raise GrantRefused(f"{key[:80]!r} was given up.", hint="Start it again under a new name.")


def _check_cap(used: Amount, asked: Amount, cap: Cap) -> None:
    exceeded = cap.exceeded(used, asked)
    if exceeded:
        name = exceeded[0]
        raise GrantRefused(
            f"The budget of {name} has {getattr(cap.left(used), name)} left, "
            f"{getattr(asked, name)} are asked for.",
            code=_CODES[name],
        )


def _not_open(key: str, state: State | None) -> GrantRefused:
    what = "was never reserved" if state is None else f"is {state}"
    return GrantRefused(f"{key[:80]!r} {what}.")


class SqlBudgets:
    """:class:`fusion.grants.budget.Budgets` in a database."""

    def __init__(self, database: Sql) -> None:
        """Take a database that has the tables of :data:`BUDGETS`."""
        self._database = database

    @classmethod
    def in_postgres(cls, place: Postgres) -> SqlBudgets:
        """Open or make the budgets in PostgreSQL.

        Raises:
            fusion.errors.EnvironmentUnfit: The server can't be used.
        """
        return cls(PostgresDatabase(place, BUDGETS))

    def close(self) -> None:
        """Let go of the database until it is used again."""
        self._database.close()

    def used(self, grant: str, action: str, *, besides: str = "") -> Amount:
        """Return what is reserved or committed, but for one key."""
        with self._database.transaction() as connection:
            return _used(connection, grant, action, besides)

    def cap(self, grant: str, action: str) -> Cap | None:
        """Return the cap that was stated with the first charge, if there was one: it stays."""
        with self._database.transaction() as connection:
            row = connection.execute(
                "SELECT runs, epsilon_micro, rows FROM charge_cap "
                "WHERE grant_id = ? AND action = ?",
                (grant, action),
            ).fetchone()
        return None if row is None else Cap(runs=row[0], epsilon_micro=row[1], rows=row[2])

    def charged_to(self, key: str) -> str | None:
        """Return which grant a key was charged to, if it was."""
        with self._database.transaction() as connection:
            found = _entry(connection, key)
        return None if found is None else found[0]

    def reserve(
        self,
        key: str,
        grant: str,
        action: str,
        asked: Amount,
        cap: Cap,
        evidence: Evidence = NO_EVIDENCE,
    ) -> None:
        """Charge an amount durably, or refuse."""
        with self._database.transaction() as connection:
            found = _entry(connection, key)
            if found is not None:
                _check_again(key, found, grant, action, asked)
                return
            _check_cap(_used(connection, grant, action), asked, cap)
            caps = tuple(getattr(cap, name) or 0 for name in COUNTERS)
            connection.execute(
                "INSERT INTO charge_cap VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (grant, action, *caps),
            )
            connection.execute(
                "INSERT INTO charge VALUES (?, ?, ?, ?, ?, ?, 'reserved')",
                (key, grant, action, *(getattr(asked, name) for name in COUNTERS)),
            )
            _say(connection, evidence)

    def charged(self, key: str) -> tuple[str, str, Amount] | None:
        """Return grant, action and amount of a charge that is still reserved, if it is."""
        with self._database.reading() as connection:
            found = _entry(connection, key)
        return None if found is None or found[3] != "reserved" else found[:3]

    def reserved(self) -> list[str]:
        """Return the keys of all charges that are still reserved, in their order."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT key FROM charge WHERE state = 'reserved' ORDER BY key"
            ).fetchall()
        return [str(row[0]) for row in rows]

    def commit(self, key: str, evidence: Evidence = NO_EVIDENCE) -> None:
        """Make a reservation final; again is fine."""
        self.commit_all({key: evidence})

    def commit_all(self, charges: Mapping[str, Evidence]) -> None:
        """Make several reservations final, all of them or none; again is fine."""
        self._end(charges, "committed")

    def release(self, key: str, evidence: Evidence = NO_EVIDENCE) -> None:
        """Give a reservation back; again is fine."""
        self._end({key: evidence}, "released")

    def _end(self, charges: Mapping[str, Evidence], state: State) -> None:
        with self._database.transaction() as connection:
            for key, evidence in charges.items():
                found = _entry(connection, key)
                if found is None or found[3] not in {"reserved", state}:
                    raise _not_open(key, None if found is None else found[3])
                if found[3] == "reserved":
                    connection.execute("UPDATE charge SET state = ? WHERE key = ?", (state, key))
                    _say(connection, evidence)


class SqliteBudgets(SqlBudgets):
    """Budgets in an SQLite file."""

    def __init__(self, path: Path) -> None:
        """Open or make the file.

        Raises:
            fusion.errors.EnvironmentUnfit: It can't be opened.
        """
        super().__init__(KeptDatabase(path, BUDGETS))


def _say(connection: Connection, evidence: Evidence) -> None:
    """Append what the log says of a change that takes place."""
    if evidence.entries:
        append(connection, evidence.entries)
    keep_papers(connection, evidence.papers)


def _used(connection: Connection, grant: str, action: str, besides: str = "") -> Amount:
    row = connection.execute(
        "SELECT coalesce(sum(runs), 0), coalesce(sum(epsilon_micro), 0), coalesce(sum(rows), 0) "
        "FROM charge WHERE grant_id = ? AND action = ? AND key <> ? AND state <> 'released'",
        (grant, action, besides),
    ).fetchone()
    return Amount(runs=int(row[0]), epsilon_micro=int(row[1]), rows=int(row[2]))


def _entry(connection: Connection, key: str) -> _Entry | None:
    row = connection.execute(
        "SELECT grant_id, action, runs, epsilon_micro, rows, state FROM charge WHERE key = ?",
        (key,),
    ).fetchone()
    if row is None:
        return None
    return row[0], row[1], Amount(runs=row[2], epsilon_micro=row[3], rows=row[4]), row[5]


class MemoryBudgets:
    """:class:`fusion.grants.budget.Budgets` in memory: the same rules, gone with the process."""

    def __init__(self, ledger: Ledger | None = None) -> None:
        """Start empty, beside a log."""
        self._ledger = MemoryLedger() if ledger is None else ledger
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}

    def charged_to(self, key: str) -> str | None:
        """Return which grant a key was charged to, if it was."""
        found = self._entries.get(key)
        return None if found is None else found[0]

    def used(self, grant: str, action: str, *, besides: str = "") -> Amount:
        """Return what is reserved or committed, but for one key."""
        charged = [
            entry[2]
            for key, entry in list(self._entries.items())
            if key != besides and entry[:2] == (grant, action) and entry[3] != "released"
        ]
        return sum(charged, start=NOTHING)

    def reserve(
        self,
        key: str,
        grant: str,
        action: str,
        asked: Amount,
        cap: Cap,
        evidence: Evidence = NO_EVIDENCE,
    ) -> None:
        """Charge an amount, or refuse."""
        with self._lock:
            found = self._entries.get(key)
            if found is not None:
                _check_again(key, found, grant, action, asked)
                return
            _check_cap(self.used(grant, action), asked, cap)
            self._entries[key] = (grant, action, asked, "reserved")
            self._ledger.append(evidence.entries)

    def charged(self, key: str) -> tuple[str, str, Amount] | None:
        """Return grant, action and amount of a charge that is still reserved, if it is."""
        found = self._entries.get(key)
        return None if found is None or found[3] != "reserved" else found[:3]

    def reserved(self) -> list[str]:
        """Return the keys of all charges that are still reserved, in their order."""
        with self._lock:
            return sorted(k for k, entry in self._entries.items() if entry[3] == "reserved")

    def commit(self, key: str, evidence: Evidence = NO_EVIDENCE) -> None:
        """Make a reservation final; again is fine."""
        self.commit_all({key: evidence})

    def commit_all(self, charges: Mapping[str, Evidence]) -> None:
        """Make several reservations final, all of them or none; again is fine."""
        self._end(charges, "committed")

    def release(self, key: str, evidence: Evidence = NO_EVIDENCE) -> None:
        """Give a reservation back; again is fine."""
        self._end({key: evidence}, "released")

    def _end(self, charges: Mapping[str, Evidence], state: State) -> None:
        with self._lock:
            ends: list[tuple[str, _Entry, Evidence]] = []
            for key, evidence in charges.items():
                found = self._entries.get(key)
                if found is None or found[3] not in {"reserved", state}:
                    raise _not_open(key, None if found is None else found[3])
                ends.append((key, found, evidence))
            for key, found, evidence in ends:
                if found[3] == "reserved":
                    self._ledger.append(evidence.entries)
                self._entries[key] = (*found[:3], state)
