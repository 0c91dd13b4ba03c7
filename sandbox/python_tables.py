"""What a Python job sees of an owner's tables: the columns that it reads, and people as numbers.

Made of the frozen tables once for each set of columns, as the policy reads them: cut off at bounds,
of listed values only. The entity's key holds the number that a person has on the list of the
revision, so that no identifier is in reach of a script. Other columns of a file, which no policy
names, are not there.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from fusion.grants.approval import refusal
from fusion.grants.python_job import keyed_by
from fusion.services.files import make_folder
from fusion.wire import canonical
from sandbox import engine, tables
from sandbox.dialects import quoted
from sandbox.partials import Limits
from sandbox.policy import Key, Number, Public
from sandbox.python_people import Base
from sandbox.selection import attributes_of
from sandbox.sets import COHORT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fusion.grants.approval import Verdict
    from fusion.grants.python_job import Returns
    from sandbox.attached import Attached
    from sandbox.policy import Column, Policy, Table

# One thread: rows come in one order.
_ENGINE: Final = Limits(threads=1)
_BATCH: Final = 65_536


def check_fits(policy: Policy, returns: Returns) -> None:
    """Return if a declaration fits a policy.

    Raises:
        PythonRefused: It reads what the policy does not have, or returns more rows than it lets go.
    """
    columns_read(policy, returns)
    if returns.max_rows > policy.release.rows:
        raise refusal("P-08", f"The policy lets {policy.release.rows} rows go.")


def check_files(found: Attached) -> None:
    """Return if scripts can read the tables of a dataset.

    Raises:
        PythonRefused: They are in a database.
    """
    if found.source != "files":
        raise refusal("P-12")


def check_mode(policy: Policy, verdict: Verdict) -> None:
    """Return if a table may leave as a verdict says, in the mode of a policy.

    Raises:
        PythonRefused: By itself, where the policy asks for differential privacy.
    """
    if policy.mode != "sdc" and verdict.release == "automatic":
        raise refusal("P-11")


def columns_read(policy: Policy, returns: Returns) -> tuple[str, ...]:
    """Return every ``table.column`` about people that a job reads, keys of its tables among them.

    Raises:
        PythonRefused: The policy has no such table or column, or it is a key of another kind.
    """
    found = set()
    for name, columns in returns.reads.items():
        table = policy.tables.get(name)
        if table is None:
            raise refusal("P-08", f"There is no table {name}.")
        for column in columns:
            what = table.columns.get(column)
            if what is None or (isinstance(what, Key) and column != table.entity):
                raise refusal("P-08", f"{name}.{column} can't be read.")
            if not table.public:
                found.add(f"{name}.{column}")
        if table.entity is not None:
            found.add(f"{name}.{table.entity}")
    declared = attributes_of(policy)
    for each in returns.columns:
        if each.of is not None and each.of not in declared:
            raise refusal("P-08", f"{each.of} is no dimension of a table with one row each.")
    return tuple(sorted(found))


def base_of(policy: Policy, returns: Returns, inputs: Mapping[str, Path]) -> Base | None:
    """Return who is in which cell where the node says so; None if the script does."""
    name = keyed_by(returns)
    table = policy.tables.get(name or "")
    if name is None or table is None or table.entity is None or table.rows != 1:
        return None
    return read_base(name, inputs[name], table.entity, returns)


def read_base(name: str, path: Path, person: str, returns: Returns) -> Base:
    """Return who is in which cell, from a copy in which people are numbers.

    Args:
        name: Of the table.
        path: The copy.
        person: The column with the numbers.
        returns: Names the dimensions.
    """
    wanted = [(each.of or "").partition(".")[2] for each in returns.columns]
    read = parquet.read_table(path, columns=list(dict.fromkeys([person, *wanted])))
    numbers, first = np.unique(read.column(person).to_numpy(), return_index=True)
    codes = np.zeros((len(numbers), len(wanted)), np.int32)
    domains: list[tuple[Any, ...]] = []
    for place, column in enumerate(wanted):
        values = read.column(column).combine_chunks()
        domain = sorted(values.drop_null().unique().to_pylist())
        found = pc.index_in(values, value_set=pa.array(domain, values.type)).fill_null(-1)
        codes[:, place] = found.to_numpy(zero_copy_only=False)[first]
        domains.append(tuple(domain))
    return Base(name, numbers.astype(np.int32), codes, domains)


class Readings:
    """Copies of what jobs read, in a folder that is gone with the process; used by many threads."""

    def __init__(self, parent: Path) -> None:
        """Make the folder; what a killed process left is dropped."""
        make_folder(parent)
        for left in parent.glob(".reading-*"):
            shutil.rmtree(left, ignore_errors=True)
        self._folder = tempfile.TemporaryDirectory(dir=parent, prefix=".reading-")
        self._lock = threading.Lock()
        self._made: dict[str, dict[str, Path]] = {}

    def close(self) -> None:
        """Drop the copies."""
        self._folder.cleanup()

    def of(self, attached: Attached, returns: Returns) -> Mapping[str, Path]:
        """Return the files that a job is shown, by the names of the tables.

        Raises:
            PythonRefused: The policy has no such column, or its tables are in a database.
            Exception: Whatever the engine raises; its message quotes cells.
        """
        check_files(attached)
        columns_read(attached.policy, returns)
        reads = {name: sorted(set(columns)) for name, columns in returns.reads.items()}
        named = canonical.encode([attached.dataset, attached.people_digest, attached.epoch, reads])
        key = hashlib.sha256(named).hexdigest()[:32]
        with self._lock:
            if key not in self._made:
                self._made[key] = _made(attached, reads, Path(self._folder.name) / key)
            return self._made[key]


def _made(attached: Attached, reads: Mapping[str, list[str]], folder: Path) -> dict[str, Path]:
    shutil.rmtree(folder, ignore_errors=True)
    make_folder(folder)
    inputs = {name: attached.inputs[name] for name in (*reads, COHORT)}
    connection = engine.locked(inputs, _ENGINE)
    found = {}
    try:
        for name, columns in reads.items():
            found[name] = folder / f"{name}.parquet"
            sql = _sql(name, attached.policy.tables[name], columns)
            reader: pa.RecordBatchReader = connection.sql(sql).to_arrow_reader(_BATCH)
            with parquet.ParquetWriter(found[name], reader.schema) as writer:
                for batch in reader:
                    writer.write_batch(batch)
            # Workers may run under another account; nobody else passes the folder.
            found[name].chmod(0o644)
    finally:
        connection.close()
    return found


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
