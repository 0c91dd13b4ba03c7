"""The header of a CSV file, and what is wrong with a file that is none or can't be read as one.

What is said of names in a file is for its owner alone: callers put it into notes of an error
(PEP 678), which do not travel.
"""

from __future__ import annotations

import codecs
import csv
import difflib
import unicodedata
from typing import TYPE_CHECKING, Final, TextIO

from fusion.errors import DataInvalid

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

AS_UTF8: Final = 'Save it as UTF-8: in Excel "CSV UTF-8 (comma delimited)".'
_BLOCK: Final = 1 << 20
_HEAD_CHARACTERS: Final = 1 << 16
_SEPARATORS: Final = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}


def read_header(path: Path, *, blank_lines: bool = False) -> list[str]:
    """Return the names of a CSV file's columns as they are written, without a byte order mark.

    Args:
        path: The file.
        blank_lines: Whether a line with nothing on it counts as one.

    Raises:
        OSError, pyarrow.ArrowException, UnicodeError: It can't be read; see :func:`complaint`.
    """
    import pyarrow as pa  # noqa: PLC0415 - 30 MB that a waiting node need not hold
    from pyarrow import csv as arrow_csv  # noqa: PLC0415

    options = arrow_csv.ParseOptions(ignore_empty_lines=not blank_lines)
    with pa.OSFile(str(path)) as file, arrow_csv.open_csv(file, parse_options=options) as head:
        return [str(name) for name in head.schema.names]


def complaint(path: Path) -> DataInvalid:
    """Return what to say of a CSV file that can't be read as one; no cell is quoted."""
    if not is_utf8(path):
        return not_utf8(path)
    refused = DataInvalid(
        f"The data file {path.name} is damaged, or not what its name says.",
        hint="CSV with a header row (.csv) and Parquet (.parquet) can be read.",
    )
    with path.open(encoding="utf-8-sig", newline="") as file:
        refused.add_note(separated(file.readline(_HEAD_CHARACTERS)) or _uneven(file) or str(path))
    return refused


def _uneven(file: TextIO) -> str:
    """Return a note about the first row that has not as many cells as the header; else nothing."""
    file.seek(0)
    rows, width = csv.reader(file), 0
    try:
        for row in rows:
            width = width or len(row)
            if row and len(row) != width:
                return f"line {rows.line_num} has {len(row)} cells, the header {width}"
    except csv.Error:
        pass
    return ""


def not_utf8(path: Path) -> DataInvalid:
    """Return the refusal of a file whose bytes are no UTF-8."""
    refused = DataInvalid(f"The data file {path.name} is not UTF-8.", hint=AS_UTF8)
    refused.add_note(str(path))
    return refused


def is_utf8(path: Path) -> bool:
    """Return whether a file is text in UTF-8, and no other text that could pass for it."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            try:
                decoder.decode(block)
            except UnicodeDecodeError:
                return False
            if b"\0" in block:  # UTF-16 without a mark
                return False
    return True


def separated(header: str) -> str:
    """Return a note that a header is not separated by commas; empty if it may be."""
    found = [words for mark, words in _SEPARATORS.items() if mark in header]
    if not found or "," in header:
        return ""
    return f"its header looks separated by {found[0]}; save it separated by commas"


def likeness(name: str, found: Sequence[str]) -> str:
    """Return a note about the name in a header that may be meant by one that is not in it."""
    apart = separated(found[0]) if len(found) == 1 else ""
    if apart:
        return apart
    same = [each for each in found if _bare(each) == _bare(name)]
    if same:
        return f"it has {same[0]!r}: upper and lower case, and blanks, count"
    near = difflib.get_close_matches(_bare(name), [_bare(each) for each in found], n=1)
    if near:
        nearest = next(each for each in found if _bare(each) == near[0])
        return f"the nearest that it has is {nearest!r}"
    return f"it has none like it, of {len(found)} columns"


def _bare(name: str) -> str:
    return unicodedata.normalize("NFKC", name).strip().casefold()
