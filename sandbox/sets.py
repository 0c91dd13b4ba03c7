"""One run over an owner's tables: the cells of a query, and who is in which cell.

The second part is for the history of releases, which decides from sets. People come back as
numbers on the frozen list of their epoch, never by name. Runs in the worker; :func:`read` is the
other side, and believes what it gets no further than its shape.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Annotated, Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fusion.errors import FusionError, MessageInvalid, QueryFailed
from sandbox import engine
from sandbox.partials import MAX_REPLY_BYTES, MAX_REQUEST_BYTES, Limits

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Pairs = NDArray[np.int32]

COHORT: Final = "_cohort"
"""The table with the list; no table of a policy has a name that begins so."""

_COUNT_BYTES: Final = 8
_PAIR_BYTES: Final = 8


class _Request(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)

    schema_: Literal["fusion.sets-request/1"] = Field(alias="schema")
    cores: Annotated[str, Field(max_length=MAX_REQUEST_BYTES)]
    tables: Annotated[list[str], Field(max_length=200)]
    sets: Annotated[list[str], Field(max_length=64)]
    limits: Limits


def request_bytes(
    cores: bytes, tables: Sequence[str], sets: Sequence[str], limits: Limits
) -> bytes:
    """Return the request that :func:`execute` carries out.

    Args:
        cores: As :func:`sandbox.engine.execute` takes it.
        tables: That the sets read.
        sets: SQL that yields (entity, number of the cell), of each core.
        limits: Of the engine.
    """
    document = {
        "schema": "fusion.sets-request/1",
        "cores": base64.b64encode(cores).decode(),
        "tables": sorted(tables),
        "sets": list(sets),
        "limits": limits.model_dump(),
    }
    return json.dumps(document, ensure_ascii=False).encode()


def execute(request: bytes, inputs: Mapping[str, Path]) -> bytes:
    """Run cores and sets over files, one of which is the list of people.

    Raises:
        QueryFailed: Whatever went wrong with the data or the engine, in one text.
        MessageInvalid: The request is none.
    """
    try:
        asked = _Request.model_validate_json(request)
        cores = base64.b64decode(asked.cores, validate=True)
    except (ValidationError, ValueError):
        raise MessageInvalid("A request for sets is not well formed.") from None
    reply = engine.execute(cores, inputs)
    parts = [len(reply).to_bytes(_COUNT_BYTES, "big"), reply]
    try:
        tables = {name: inputs[name] for name in (*asked.tables, COHORT)}
        connection = engine.locked(tables, asked.limits)
        try:
            for sql in asked.sets:
                found = connection.execute(
                    f'SELECT c.n, s.cell FROM ({sql}) AS s JOIN "{COHORT}" AS c '  # noqa: S608 - compiled
                    "ON c.e = CAST(s.e AS VARCHAR)"
                ).fetchnumpy()
                pairs = np.column_stack(
                    [np.asarray(found[name], dtype="<i4") for name in ("n", "cell")]
                )
                parts += [len(pairs).to_bytes(_COUNT_BYTES, "big"), pairs.tobytes()]
        finally:
            connection.close()
    except FusionError:
        raise
    except Exception as error:  # noqa: BLE001 - a database's message quotes cells
        failed = QueryFailed()
        failed.add_note(type(error).__name__)
        raise failed from None
    return b"".join(parts)


def read(data: bytes, sets: int, entities: int) -> tuple[bytes, list[Pairs]]:
    """Return the reply of the cores, and for each set (number of a person, number of a cell).

    Raises:
        MessageInvalid: It is not of that shape, or names who is not on the list.
    """
    reply, place = _part(data, 0, 1, MAX_REPLY_BYTES)
    found = []
    for _ in range(sets):
        packed, place = _part(data, place, _PAIR_BYTES, len(data))
        pairs = np.frombuffer(packed, dtype="<i4").reshape(-1, 2).astype(np.int32)
        if len(pairs) and not (int(pairs.min()) >= 0 and int(pairs[:, 0].max()) < entities):
            raise MessageInvalid("A set of people is not well formed.")
        # Cells are numbered one after the other, each with somebody in it.
        if len(pairs) and int(pairs[:, 1].max()) >= len(pairs):
            raise MessageInvalid("A set of people has more cells than it can have.")
        found.append(pairs)
    if place != len(data):
        raise MessageInvalid("A reply with sets has more in it than it should.")
    return reply, found


def _part(data: bytes, place: int, unit: int, most: int) -> tuple[bytes, int]:
    begin = place + _COUNT_BYTES
    size = int.from_bytes(data[place:begin], "big") * unit
    if begin > len(data) or size > most or begin + size > len(data):
        raise MessageInvalid("A reply with sets is cut short.")
    return data[begin : begin + size], begin + size
