"""Runs a Python script inside a worker, with a module ``banyan`` that is all it needs to know.

    import banyan
    table = banyan.table("persons")            # a pyarrow.Table of an input: Parquet, Arrow or CSV
    banyan.result({"region": [...], "n": [...]})   # or a pyarrow.Table; once

``banyan.inputs`` has the path of each input by name. What is printed goes to the owner's log. The
other side is :mod:`sandbox.jobs`, which checks the answer and believes none of it.
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


def execute(request: bytes, inputs: Mapping[str, Path]) -> bytes:
    """Run the script of a request and return the table that it handed over, as canonical JSON.

    Raises:
        ValueError: It handed over none, or something that is no table.
        Exception: Whatever the script raises.
    """
    script = canonical.decode(request)["script"]
    desk = _Desk(inputs)
    module = ModuleType("banyan", __doc__)
    vars(module).update(
        inputs={name: str(path) for name, path in inputs.items()},
        table=desk.table,
        result=desk.result,
    )
    sys.modules["banyan"] = module
    try:
        exec(compile(script, "job.py", "exec"), {"__name__": "__main__"})  # noqa: S102 - what a worker is for
    except SystemExit as end:
        if end.code not in {None, 0}:
            raise
    if desk.handed is None:
        raise ValueError("the script handed over no result: banyan.result(table)")
    return canonical.encode({"schema": ANSWER_SCHEMA, "columns": desk.handed})


class _Desk:
    """What the script works with: tables in, one table out."""

    def __init__(self, inputs: Mapping[str, Path]) -> None:
        self._inputs = inputs
        self.handed: dict[str, list[Any]] | None = None

    def table(self, name: str) -> pa.Table:
        """Read an input whole."""
        path = self._inputs[name]
        readers = {".csv": _csv, ".arrow": _arrow, ".feather": _arrow}
        return readers.get(path.suffix, _parquet)(path)

    def result(self, table: object) -> None:
        """Hand over the result: an Arrow table, or a mapping of column names to values."""
        if self.handed is not None:
            raise ValueError("a result was handed over before")
        if isinstance(table, Mapping):
            table = pa.table({str(name): _plain(values) for name, values in table.items()})
        if not isinstance(table, pa.Table):
            raise TypeError("a result is an Arrow table or a mapping of columns")
        self.handed = {
            name: [_value(value) for value in table.column(name).to_pylist()]
            for name in table.column_names
        }


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
