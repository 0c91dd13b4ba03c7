"""PostgreSQL in SQLite's place: durable before a call returns, one writer at a time.

A transaction takes an advisory lock before it reads, so that what it reads is what it adds to: a
log has no gap and no fork, however many write. It is of the isolation level READ COMMITTED, in
which each statement sees what was committed before it; at a higher level the snapshot would be from
before the wait for the lock. Readers take no lock and see one snapshot.
"""

from __future__ import annotations

import os
import threading
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from fusion.errors import EnvironmentUnfit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import psycopg

    from fusion.stores.sql import Postgres, Schema

_SECONDS: Final = 30
_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended('banyan ' || current_schema(), 0))"
_WRITE: Final = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
_READ: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_MAX_PASSWORD_BYTES: Final = 4096


class PostgresDatabase:
    """:class:`fusion.stores.sql.Sql` in PostgreSQL: threads take turns at one connection."""

    def __init__(self, place: Postgres, schema: Schema) -> None:
        """Connect, and make the tables where they are missing.

        Raises:
            EnvironmentUnfit: The server can't be reached, or ``psycopg`` is not installed.
        """
        self._place = place
        self._turn = threading.RLock()
        self._kept: psycopg.Connection[Any] | None = None
        self._process = 0
        statements = _translated(schema.tables) + schema.postgres
        with self.transaction() as connection:
            connection.script(statements)

    @contextmanager
    def transaction(self) -> Iterator[_Connection]:
        """Be the one writer; commit durably at the end, roll back on any error.

        Raises:
            EnvironmentUnfit: The server can't be used.
        """
        with self._used(_WRITE) as connection:
            connection.execute(_LOCK)
            yield connection

    @contextmanager
    def reading(self) -> Iterator[_Connection]:
        """See the database as it is now.

        Raises:
            EnvironmentUnfit: The server can't be used.
        """
        with self._used(_READ) as connection:
            yield connection

    def scrub(self) -> None:
        """Nothing: what PostgreSQL deletes stays on its disk until it is vacuumed and reused."""

    def close(self) -> None:
        """Let go of the connection until it is used again."""
        with self._turn:
            if self._kept is not None and self._process == os.getpid():
                self._kept.close()
            self._kept = None

    @contextmanager
    def _used(self, begin: str) -> Iterator[_Connection]:
        driver = _driver()
        with self._turn:
            try:
                raw = self._connected(driver)
                raw.execute(begin)
                try:
                    yield _Connection(raw)
                except BaseException:
                    raw.execute("ROLLBACK")
                    raise
                raw.execute("COMMIT")
            except driver.Error as error:
                # Whether a commit that failed took place is not known: nothing goes on as it was.
                self.close()
                raise _unfit(error) from error

    def _connected(self, driver: Any) -> psycopg.Connection[Any]:  # noqa: ANN401 - the module
        if self._kept is None or self._kept.closed or self._process != os.getpid():
            self._kept = driver.connect(
                self._place.url,
                autocommit=True,
                connect_timeout=_SECONDS,
                application_name="banyan",
                **_password(self._place),
            )
            self._process = os.getpid()
            weakref.finalize(self, _close, self._kept, self._process)
            # A commit is on disk when it returns, whatever the server's default is.
            self._kept.execute("SET synchronous_commit = on")
            self._kept.execute(f"SET lock_timeout = '{_SECONDS}s'")
            self._kept.execute("SET client_min_messages = warning")
        return self._kept


class _Connection:
    """:class:`fusion.stores.sql.Connection` over psycopg."""

    def __init__(self, raw: psycopg.Connection[Any]) -> None:
        self._raw = raw

    def execute(self, statement: str, parameters: Any = (), /) -> psycopg.Cursor[Any]:  # noqa: ANN401
        """Run a statement."""
        return self._raw.execute(_words(statement), parameters or None)

    def executemany(self, statement: str, parameters: Iterable[Any], /) -> psycopg.Cursor[Any]:
        """Run a statement for each of many parameters."""
        cursor = self._raw.cursor()
        cursor.executemany(_words(statement), list(parameters))
        return cursor

    def script(self, statements: str) -> None:
        """Run statements without parameters."""
        self._raw.execute(statements.encode())


def _close(connection: psycopg.Connection[Any], process: int) -> None:
    """Close a connection, but not in a process that was forked from the one that uses it."""
    if process == os.getpid():
        connection.close()


def _words(statement: str) -> bytes:
    return statement.replace("?", "%s").replace(" AS BLOB", " AS BYTEA").encode()


def _translated(tables: str) -> str:
    """Return tables in PostgreSQL's words."""
    words = (("BLOB", "BYTEA"), ("INTEGER", "BIGINT"), ("WITHOUT ROWID", ""))
    for theirs, ours in words:
        tables = tables.replace(theirs, ours)
    return tables


def _driver() -> Any:  # noqa: ANN401 - the module
    try:
        import psycopg  # noqa: PLC0415 - an optional extra
    except ImportError:
        raise EnvironmentUnfit(
            "PostgreSQL is asked for, and psycopg is not installed.",
            hint='Install it: pip install "banyan-fusion[postgresql]".',
        ) from None
    return psycopg


def _password(place: Postgres) -> dict[str, str]:
    if place.password is None:
        return {}
    try:
        data = place.password.read_bytes()
        text = data.decode().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise EnvironmentUnfit(
            f"The database's password can't be read from {place.password}.",
            hint="Check the file, and who may read it.",
        ) from error
    if not text or len(data) > _MAX_PASSWORD_BYTES:
        raise EnvironmentUnfit(f"{place.password} holds no password.")
    return {"password": text}


def _unfit(error: Exception) -> EnvironmentUnfit:
    first = (str(error).splitlines() or [""])[0]
    return EnvironmentUnfit(
        f"The PostgreSQL database can't be used: {first[:200]}.",
        hint="Check that the server is up, and `database` in hub.toml or node.toml.",
    )
