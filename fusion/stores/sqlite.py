"""How every SQLite file here is opened: durable before a call returns, one writer at a time."""

from __future__ import annotations

import sqlite3
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from fusion.errors import EnvironmentUnfit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


_BUSY_SECONDS: Final = 30.0
_AGAIN_SECONDS: Final = 0.01


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switch to write-ahead logging.

    Two that switch a new file at once are both told that it is locked, and SQLite does not wait
    here as it does elsewhere.
    """
    until = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(_AGAIN_SECONDS)
        else:
            return


def check_file(path: Path) -> None:
    """Read a database from end to end, and change nothing.

    Raises:
        EnvironmentUnfit: It can't be read, is no database, or is damaged.
    """
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        try:
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        finally:
            connection.close()
    except sqlite3.Error as error:
        msg = f"{path} can't be read: {error}."
        raise EnvironmentUnfit(msg, hint="Check the disk, and who owns the file.") from error
    if verdict != "ok":
        msg = f"{path} is damaged."
        raise EnvironmentUnfit(msg, hint="Check the disk; docs/deploy.md says what to do.")


class Database:
    """A file with a schema; a connection for each use, so that threads and forks are no matter."""

    def __init__(self, path: Path, schema: str) -> None:
        """Open or make the file.

        Raises:
            EnvironmentUnfit: It can't be opened or is no database.
        """
        self._path = path
        with self.transaction() as connection:
            # executescript commits what came before it; the schema is idempotent.
            connection.executescript(schema)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Hold the write lock; commit durably at the end, roll back on any error.

        Raises:
            EnvironmentUnfit: The file is damaged, gone, locked or the disk is full.
        """
        try:
            with self._connection() as connection:
                yield connection
        except (sqlite3.Error, OSError) as error:
            msg = f"{self._path} can't be used: {error}."
            raise EnvironmentUnfit(msg, hint="Check the disk, and who owns the file.") from error

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None)
        try:
            # WAL with FULL: a commit is on disk when it returns.
            _write_ahead(connection)
            connection.execute("PRAGMA synchronous=FULL")
            # What is deleted is overwritten: secrets are kept in these files, for a while.
            connection.execute("PRAGMA secure_delete=ON")
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            if connection.in_transaction:
                connection.execute("COMMIT")
        finally:
            connection.close()
