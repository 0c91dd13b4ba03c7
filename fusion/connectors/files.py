"""Tables in files: CSV and Parquet, by the name's ending, as one array a column.

pyarrow is imported when the first table is read, so that a node that waits does not carry it. Its
messages quote cells, so none of them leaves this module. A refusal may travel to other
organisations: what it says about the file beyond the rule is a note of the error (PEP 678).
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fusion.errors import DataInvalid

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Column = NDArray[np.float64] | NDArray[np.object_]

MAX_ROWS: Final = 5_000_000
MAX_FILE_BYTES: Final = 4 * 1024**3
_READABLE: Final = "CSV with a header row (.csv) and Parquet (.parquet) can be read."


class Table(Mapping[str, Any]):
    """Columns of one length, by name.

    Numbers are float64 with NaN for a missing cell; words are objects with ``None`` for one.
    """

    __slots__ = ("_columns", "rows")

    def __init__(self, columns: Mapping[str, Column]) -> None:
        """Take columns over.

        Raises:
            DataInvalid: They differ in length.
        """
        lengths = {len(column) for column in columns.values()}
        if len(lengths) > 1:
            raise DataInvalid("The columns of a table differ in length.")
        self._columns = dict(columns)
        self.rows: int = lengths.pop() if lengths else 0

    def __getitem__(self, name: str) -> Column:
        """Return a column."""
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the columns."""
        return iter(self._columns)

    def __len__(self) -> int:
        """Return the number of columns."""
        return len(self._columns)


def read_table(
    path: Path,
    columns: Sequence[str],
    *,
    text: Collection[str] = (),
    max_rows: int = MAX_ROWS,
) -> Table:
    """Read some columns of a file.

    Args:
        path: File ending in ``.csv`` or ``.parquet``.
        columns: What to read; other columns are not looked at.
        text: Columns to read as words even where a CSV file's cells look like numbers (``"01"``).
        max_rows: More rows than these are refused.

    Raises:
        DataInvalid: The file is missing, unreadable, damaged, too large, or lacks a column. The
            message quotes no cell.
    """
    read = {".csv": _read_csv, ".parquet": _read_parquet}.get(path.suffix.lower())
    if read is None:
        raise DataInvalid(f"The data file {path.name} is of no known kind.", hint=_READABLE)
    import pyarrow as pa  # noqa: PLC0415 - 30 MB that a waiting node need not hold

    try:
        _check_size(path)
        loaded = read(path, list(dict.fromkeys(columns)), text, max_rows)
        return Table(
            {name: _array(path, name, loaded.column(name)) for name in loaded.column_names}
        )
    except FileNotFoundError:
        hint = "Give the path of the file as this machine sees it."
        raise _refused(path, "does not exist", hint, str(path)) from None
    except OSError as error:
        reason = error.strerror or "input error"
        raise _refused(path, f"can't be read ({reason})", _READABLE, str(path)) from None
    except (pa.ArrowException, UnicodeError):
        problem = "is damaged, or not what its name says"
        raise _refused(path, problem, _READABLE, str(path)) from None
    finally:
        pa.default_memory_pool().release_unused()


def _refused(path: Path, problem: str, hint: str, note: str, column: str = "") -> DataInvalid:
    """Return a refusal with a note that is for the owner of the file only."""
    key = f"columns.{column}" if column else ""
    error = DataInvalid(f"The data file {path.name} {problem}.", hint=hint, study_key=key)
    error.add_note(note)
    return error


def _check_size(path: Path) -> None:
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        hint = "Leave out columns that no study uses, or use Parquet."
        problem = f"has more than {MAX_FILE_BYTES} bytes"
        raise _refused(path, problem, hint, f"it has {size} bytes")
    if size == 0:
        raise _refused(path, "is empty", _READABLE, str(path))


def _check_rows(path: Path, rows: int, max_rows: int) -> None:
    if rows > max_rows:
        hint = "Split it, or offer a sample of it as a dataset of its own."
        raise _refused(path, f"has more than {max_rows} rows", hint, f"it has {rows} rows")


def _check_columns(path: Path, found: Sequence[str], wanted: Sequence[str]) -> None:
    for name in wanted:
        if name not in found:
            near = difflib.get_close_matches(name, found, n=1)
            note = f"the nearest that it has is {near[0]!r}" if near else "it has none like it"
            raise _refused(path, f"has no column {name!r}", "", note, name)
        if found.count(name) > 1:
            raise _refused(path, f"has two columns {name!r}", "", str(path), name)


def _read_csv(path: Path, columns: list[str], text: Collection[str], max_rows: int) -> Any:  # noqa: ANN401 - pyarrow has no types
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import csv  # noqa: PLC0415

    with pa.OSFile(str(path)) as file, csv.open_csv(file) as head:
        _check_columns(path, head.schema.names, columns)
    table = csv.read_csv(
        str(path),
        read_options=csv.ReadOptions(use_threads=False),
        convert_options=csv.ConvertOptions(
            include_columns=columns,
            column_types={name: pa.string() for name in columns if name in text},
            # Only an empty cell is missing: "NA" and "true" may be categories.
            null_values=[""],
            true_values=[],
            false_values=[],
            strings_can_be_null=True,
        ),
    )
    _check_rows(path, table.num_rows, max_rows)
    return table


def _read_parquet(path: Path, columns: list[str], text: Collection[str], max_rows: int) -> Any:  # noqa: ANN401 - pyarrow has no types
    from pyarrow import parquet  # noqa: PLC0415

    del text  # Parquet says itself what is a word
    with parquet.ParquetFile(str(path)) as file:
        _check_columns(path, file.schema_arrow.names, columns)
        _check_rows(path, file.metadata.num_rows, max_rows)
        return file.read(columns=columns, use_threads=False)


def _array(path: Path, name: str, column: Any) -> Column:  # noqa: ANN401 - pyarrow has no types
    """Return a column as float64 or as objects.

    Raises:
        DataInvalid: Its type is neither numbers nor words.
    """
    import pyarrow as pa  # noqa: PLC0415

    kind = pa.types
    if kind.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if (
        kind.is_integer(column.type)
        or kind.is_floating(column.type)
        or kind.is_decimal(column.type)
    ):
        numbers: NDArray[np.float64] = column.cast(pa.float64(), safe=False).to_numpy()
        return numbers
    if kind.is_boolean(column.type) or kind.is_temporal(column.type) or kind.is_null(column.type):
        column = column.cast(pa.string())
    if not (kind.is_string(column.type) or kind.is_large_string(column.type)):
        raise DataInvalid(
            f"The column {name!r} of {path.name} is of type {column.type}.",
            hint="Numbers and words (UTF-8) can be used.",
            study_key=f"columns.{name}",
        )
    # Equal cells share one object: a column of few different words costs 8 bytes a row.
    encoded = column.dictionary_encode().unify_dictionaries().combine_chunks()
    words = np.array([*encoded.dictionary.to_pylist(), None], dtype=object)
    found: NDArray[np.object_] = words[encoded.indices.fill_null(-1).to_numpy()]
    return found
