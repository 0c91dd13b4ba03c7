"""What the ledger's file says, in bytes: tables, factor rows, cells and outcomes, there and back.

A decoder checks sizes before it allocates; what does not decode was not written here.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from fusion.errors import FusionError, HistoryBroken, InputInvalid
from fusion.wire import canonical
from sandbox.history.request import Outcome, Reason, Status
from sandbox.history.state import Addition, Cell

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sandbox.history.predicates import Form

_LEVEL = 1
_MAX_BODY = 4 << 20


def encode(measure: str, addition: Addition) -> tuple[bytes, bytes, bytes]:
    """Return an addition as its body, its codes and its factor rows.

    Raises:
        InputInvalid: The definitions of its cells are too long to be kept.
    """
    count = len(addition.rows)
    body = canonical.encode(
        {
            "cells": [
                {"form": cell.form, "key": cell.key, "row": cell.row, "size": cell.size}
                for cell in addition.cells
            ],
            "bits": count == 1,
            "measure": measure,
            "noise": float(addition.noise),
            "rows": count,
            "settled": [
                {"key": key, "outcome": outcome.document()} for key, outcome in addition.settled
            ],
        }
    )
    if len(body) > _MAX_BODY:
        raise InputInvalid("The definitions of a table's cells are too long.")
    if not count:
        return body, b"", b""
    return body, _packed(addition.codes, count), addition.rows.astype("<f8").tobytes()


def decode(body: bytes, codes: bytes, rows: bytes, entities: int, m: int) -> tuple[str, Addition]:
    """Return a measure and its addition to a ledger of m rows.

    Raises:
        HistoryBroken: It is not what :func:`encode` writes.
    """
    try:
        document = canonical.decode(body, _MAX_BODY)
        count = int(document["rows"])
        addition = Addition(
            codes=_unpacked(codes, count, entities, bits=document.get("bits", False)),
            noise=float(document["noise"]),
            rows=np.frombuffer(rows, dtype="<f8").reshape(count, m + count),
            cells=tuple(
                Cell(item["key"], _form(item["form"]), item["size"], item["row"])
                for item in document["cells"]
            ),
            settled=tuple((item["key"], _outcome(item["outcome"])) for item in document["settled"]),
        )
    except (ValueError, KeyError, TypeError, zlib.error, FusionError) as error:
        raise HistoryBroken("A record of the history does not decode.") from error
    return str(document["measure"]), addition


def _packed(codes: NDArray[np.int32], count: int) -> bytes:
    """Return codes compressed; of one cell, a bit for each entity: a tenth of the time."""
    if count > 1:
        return zlib.compress(codes.astype("<i1" if count <= 127 else "<i2").tobytes(), _LEVEL)
    # Of a set that looks drawn by lot there are runs, but no words, to be found.
    stream = zlib.compressobj(_LEVEL, strategy=zlib.Z_RLE)
    return stream.compress(np.packbits(codes >= 0).tobytes()) + stream.flush()


def _unpacked(packed: bytes, count: int, entities: int, *, bits: bool) -> NDArray[np.int32]:
    return _bits(packed, entities) if bits and count == 1 else _codes(packed, count, entities)


def _bits(packed: bytes, entities: int) -> NDArray[np.int32]:
    size = (entities + 7) // 8
    plain = np.frombuffer(zlib.decompressobj().decompress(packed, size + 1), dtype=np.uint8)
    if plain.shape != (size,) or np.unpackbits(plain)[entities:].any():
        raise HistoryBroken("A table of the history does not fit its cohort.")
    codes = np.unpackbits(plain, count=entities).astype(np.int32)
    codes -= 1
    return codes


def _codes(packed: bytes, count: int, entities: int) -> NDArray[np.int32]:
    if not count:
        return np.full(0, -1, dtype=np.int32)
    kind = np.dtype("<i1" if count <= 127 else "<i2")
    plain = zlib.decompressobj().decompress(packed, entities * kind.itemsize + 1)
    codes = np.frombuffer(plain, dtype=kind)
    if codes.shape != (entities,) or codes.min() < -1 or codes.max() >= count:
        raise HistoryBroken("A table of the history does not fit its cohort.")
    return codes.astype(np.int32)


def _form(boxes: list[list[list[Any]]]) -> Form:
    return tuple(
        tuple(
            (str(name), tuple((int(low), int(high)) for low, high in ranges))
            for name, ranges in box
        )
        for box in boxes
    )


def _outcome(item: dict[str, Any]) -> Outcome:
    reason = Reason(item["reason"]) if item["reason"] else None
    return Outcome(Status(item["status"]), reason, item["source"], tuple(item["collides_with"]))
