"""Tables in files: CSV and Parquet, by the name's ending, as one array a column.

pyarrow is imported when the first table is read, so that a node that waits does not carry it. Its
messages quote cells, so none of them leaves this module. A refusal may travel to other
organisations: what it says about the file beyond the rule is a note of the error (PEP 678).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from fusion.connectors import headers
from fusion.connectors.numerals import Mixed, numerals
from fusion.connectors.refusals import READABLE, reading, refused
from fusion.errors import DataInvalid

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Column = NDArray[np.float64] | NDArray[np.object_]

MAX_ROWS: Final = 5_000_000
MAX_FILE_BYTES: Final = 4 * 1024**3
_BLOCK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Reading:
    """How a column was read; for the owner of the file.

    Attributes:
        read_as: What its cells are.
        marks: Cells with a usual mark for a missing one (``NA``), which were read as missing.
        widened: Cells with numbers in full-width forms, which were read as the usual ones.
    """

    read_as: Literal["numbers", "words"]
    marks: int = 0
    widened: int = 0

    def document(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "read_as": self.read_as,
            "missing_marks": self.marks,
            "full_width_numbers": self.widened,
        }


class Table(Mapping[str, Any]):
    """Columns of one length, by name.

    Numbers are float64 with NaN for a missing cell; words are objects with ``None`` for one.

    Attributes:
        rows: Of each column.
        readings: How each column was read, where it comes from a file.
    """

    __slots__ = ("_columns", "readings", "rows")

    def __init__(
        self, columns: Mapping[str, Column], readings: Mapping[str, Reading] | None = None
    ) -> None:
        """Take columns over.

        Raises:
            DataInvalid: They differ in length.
        """
        lengths = {len(column) for column in columns.values()}
        if len(lengths) > 1:
            raise DataInvalid("The columns of a table differ in length.")
        self._columns = dict(columns)
        self.readings: Mapping[str, Reading] = dict(readings or {})
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

    def notices(self) -> list[str]:
        """Return what was read otherwise than it is written, a line a column; no cell is quoted."""
        said = []
        for name, how in self.readings.items():
            if how.marks:
                said.append(f"{how.marks} cells of column {name!r} hold a mark for a missing one.")
            if how.widened:
                said.append(f"{how.widened} cells of column {name!r} hold full-width numbers.")
        return said


def read_table(
    path: Path,
    columns: Sequence[str],
    *,
    text: Collection[str] = (),
    max_rows: int = MAX_ROWS,
    blank_lines: bool = False,
) -> Table:
    """Read some columns of a file.

    A column of a CSV file holds numbers if its cells do; see :mod:`fusion.connectors.numerals`.

    Args:
        path: File ending in ``.csv`` or ``.parquet``.
        columns: What to read; other columns are not looked at.
        text: Columns to read as words even where a CSV file's cells look like numbers (``"01"``).
        max_rows: More rows than these are refused.
        blank_lines: Whether a line of a CSV file with nothing on it is a row, of missing cells.

    Raises:
        DataInvalid: The file is missing, unreadable, damaged, too large, or lacks a column; or a
            column of numbers has an infinite cell, or of a CSV file a few that are none. The
            message quotes no cell.
    """
    kind = path.suffix.lower()
    if kind not in {".csv", ".parquet"}:
        raise DataInvalid(f"The data file {path.name} is of no known kind.", hint=READABLE)
    import pyarrow as pa  # noqa: PLC0415 - 30 MB that a waiting node need not hold

    wanted = list(dict.fromkeys(columns))
    try:
        with reading(path):
            _check_size(path)
            if kind == ".parquet":
                loaded, stated = _read_parquet(path, wanted, max_rows), wanted
            else:
                loaded = _read_csv(path, wanted, text, max_rows, blank_lines=blank_lines)
                stated = [name for name in wanted if name in text]
            found = {
                name: _array(path, name, loaded.column(name), stated=name in stated)
                for name in loaded.column_names
            }
            return Table(
                {name: column for name, (column, _) in found.items()},
                {name: how for name, (_, how) in found.items()},
            )
    finally:
        pa.default_memory_pool().release_unused()


def _check_size(path: Path) -> None:
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        hint = "Leave out columns that no study uses, or use Parquet."
        problem = f"has more than {MAX_FILE_BYTES} bytes"
        raise refused(path, problem, hint, f"it has {size} bytes")


def _check_rows(path: Path, rows: int, max_rows: int) -> None:
    if rows > max_rows:
        hint = "Split it, or offer a sample of it as a dataset of its own."
        raise refused(path, f"has more than {max_rows} rows", hint, f"it has {rows} rows")


def _check_columns(path: Path, found: Sequence[str], wanted: Sequence[str]) -> None:
    for name in wanted:
        if name not in found:
            note = headers.likeness(name, found)
            raise refused(path, f"has no column {name!r}", "", note, name)
        if found.count(name) > 1:
            raise refused(path, f"has two columns {name!r}", "", str(path), name)


def _read_csv(
    path: Path,
    columns: list[str],
    text: Collection[str],
    max_rows: int,
    *,
    blank_lines: bool,
) -> Any:  # noqa: ANN401 - pyarrow has no types
    _check_columns(path, headers.read_header(path, blank_lines=blank_lines), columns)
    table = _parse_csv(path, columns, text, blank_lines=blank_lines)
    _check_rows(path, table.num_rows, max_rows)
    doubtful = _doubtful(path, table, text)
    if doubtful:
        again = _parse_csv(path, doubtful, doubtful, blank_lines=blank_lines)
        for name in doubtful:
            at = table.column_names.index(name)
            table = table.set_column(at, name, again.column(name))
    return table


def _parse_csv(path: Path, columns: list[str], text: Collection[str], *, blank_lines: bool) -> Any:  # noqa: ANN401 - pyarrow has no types
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import csv  # noqa: PLC0415

    return csv.read_csv(
        str(path),
        read_options=csv.ReadOptions(use_threads=False),
        parse_options=csv.ParseOptions(ignore_empty_lines=not blank_lines),
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


def _doubtful(path: Path, table: Any, text: Collection[str]) -> list[str]:  # noqa: ANN401 - pyarrow has no types
    """Return which columns pyarrow took for numbers and have cells that are none to us.

    It reads ``inf`` and ``1e400`` as infinite, and ``0x10`` as 16. Read as words they are looked
    at one by one.
    """
    from pyarrow import types  # noqa: PLC0415

    kinds = {field.name: field.type for field in table.schema if field.name not in text}
    whole = {name for name, kind in kinds.items() if types.is_integer(kind)}
    if whole and not _has_hexadecimals(path):
        whole = set()
    real = {name for name, kind in kinds.items() if types.is_floating(kind)}
    return [
        name
        for name in kinds
        if name in whole or (name in real and bool(np.isinf(table.column(name).to_numpy()).any()))
    ]


def _has_hexadecimals(path: Path) -> bool:
    """Return whether ``0x`` is anywhere in a file."""
    last = b""
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            if b"0x" in (joined := last + block) or b"0X" in joined:
                return True
            last = block[-1:]
    return False


def _read_parquet(path: Path, columns: list[str], max_rows: int) -> Any:  # noqa: ANN401 - pyarrow has no types
    from pyarrow import parquet  # noqa: PLC0415

    with parquet.ParquetFile(str(path)) as file:
        _check_columns(path, file.schema_arrow.names, columns)
        _check_rows(path, file.metadata.num_rows, max_rows)
        return file.read(columns=columns, use_threads=False)


def _array(path: Path, name: str, column: Any, *, stated: bool) -> tuple[Column, Reading]:  # noqa: ANN401 - pyarrow has no types
    """Return a column as float64 or as objects, and how it was read.

    Args:
        path: The file, for messages.
        name: Of the column.
        column: Its cells.
        stated: Whether words are words, because the file or the caller says so.

    Raises:
        DataInvalid: Its type is neither numbers nor words, it holds numbers but for a few cells, or
            one is infinite.
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
        _check_finite(path, name, numbers)
        return numbers, Reading("numbers", int(np.isnan(numbers).sum()) - column.null_count)
    stated = stated or not kind.is_string(column.type)
    if kind.is_boolean(column.type) or kind.is_temporal(column.type) or kind.is_null(column.type):
        column = column.cast(pa.string())
    if kind.is_binary(column.type) and path.suffix.lower() == ".csv":
        raise headers.not_utf8(path)
    if not (kind.is_string(column.type) or kind.is_large_string(column.type)):
        raise DataInvalid(
            f"The column {name!r} of {path.name} is of type {column.type}.",
            hint="Numbers and words (UTF-8) can be used.",
            study_key=f"columns.{name}",
        )
    # Equal cells share one object: a column of few different words costs 8 bytes a row.
    encoded = column.dictionary_encode().unify_dictionaries().combine_chunks()
    words = encoded.dictionary.to_pylist()
    places: NDArray[np.int64] = encoded.indices.fill_null(-1).to_numpy()
    if not stated:
        numbered = _numbered(path, name, words, places)
        if numbered is not None:
            return numbered
    found: NDArray[np.object_] = np.array([*words, None], dtype=object)[places]
    return found, Reading("words")


def _check_finite(path: Path, name: str, numbers: NDArray[np.float64]) -> None:
    """Refuse a column with an infinite cell, as only Parquet can have it here."""
    infinite = np.isinf(numbers)
    if infinite.any():
        raise refused(
            path,
            f"has a column {name!r} of numbers with cells that are infinite",
            "Leave these cells empty (null), or write the numbers that they stand for.",
            f"column {name!r}: {int(infinite.sum())} of {len(numbers)} cells; "
            f"the first is in row {int(np.flatnonzero(infinite)[0]) + 1}, counted from 1",
            name,
        )


def _numbered(
    path: Path, name: str, words: list[str], places: NDArray[np.int64]
) -> tuple[Column, Reading] | None:
    """Return a column of words as numbers, if it holds such; ``places`` are -1 for no word.

    Raises:
        DataInvalid: It does but for a few cells.
    """
    counts = np.bincount(places[places >= 0], minlength=len(words))
    try:
        found = numerals(words, counts)
    except Mixed as mixed:
        odd = np.append(mixed.odd, np.False_)[places]
        row = int(np.flatnonzero(odd)[0]) + 2
        raise refused(
            path,
            f"has a column {name!r} of numbers with cells that are none",
            "Write these cells as plain numbers (1000, not 1,000) or leave them empty; or say that "
            "the column holds words.",
            f"column {name!r}: {int(odd.sum())} of {int(counts.sum())} cells; "
            f"the first is in row {row}, counting the header as row 1",
            name,
        ) from None
    if found is None:
        return None
    return np.append(found.values, np.nan)[places], Reading("numbers", found.marks, found.widened)
