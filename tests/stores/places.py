"""Where the stores of a test are, for tests and for the processes that they start."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusion.stores.budgets import SqlBudgets, SqliteBudgets
from fusion.stores.lateness import SqlLateness
from fusion.stores.ledger import SqliteLedger, SqlLedger
from fusion.stores.postgres import PostgresDatabase
from fusion.stores.rho import SqlRho
from fusion.stores.rounds import SqliteRoundLog, SqlRoundLog
from fusion.stores.sql import Postgres, Schema
from fusion.stores.sqlite import KeptDatabase

if TYPE_CHECKING:
    from fusion.stores.sql import Sql


@dataclass(frozen=True)
class Place:
    """Where all stores of one test are."""

    at: Path | Postgres

    def ledger(self) -> SqlLedger:
        return (
            SqliteLedger(self.at) if isinstance(self.at, Path) else SqlLedger.in_postgres(self.at)
        )

    def rounds(self) -> SqlRoundLog:
        if isinstance(self.at, Path):
            return SqliteRoundLog(self.at)
        return SqlRoundLog.in_postgres(self.at)

    def budgets(self) -> SqlBudgets:
        if isinstance(self.at, Path):
            return SqliteBudgets(self.at)
        return SqlBudgets.in_postgres(self.at)

    def rho(self) -> SqlRho:
        if isinstance(self.at, Path):
            return SqlRho.in_file(self.at)
        return SqlRho.in_postgres(self.at)

    def lateness(self) -> SqlLateness:
        if isinstance(self.at, Path):
            return SqlLateness.in_file(self.at)
        return SqlLateness.in_postgres(self.at)

    def database(self) -> Sql:
        """The database itself, for what no store offers."""
        nothing = Schema(tables="")
        if isinstance(self.at, Path):
            return KeptDatabase(self.at, nothing)
        return PostgresDatabase(self.at, nothing)

    def rows(self, statement: str) -> list[Any]:
        """Return what a query gives."""
        database = self.database()
        with database.reading() as connection:
            found = [tuple(row) for row in connection.execute(statement).fetchall()]
        database.close()
        return found

    def run(self, statement: str) -> None:
        """Run a statement."""
        database = self.database()
        try:
            with database.transaction() as connection:
                connection.execute(statement)
        finally:
            database.close()

    @property
    def argument(self) -> str:
        """How a process is told; see :func:`place_of`."""
        return str(self.at) if isinstance(self.at, Path) else self.at.url


def place_of(argument: str) -> Place:
    """Return the place that an argument names."""
    if argument.startswith("postgresql:"):
        return Place(Postgres(url=argument))
    return Place(Path(argument))
