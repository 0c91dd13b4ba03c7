"""Runs a Python script inside a worker, with a module ``banyan`` that is all it needs to know.

    import banyan
    table = banyan.table("persons")            # a pyarrow.Table of an input: Parquet, Arrow or CSV
    banyan.result({"region": [...], "n": [...]})   # or a pyarrow.Table; once
    banyan.people({"person": [...], "region": [...], "income": [...]})   # or, of people, this one

``banyan.inputs`` has the path of each input by name. What is printed goes to the owner's log. The
other side is :mod:`sandbox.jobs` and :mod:`sandbox.python_people`, which check the answer and
believe none of it.
"""

from __future__ import annotations

import datetime as dt
import math
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.acero  # grouping and joining import these two when they are first used
import pyarrow.compute
import pyarrow.csv
import pyarrow.dataset
import pyarrow.parquet

from fusion.wire import canonical

if TYPE_CHECKING:
    from pathlib import Path

REQUEST_SCHEMA: Final = "banyan.python-request/1"
ANSWER_SCHEMA: Final = "banyan.python-answer/1"
PEOPLE_MAGIC: Final = b"banyan.python-people/1\n"


def execute(request: bytes, inputs: Mapping[str, Path]) -> bytes:
    """Run the script of a request and return the table that it handed over, as canonical JSON.

    Raises:
        ValueError: It handed over none, or something that is no table.
        Exception: Whatever the script raises.
    """
    asked = canonical.decode(request)
    script = asked["script"]
    desk = _Desk(inputs, asked.get("people"))
    module = ModuleType("banyan", __doc__)
    vars(module).update(
        inputs={name: str(path) for name, path in inputs.items()},
        table=desk.table,
        result=desk.result,
        people=desk.people,
    )
    sys.modules["banyan"] = module
    try:
        exec(compile(script, "job.py", "exec"), {"__name__": "__main__"})  # noqa: S102 - what a worker is for
    except SystemExit as end:
        if end.code not in {None, 0}:
            raise
    if desk.rows is not None:
        return desk.rows
    if desk.handed is None:
        verb = "result" if desk.declared is None else "people"
        msg = f"the script handed over no result: banyan.{verb}(table)"
        raise ValueError(msg)
    return canonical.encode({"schema": ANSWER_SCHEMA, "columns": desk.handed})


class _Desk:
    """What the script works with: tables in, one table out."""

    def __init__(self, inputs: Mapping[str, Path], declared: Mapping[str, Any] | None) -> None:
        self._inputs = inputs
        self.declared = declared
        self.handed: dict[str, list[Any]] | None = None
        self.rows: bytes | None = None

    def table(self, name: str) -> pa.Table:
        """Read an input whole."""
        path = self._inputs[name]
        readers = {".csv": _csv, ".arrow": _arrow, ".feather": _arrow}
        return readers.get(path.suffix, _parquet)(path)

    def result(self, table: object) -> None:
        """Hand over the result: an Arrow table, or a mapping of column names to values."""
        if self.declared is not None:
            raise ValueError("the job is declared to return people: banyan.people(table)")
        found = self._taken(table)
        self.handed = {
            name: [_value(value) for value in found.column(name).to_pylist()]
            for name in found.column_names
        }

    def people(self, table: object) -> None:
        """Hand over a row for each person: ``person``, the keys, a value for each sum or mean."""
        if self.declared is None:
            raise ValueError("the job is declared to return a table: banyan.result(table)")
        self.rows = _people(self._taken(table), self.declared)

    def _taken(self, table: object) -> pa.Table:
        if self.handed is not None or self.rows is not None:
            raise ValueError("a result was handed over before")
        if isinstance(table, Mapping):
            table = pa.table({str(name): _plain(values) for name, values in table.items()})
        if not isinstance(table, pa.Table):
            raise TypeError("a result is an Arrow table or a mapping of columns")
        return table


def _people(table: pa.Table, declared: Mapping[str, Any]) -> bytes:
    """Return rows as plain arrays: numbers, codes of keys (-1: missing), values (NaN: missing)."""
    wanted = {"person", *declared["keys"], *declared["values"]}
    if set(table.column_names) != wanted:
        msg = f"the columns are {sorted(table.column_names)}; declared are {sorted(wanted)}"
        raise ValueError(msg)
    person = table.column("person").combine_chunks()
    if person.null_count:
        raise ValueError("a row is about nobody")
    parts = [_array(person.cast(pa.int32()), "<i4")]
    for name, categories in declared["keys"].items():
        column = table.column(name).combine_chunks()
        parts.append(_array(_codes(column, categories).fill_null(-1), "<i4"))
    for name in declared["values"]:
        column = table.column(name).combine_chunks().cast(pa.float64(), safe=False)
        parts.append(_array(column.fill_null(math.nan), "<f8"))
    return b"".join([PEOPLE_MAGIC, table.num_rows.to_bytes(8, "big"), *parts])


def _codes(column: pa.Array, categories: list[str]) -> pa.Array:
    if not categories:
        return column.cast(pa.bool_()).cast(pa.int32())
    codes = pyarrow.compute.index_in(column.cast(pa.string()), value_set=pa.array(categories))
    if codes.null_count != column.null_count:
        raise ValueError("a key has a value that is not declared")
    return codes


def _array(column: pa.Array, kind: str) -> bytes:
    found: bytes = column.to_numpy(zero_copy_only=False).astype(kind).tobytes()
    return found


def _plain(values: Any) -> Any:  # noqa: ANN401 - whatever the script has
    return values if isinstance(values, pa.Array | pa.ChunkedArray) else list(values)


def _value(value: Any) -> Any:  # noqa: ANN401 - a cell
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return value.isoformat()
    return value


def _parquet(path: Path) -> pa.Table:
    # One thread: limits are of all threads together, and a worker has few.
    return pyarrow.parquet.read_table(path, use_threads=False)


def _csv(path: Path) -> pa.Table:
    return pyarrow.csv.read_csv(path, read_options=pyarrow.csv.ReadOptions(use_threads=False))


def _arrow(path: Path) -> pa.Table:
    with pa.OSFile(str(path)) as file:
        return pa.ipc.open_file(file).read_all()
