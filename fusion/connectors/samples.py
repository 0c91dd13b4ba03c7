"""Made-up rows as the bytes of a file, with the column types of the table that they stand for."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from fusion.catalogue.croissant import sentence
from fusion.catalogue.descriptor import Dates, Range

if TYPE_CHECKING:
    from fusion.catalogue.descriptor import Column, Descriptor
    from fusion.catalogue.mock import Cell, Sample


def encode(descriptor: Descriptor, sample: Sample, suffix: str) -> bytes:
    """Return a sample as a file.

    Args:
        descriptor: Of the dataset.
        sample: The rows.
        suffix: ``.csv``, or ``.parquet``, whose metadata then say what the sample is.
    """
    import pyarrow as pa  # noqa: PLC0415 - a node that waits does not carry it

    arrays = [_array(column, sample.columns[column.name]) for column in descriptor.columns]
    table = pa.table(arrays, names=[column.name for column in descriptor.columns])
    target = io.BytesIO()
    if suffix == ".parquet":
        from pyarrow import parquet  # noqa: PLC0415

        said = {"fusion.mock": sentence(descriptor, sample)}
        parquet.write_table(table.replace_schema_metadata(said), target)
    else:
        from pyarrow import csv  # noqa: PLC0415

        csv.write_csv(table, target, csv.WriteOptions(quoting_style="needed"))
    return target.getvalue()


def _array(column: Column, cells: list[Cell]) -> Any:  # noqa: ANN401 - pyarrow has no types
    import pyarrow as pa  # noqa: PLC0415

    match column.domain, column.type:
        case Range(decimals=0), _:
            return pa.array(cells, pa.int64())
        case Range(), "cell":
            return pa.array(cells, pa.string())  # as written, digit by digit
        case Range(), _:
            numbers = [None if cell is None else float(cell) for cell in cells]
            return pa.array(numbers, pa.float64())
        case Dates(), "time":
            return pa.array(cells, pa.string()).cast(pa.date32())
        case _, "number":
            # Categories of a column of numbers.
            return pa.array([None if cell is None else float(cell) for cell in cells], pa.float64())
        case _:
            return pa.array(cells, pa.string())
