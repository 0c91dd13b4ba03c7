"""How every SQLite file here is opened: durable before a call returns, one writer at a time.

Nobody but its owner may read it.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from fusion.errors import EnvironmentUnfit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fusion.stores.sql import Schema


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
    """A file with a schema; a connection for each use, so that threads and forks are no matter.

    In a folder that this account can't write, such as a backup, it can be read and nothing else.
    """

    def __init__(self, path: Path, schema: Schema) -> None:
        """Open or make the file.

        Raises:
            EnvironmentUnfit: It can't be opened or is no database.
        """
        self._path = path
        self._fixed = path.exists() and not os.access(path.parent, os.W_OK)
        if self._fixed:
            return
        with self.transaction() as connection:
            # executescript commits what came before it; the schema is idempotent.
            connection.executescript(schema.tables + schema.sqlite)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Hold the write lock; commit durably at the end, roll back on any error.

        Raises:
            EnvironmentUnfit: The file is damaged, gone, locked, only to be read, or the disk is
                full.
        """
        if self._fixed:
            raise EnvironmentUnfit(
                f"{self._path} can't be written: its folder is only to be read.",
                hint="Let this account write the folder, or work on a copy of it.",
            )
        with self._used("BEGIN IMMEDIATE") as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """See the file as it is now; nobody waits for a reader.

        Raises:
            EnvironmentUnfit: The file is damaged, gone or locked.
        """
        with self._used("BEGIN") as connection:
            yield connection

    @contextmanager
    def _used(self, begin: str) -> Iterator[sqlite3.Connection]:
        try:
            with self._connection(begin) as connection:
                yield connection
        except (sqlite3.Error, OSError) as error:
            raise self._unfit(error) from error

    def _connected(self) -> sqlite3.Connection:
        return _connect_reading(self._path) if self._fixed else _connect(self._path)

    def _unfit(self, error: Exception) -> EnvironmentUnfit:
        msg = f"{self._path} can't be used: {error}."
        return EnvironmentUnfit(msg, hint="Check the disk, and who owns the file.")

    @contextmanager
    def _connection(self, begin: str) -> Iterator[sqlite3.Connection]:
        connection = self._connected()
        try:
            with _transaction(connection, begin):
                yield connection
        finally:
            connection.close()


class KeptDatabase(Database):
    """A file whose connection stays open: a commit costs one fsync instead of half a dozen.

    Threads take turns. Another process, or a file that was replaced, gets a connection of its own.
    """

    def __init__(self, path: Path, schema: Schema) -> None:
        """Open or make the file.

        Raises:
            EnvironmentUnfit: It can't be opened or is no database.
        """
        self._turn = threading.RLock()
        self._kept: sqlite3.Connection | None = None
        self._made_for: tuple[int, int, int] | None = None
        super().__init__(path, schema)

    def close(self) -> None:
        """Let go of the file until it is used again."""
        with self._turn:
            if self._kept is not None:
                self._kept.close()
            self._kept = None

    def scrub(self) -> None:
        """Empty the write-ahead log, in which what was deleted would stay for a while.

        Raises:
            EnvironmentUnfit: The file is damaged, gone or locked.
        """
        with self._turn:
            try:
                if self._kept is not None and self._made_for == self._present():
                    self._kept.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            except sqlite3.Error as error:
                self.close()
                raise self._unfit(error) from error

    @contextmanager
    def _connection(self, begin: str) -> Iterator[sqlite3.Connection]:
        with self._turn:
            if self._made_for != self._present():
                # Not closed if another process made it: that process may be using it.
                self._kept = None
            if self._kept is None:
                self._kept = self._connected()
                self._made_for = self._present()
            try:
                with _transaction(self._kept, begin):
                    yield self._kept
            except sqlite3.Error:
                self.close()
                raise

    def _present(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        return os.getpid(), found.st_dev, found.st_ino


def _for_its_owner(path: Path) -> None:
    """Let nobody else read the file; what SQLite makes beside it gets the mode that it has.

    Nothing is opened here: closing any descriptor of a file would drop the locks that this process
    has on it (POSIX), and SQLite counts on those.
    """
    with suppress(FileExistsError, PermissionError):
        os.mknod(path, stat.S_IFREG | 0o600)
    for each in (path, *(path.with_name(f"{path.name}{end}") for end in ("-wal", "-shm"))):
        # One that is another account's, or gone by now, is not ours to change.
        with suppress(FileNotFoundError, PermissionError):
            if each.stat().st_mode & 0o077:
                each.chmod(0o600)


def _connect(path: Path) -> sqlite3.Connection:
    _for_its_owner(path)
    connection = sqlite3.connect(
        path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    try:
        # WAL with FULL: a commit is on disk when it returns.
        _write_ahead(connection)
        connection.execute("PRAGMA synchronous=FULL")
        # What is deleted is overwritten: secrets are kept in these files, for a while.
        connection.execute("PRAGMA secure_delete=ON")
    except BaseException:
        connection.close()
        raise
    return connection


def _connect_reading(path: Path) -> sqlite3.Connection:
    """Open a file in a folder that can't be written, as it was left there.

    Raises:
        EnvironmentUnfit: Part of it is in a write-ahead log that can't be read from there.
    """
    uri = path.resolve().as_uri()
    try:
        return _readable(f"{uri}?mode=ro")
    except sqlite3.OperationalError:
        # To read a write-ahead log, SQLite makes a file beside it. Without one nothing is missed.
        log = path.with_name(f"{path.name}-wal")
        if log.exists() and log.stat().st_size:
            raise EnvironmentUnfit(
                f"{path} can't be read without {log.name}, and their folder is only to be read.",
                hint="Copy the folder to where this account may write, and look at the copy.",
            ) from None
        return _readable(f"{uri}?immutable=1")


def _readable(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        uri, uri=True, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def _transaction(connection: sqlite3.Connection, begin: str) -> Iterator[None]:
    connection.execute(begin)
    try:
        yield
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    if connection.in_transaction:
        connection.execute("COMMIT")
