"""A table of firms in a file, and its declaration as YAML."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyarrow import csv, parquet

from fusion.catalogue.identifiers import made_up
from tests.catalogue.descriptors import DECLARATION, declaration

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ROWS = 1200


def write(path: Path, *, rows: int = ROWS) -> Path:
    """Write a table that fits the declaration, as CSV or Parquet by the name's ending."""
    table = pa.table(
        {
            "uscc": [made_up("gb32100") for _ in range(rows)],
            "region": ["330100", "330200"] * (rows // 2),
            "turnover": [n % 100 for n in range(rows)],
            "rate": [0.25 if n % 3 else None for n in range(rows)],
            "founded": pa.array(["2004-05-06"] * rows).cast(pa.date32()),
            "kind": ["shop", "farm"] * (rows // 2),
        }
    )
    if path.suffix == ".csv":
        csv.write_csv(table, path)
    else:
        parquet.write_table(table, path)
    return path


def text(changes: Mapping[str, Any] | None = None) -> str:
    """Return the declaration as a file has it; JSON is YAML."""
    if changes is None:
        return json.dumps(DECLARATION, ensure_ascii=False)
    return declaration(changes).model_dump_json(by_alias=True, exclude_unset=True)
