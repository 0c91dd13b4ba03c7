"""Files that a Python job is shown: the columns that it reads, and people as numbers.

Made of the frozen tables once for each set of columns, as the policy reads them: cut off at bounds,
of listed values only. The entity's key holds the number that a person has on the list of the
revision, so that no identifier is in reach of a script. Other columns of a file, which no policy
names, are not there. Rows are copied in batches. Whoever waits for a copy is let go as soon as it
is time to stop, whatever the engine does just then; the copy is dropped.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pyarrow import parquet

from fusion.errors import WorkCancelled
from fusion.services.files import make_folder
from fusion.wire import canonical
from sandbox import engine, tables
from sandbox.dialects import quoted
from sandbox.partials import Limits
from sandbox.policy import Number, Public
from sandbox.python_tables import check_files, columns_read
from sandbox.sets import COHORT

if TYPE_CHECKING:
    from collections.abc import Mapping

    import duckdb
    import pyarrow as pa

    from fusion.grants.python_job import Returns
    from fusion.ports import Stop
    from sandbox.attached import Attached
    from sandbox.policy import Column, Table

# One thread: rows come in one order.
_ENGINE: Final = Limits(threads=1)
_BATCH: Final = 65_536
_LOOK_SECONDS: Final = 0.1
"""How often it is looked whether a copy is still wanted."""


class Copies:
    """Copies of what jobs read, in a folder that is gone with the process; used by many threads."""

    def __init__(self, parent: Path) -> None:
        """Make the folder; what a killed process left is dropped."""
        make_folder(parent)
        for left in parent.glob(".reading-*"):
            shutil.rmtree(left, ignore_errors=True)
        self._folder = tempfile.TemporaryDirectory(dir=parent, prefix=".reading-")
        # One at a time: each takes an engine's memory.
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="copies")
        self._made: dict[str, dict[str, Path]] = {}

    def close(self) -> None:
        """Drop the copies; who still waits for one has to be told to stop before."""
        self._pool.shutdown(cancel_futures=True)
        self._folder.cleanup()

    def of(self, attached: Attached, returns: Returns, stop: Stop) -> Mapping[str, Path]:
        """Return the files that a job is shown, by the names of the tables.

        Args:
            attached: The policy that holds, with the frozen tables.
            returns: What the job reads.
            stop: Ends the wait within a tenth of a second, also while other copies are made.

        Raises:
            PythonRefused: The policy has no such column, or its tables are in a database.
            WorkCancelled: It was time to stop before there was a copy.
            Exception: Whatever the engine raises; its message quotes cells.
        """
        check_files(attached)
        columns_read(attached.policy, returns)
        reads = {name: sorted(set(columns)) for name, columns in returns.reads.items()}
        named = canonical.encode([attached.dataset, attached.people_digest, attached.epoch, reads])
        key = hashlib.sha256(named).hexdigest()[:32]
        # Made once and never changed: nobody waits for what is there.
        found = self._made.get(key)
        if found is not None:
            return found
        copy = _Copy(attached, reads, Path(self._folder.name) / key)
        making = self._pool.submit(self._finished, key, copy)
        while not wait([making], _LOOK_SECONDS).done:
            if stop.is_set():
                making.cancel()
                copy.end()
                raise WorkCancelled("its tables were still being copied for it")
        return making.result()

    def _finished(self, key: str, copy: _Copy) -> dict[str, Path]:
        if key not in self._made:
            self._made[key] = copy.make()
        return self._made[key]


class _Copy:
    """A copy on its way: made in one thread, ended from another."""

    def __init__(self, attached: Attached, reads: Mapping[str, list[str]], folder: Path) -> None:
        self._attached, self._reads, self._folder = attached, reads, folder
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._connection: duckdb.DuckDBPyConnection | None = None

    def end(self) -> None:
        """End it at its next batch, or within one: a join reads all people before its first row."""
        self._ended.set()
        with self._lock:
            if self._connection is not None:
                self._connection.interrupt()

    def make(self) -> dict[str, Path]:
        """Write the files.

        Raises:
            WorkCancelled: It was ended; nothing of it is left.
            Exception: Whatever the engine raises, then too.
        """
        inputs = {name: self._attached.inputs[name] for name in (*self._reads, COHORT)}
        found = {name: self._folder / f"{name}.parquet" for name in self._reads}
        connection = engine.locked(inputs, _ENGINE)
        with self._lock:
            self._connection = connection
        try:
            shutil.rmtree(self._folder, ignore_errors=True)
            make_folder(self._folder)
            for name, columns in self._reads.items():
                sql = _sql(name, self._attached.policy.tables[name], columns)
                self._write(connection, sql, found[name])
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        finally:
            with self._lock:
                self._connection = None
            connection.close()
        return found

    def _write(self, connection: duckdb.DuckDBPyConnection, sql: str, path: Path) -> None:
        self._check_wanted()
        reader: pa.RecordBatchReader = connection.sql(sql).to_arrow_reader(_BATCH)
        with parquet.ParquetWriter(path, reader.schema) as writer:
            for batch in reader:
                self._check_wanted()
                writer.write_batch(batch)
        # Workers may run under another account; nobody else passes the folder.
        path.chmod(0o644)

    def _check_wanted(self) -> None:
        if self._ended.is_set():
            raise WorkCancelled("nobody waits for a copy of these tables")


def _sql(name: str, table: Table, columns: list[str]) -> str:
    read = ", ".join(
        f"{_value(column, table.columns[column])} AS {quoted(column)}"
        for column in columns
        if column != table.entity
    )
    if table.entity is None:
        return f"SELECT {read or 'NULL AS nothing'} FROM {quoted(name)}"  # noqa: S608 - names of the policy
    person = tables.read(table.entity, table.columns[table.entity], "duckdb")
    shown = "".join(f", s.{quoted(column)}" for column in columns if column != table.entity)
    rows = (
        f"SELECT CAST({person} AS VARCHAR) AS _e{f', {read}' if read else ''} FROM {quoted(name)}"  # noqa: S608 - as above
    )
    return (
        f"SELECT c.n AS {quoted(table.entity)}{shown} FROM ({rows}) AS s "  # noqa: S608 - as above
        f'JOIN "{COHORT}" AS c ON c.e = s._e'
    )


def _value(name: str, what: Column) -> str:
    read = tables.read(name, what, "duckdb")
    decimals = what.decimals if isinstance(what, Number | Public) else 0
    if decimals and tables.kind_of(what) == "number":
        return f"CAST({read} AS DOUBLE) / 1e{decimals}"
    return read
