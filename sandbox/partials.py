"""What goes to the process that runs a core, and what comes back: JSON, sized and typed.

Whole numbers travel as decimal texts, since sums go beyond 2^53. The reply is believed no further
than its shape: columns and types are those that the compiled core names, or it is refused.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fusion.errors import MessageInvalid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    # Not at run time: a worker has no use for the compiler, nor for the parser under it.
    from sandbox.compile import CoreQuery

REQUEST: Final = "fusion.core-request/1"
REPLY: Final = "fusion.core-cells/1"
MAX_REQUEST_BYTES: Final = 16 * 1024 * 1024
MAX_REPLY_BYTES: Final = 64 * 1024 * 1024
_WHOLE: Final = re.compile(r"-?\d{1,80}")
_DAY: Final = re.compile(r"\d{4,6}-\d\d-\d\d")
MAX_TEXT: Final = 2000
MAX_CELLS: Final = 50_000
"""Most cells of a core that leave an engine, small ones among them."""

Rows = list[tuple[Any, ...]]
Kind = Literal["text", "whole", "real", "truth", "day"]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)


class Limits(_Part):
    """What a process may use; the wall limit belongs to whoever can kill it.

    Attributes:
        memory_mb: Memory of the engine.
        threads: Its threads.
    """

    memory_mb: Annotated[int, Field(ge=64, le=1_000_000)] = 1024
    threads: Annotated[int, Field(ge=1, le=256)] = 2


class _Query(_Part):
    sql: Annotated[str, Field(min_length=1, max_length=2_000_000)]
    columns: Annotated[tuple[tuple[str, Kind], ...], Field(min_length=1, max_length=2000)]


class Request(_Part):
    """Cores to run on tables at hand."""

    schema_: Literal["fusion.core-request/1"] = Field(alias="schema")
    tables: Annotated[tuple[str, ...], Field(max_length=200)]
    queries: Annotated[tuple[_Query, ...], Field(min_length=1, max_length=64)]
    limits: Limits = Limits()


@dataclass(frozen=True, slots=True)
class Asked:
    """A request together with what its reply has to look like."""

    request: bytes
    queries: tuple[CoreQuery, ...]


def ask(queries: Sequence[CoreQuery], limits: Limits | None = None) -> Asked:
    """Return the request that runs these cores."""
    tables = sorted({name for query in queries for name in query.tables})
    document = {
        "schema": REQUEST,
        "tables": tables,
        "queries": [{"sql": each.sql, "columns": each.columns} for each in queries],
        "limits": (limits or Limits()).model_dump(),
    }
    return Asked(json.dumps(document, ensure_ascii=False).encode(), tuple(queries))


def request_of(data: bytes) -> Request:
    """Read a request.

    Raises:
        MessageInvalid: Too large, or not one.
    """
    if len(data) > MAX_REQUEST_BYTES:
        raise MessageInvalid("A request to an engine is too large.")
    try:
        return Request.model_validate_json(data)
    except ValidationError:
        raise MessageInvalid("A request to an engine is not well formed.") from None


def reply_bytes(results: Sequence[tuple[Sequence[tuple[str, str]], Rows]]) -> bytes:
    """Return the reply that carries these rows, with the columns of each."""
    documents = [
        {"columns": [name for name, _ in columns],
         "rows": [[_out(kind, cell) for (_, kind), cell in zip(columns, row, strict=True)]
                  for row in rows]}
        for columns, rows in results
    ]  # fmt: skip
    document = {"schema": REPLY, "results": documents}
    return json.dumps(document, ensure_ascii=False, allow_nan=False).encode()


def _out(kind: str, cell: Any) -> Any:  # noqa: ANN401 - a cell of a database
    if cell is None:
        return None
    if kind == "whole":
        # Some drivers give NUMERIC as text; whatever is no whole number fails here.
        return str(int(cell))
    if kind == "real":
        value = float(cell)
        return value if math.isfinite(value) else None
    if kind == "truth":
        return bool(cell)
    return cell.isoformat() if hasattr(cell, "isoformat") else str(cell)


def reply_of(data: bytes, asked: Asked) -> list[Rows]:
    """Read a reply against what was asked.

    Raises:
        MessageInvalid: It is too large, or not of the shape that the cores name.
    """
    if len(data) > MAX_REPLY_BYTES:
        raise MessageInvalid("A reply of an engine is too large.")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise MessageInvalid("A reply of an engine is not JSON.") from None
    match document:
        case {"schema": "fusion.core-cells/1", "results": list(results), **rest} if not rest:
            pass
        case _:
            raise MessageInvalid("A reply of an engine is not well formed.")
    if len(results) != len(asked.queries):
        raise MessageInvalid("A reply of an engine has not as many results as were asked for.")
    return [_rows(each, query) for each, query in zip(results, asked.queries, strict=True)]


def _rows(result: Any, query: CoreQuery) -> Rows:  # noqa: ANN401 - not looked at yet
    match result:
        case {"columns": list(names), "rows": list(rows), **rest} if not rest:
            pass
        case _:
            raise MessageInvalid("A result of an engine is not well formed.")
    if names != [name for name, _ in query.columns] or len(rows) > MAX_CELLS + 1:
        raise MessageInvalid("A result of an engine has other columns, or too many rows.")
    found = []
    for row in rows:
        if not isinstance(row, list) or len(row) != len(query.columns):
            raise MessageInvalid("A row of an engine is not well formed.")
        found.append(
            tuple(
                None if cell is None else _IN[kind](cell)
                for cell, (_, kind) in zip(row, query.columns, strict=True)
            )
        )
    return found


def _text(cell: object) -> str:
    if not isinstance(cell, str) or len(cell) > MAX_TEXT:
        raise MessageInvalid("A text of an engine is not one.")
    return cell


def _whole(cell: object) -> int:
    if not isinstance(cell, str) or not _WHOLE.fullmatch(cell):
        raise MessageInvalid("A whole number of an engine is not one.")
    return int(cell)


def _real(cell: object) -> float:
    if isinstance(cell, bool) or not isinstance(cell, int | float) or not math.isfinite(cell):
        raise MessageInvalid("A number of an engine is not one.")
    return float(cell)


def _truth(cell: object) -> bool:
    if not isinstance(cell, bool):
        raise MessageInvalid("A truth value of an engine is not one.")
    return cell


def _day(cell: object) -> str:
    if not isinstance(cell, str) or not _DAY.fullmatch(cell):
        raise MessageInvalid("A day of an engine is not one.")
    return cell


_IN: Final[Mapping[str, Callable[[object], Any]]] = {
    "text": _text, "whole": _whole, "real": _real, "truth": _truth, "day": _day,
}  # fmt: skip
