"""The schema of a table in a file, without reading a row: what a grant is bound to.

Parquet says which columns are numbers and which are words. A CSV file says nothing of types, so
there every column is a ``cell``: a grant on it is bound to the names alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fusion.connectors.headers import read_header
from fusion.connectors.refusals import reading
from fusion.errors import DataInvalid

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

MAX_SCHEMA_COLUMNS: Final = 10_000


def read_schema(path: Path) -> dict[str, str]:
    """Return name to type (``number``, ``text``, ``time``, ``other``; ``cell`` in CSV).

    Raises:
        DataInvalid: The file is missing, can't be read, or has two columns of one name.
    """
    kind = path.suffix.lower()
    with reading(path):
        if kind == ".parquet":
            return _unique(path, _parquet(path))
        if kind == ".csv":
            return _unique(path, ((name, "cell") for name in read_header(path)))
    unknown = DataInvalid("The table is neither CSV (.csv) nor Parquet (.parquet).")
    unknown.add_note(str(path))
    raise unknown


def count_rows(path: Path) -> int:
    """Return how many rows a table has; of a CSV file one column is read, a block at a time.

    Raises:
        DataInvalid: The file is missing or can't be read.
    """
    with reading(path):
        return _parquet_rows(path) if path.suffix.lower() == ".parquet" else _csv_rows(path)


def _parquet_rows(path: Path) -> int:
    from pyarrow import parquet  # noqa: PLC0415

    with parquet.ParquetFile(str(path)) as file:
        rows: int = file.metadata.num_rows
        return rows


def _csv_rows(path: Path) -> int:
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import csv  # noqa: PLC0415

    first = read_header(path)[0]
    options = csv.ConvertOptions(include_columns=[first], column_types={first: pa.string()})
    with pa.OSFile(str(path)) as file, csv.open_csv(file, convert_options=options) as blocks:
        return sum(block.num_rows for block in blocks)


def _unique(path: Path, columns: Iterable[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, kind in columns:
        if name in found or len(found) >= MAX_SCHEMA_COLUMNS:
            refused = DataInvalid("The table has two columns of one name, or too many columns.")
            told = repr(name) if name else "columns without a name"
            refused.add_note(f"{path}: {told}")
            raise refused
        found[name] = kind
    return found


def _parquet(path: Path) -> list[tuple[str, str]]:
    from pyarrow import parquet  # noqa: PLC0415

    with parquet.ParquetFile(str(path)) as file:
        return [(each.name, _kind(each.type)) for each in file.schema_arrow]


def _kind(arrow: Any) -> str:  # noqa: ANN401 - pyarrow has no types
    from pyarrow import types  # noqa: PLC0415

    if types.is_dictionary(arrow):
        arrow = arrow.value_type
    if types.is_integer(arrow) or types.is_floating(arrow) or types.is_decimal(arrow):
        return "number"
    if types.is_string(arrow) or types.is_large_string(arrow) or types.is_boolean(arrow):
        return "text"
    return "time" if types.is_temporal(arrow) else "other"
