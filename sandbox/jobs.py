"""A Python job as the data's owner runs it: a script, what it may return, and the check of that.

The worker's answer is untrusted. It is canonical JSON rather than Arrow, whose reader is a large
piece of C++ that a hostile answer would reach; a table of at most :data:`MAX_ROWS` rows loses
nothing by it. What does not fit the declaration ends the job as a crash does: whether it fits can
depend on the data.

Rounding takes away the low digits in which rows could be hidden. It is not disclosure control: the
release stage or a person has to look at the table (``docs/claims/isolation.md``).
"""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Final, Self

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, model_validator

from fusion.errors import MessageInvalid, WorkCrashed
from fusion.grants.python_job import MAX_COLUMNS, MAX_ROWS, Column
from fusion.wire import canonical
from fusion.wire.limits import MAX_DOCUMENT_BYTES
from sandbox.limits import Limits
from sandbox.python_job import ANSWER_SCHEMA, REQUEST_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from fusion.ports import Stop
    from sandbox.isolate import Isolation
    from sandbox.process import Result

ENTRY: Final = "sandbox.python_job:execute"
MAX_SCRIPT_CHARACTERS: Final = 1 << 20


class Job(BaseModel):
    """A script and the table that it may return.

    Attributes:
        script: Python source; see :mod:`sandbox.python_job`.
        columns: Exactly these, in this order.
        max_rows: Of the table.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    script: Annotated[str, Field(max_length=MAX_SCRIPT_CHARACTERS)]
    columns: Annotated[tuple[Column, ...], Field(min_length=1, max_length=MAX_COLUMNS)]
    max_rows: Annotated[int, Field(ge=1, le=MAX_ROWS)] = 1_000

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        if len({column.name for column in self.columns}) != len(self.columns):
            raise ValueError("two columns have one name")
        return self


def run_job(
    isolation: Isolation,
    job: Job,
    inputs: Mapping[str, Path],
    limits: Limits | None = None,
    *,
    caller: str = "",
    stop: Stop | None = None,
    ended: Callable[[Result], None] | None = None,
) -> pa.Table:
    """Run a job and return its table, checked and rounded.

    Args:
        isolation: Where.
        job: What.
        inputs: Files, by the names that the script uses.
        limits: Bounds of the worker; ``output_bytes`` is at most that of a JSON document.
        caller: On whose behalf.
        stop: Ends it.
        ended: Told how the work ended, for the owner alone.

    Raises:
        InputInvalid: An input that can't be.
        IsolationBusy: No place in time.
        WorkFailed: It has no such table; details are for the owner.
    """
    request = canonical.encode({"schema": REQUEST_SCHEMA, "script": job.script})
    limits = limits or Limits()
    limits = replace(limits, output_bytes=min(limits.output_bytes, MAX_DOCUMENT_BYTES))
    answer = isolation.run(ENTRY, request, inputs, limits, caller=caller, stop=stop, ended=ended)
    return check_answer(job, answer)


def check_answer(job: Job, answer: bytes) -> pa.Table:
    """Return the table that an answer is, rounded.

    Raises:
        WorkCrashed: It is not what the job declares.
    """
    try:
        told = canonical.decode(answer)
        columns = _columns(job, told)
        arrays = [_array(column, columns[column.name]) for column in job.columns]
    except (MessageInvalid, ValueError, TypeError) as error:
        details = f"the answer is not what the job declares: {error}"
        raise WorkCrashed(details) from None
    return pa.table(arrays, names=[column.name for column in job.columns])


def _columns(job: Job, told: Any) -> dict[str, list[Any]]:  # noqa: ANN401 - decoded
    if not isinstance(told, dict) or set(told) != {"schema", "columns"}:
        raise ValueError("no answer")
    columns = told["columns"]
    if told["schema"] != ANSWER_SCHEMA or not isinstance(columns, dict):
        raise ValueError("another schema")
    if set(columns) != {column.name for column in job.columns}:
        raise ValueError("other columns")
    if not all(isinstance(values, list) for values in columns.values()):
        raise ValueError("a column is no list")
    lengths = {len(values) for values in columns.values()}
    if len(lengths) != 1 or max(lengths) > job.max_rows:
        raise ValueError(f"columns of {sorted(lengths)} rows; {job.max_rows} are allowed")
    return columns


def _array(column: Column, values: list[Any]) -> pa.Array:
    kinds = {
        "integer": pa.int64(),
        "number": pa.float64(),
        "boolean": pa.bool_(),
        "category": pa.string(),
        "date": pa.date32(),
    }
    cells = [None if value is None else _cell(column, value) for value in values]
    return pa.array(cells, type=kinds[column.kind])


def _cell(column: Column, value: Any) -> object:  # noqa: ANN401 - decoded
    """Return a value as its column has it, or raise."""
    match column.kind, value:
        case "boolean", bool():
            return value
        case (("integer" | "number"), bool()):
            pass
        case "integer", int():
            return _to_step(value, column.step)
        case "number", int() | float() if math.isfinite(value):
            return float(f"{value:.{column.digits}g}") + 0.0  # and no negative zero
        case "category", str() if value in column.categories:
            return value
        case "date", str():
            return dt.date.fromisoformat(value)
        case _:
            pass
    msg = f"column {column.name}: a {type(value).__name__} where {column.kind} is declared"
    raise ValueError(msg)


def _to_step(value: int, step: int) -> int:
    whole, rest = divmod(value, step)
    up = 2 * rest > step or (2 * rest == step and whole % 2 == 1)
    return (whole + up) * step
