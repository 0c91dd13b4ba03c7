"""What the stores ask of a database, so that one text of SQL serves SQLite and PostgreSQL.

Statements keep to what both understand: ``?`` for a parameter, ``ON CONFLICT`` for what may be
there already. Tables are written once; what guards them against changes is each database's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractContextManager
    from pathlib import Path


class Cursor(Protocol):
    """What a statement gave."""

    @property
    def rowcount(self) -> int:
        """Return how many rows were changed."""
        ...

    def fetchone(self) -> Any:  # noqa: ANN401 - a row of any columns
        """Return the next row, or None."""
        ...

    def fetchall(self) -> list[Any]:
        """Return the rows that are left."""
        ...


class Connection(Protocol):
    """Runs statements in the transaction that is open."""

    def execute(self, statement: str, parameters: Any = ..., /) -> Cursor:  # noqa: ANN401 - any values
        """Run a statement."""
        ...

    def executemany(self, statement: str, parameters: Iterable[Any], /) -> Cursor:
        """Run a statement for each of many parameters."""
        ...


class Sql(Protocol):
    """A database: :class:`fusion.stores.sqlite.KeptDatabase` or in PostgreSQL."""

    def transaction(self) -> AbstractContextManager[Connection]:
        """Be the one writer; commit durably at the end, roll back on any error.

        Raises:
            fusion.errors.EnvironmentUnfit: The database can't be used.
        """
        ...

    def reading(self) -> AbstractContextManager[Connection]:
        """See the database as it is now; nobody waits for a reader.

        Raises:
            fusion.errors.EnvironmentUnfit: The database can't be used.
        """
        ...

    def scrub(self) -> None:
        """See to it that what was deleted is nowhere on the disk, as far as that is possible."""
        ...

    def close(self) -> None:
        """Let go of the database until it is used again."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """Tables, and what guards them.

    Attributes:
        tables: In SQLite's words; may be run again.
        sqlite: Triggers of SQLite.
        postgres: Functions and triggers of PostgreSQL.
    """

    tables: str
    sqlite: str = ""
    postgres: str = ""

    def __add__(self, other: Schema) -> Schema:
        """Return both together."""
        return Schema(
            tables=self.tables + other.tables,
            sqlite=self.sqlite + other.sqlite,
            postgres=self.postgres + other.postgres,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Postgres:
    """Where a PostgreSQL database is.

    Attributes:
        url: ``postgresql://...``, without a password.
        password: File with the password, if it is not in libpq's own places (``PGPASSWORD``,
            ``PGPASSFILE``).
    """

    url: str
    password: Path | None = None
