"""Which words of a CSV column are numbers: usual marks for a missing cell, full-width digits.

A file of CSV says nothing of types, and one odd cell would make categories of a column of numbers.
So a column is taken for numbers if all of its cells are, or hold a mark for a missing one. If
nearly all are, what the others are is for the file's owner to say: such a column is refused.
Pure, over the different words of a column and how often each is there.
"""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

MISSING_MARKS: Final = frozenset(
    {"", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NULL", "null", "None", "-", ".", "?"}
)
"""Read as a missing cell in a column whose other cells are numbers, and nowhere else.

Of databases and spreadsheets, R, pandas, SAS and Stata (``.``), UCI and Weka (``?``).
"""
NEARLY: Final = 0.95
"""A column of which more than this share are numbers is not one of words, unless that is said."""
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_OTHERWISE: Final = re.compile(r"[,'_%\s\u2019$\u20ac\u00a3\u00a5\uffe5]")
"""What spreadsheets write between the digits of a number, before and behind it."""
_INFINITE: Final = re.compile(r"[+-]?(?:inf(?:inity)?|\u221e)", re.IGNORECASE)
"""What programs write for a number that is beyond all others."""


class Mixed(Exception):
    """Nearly all cells of a column are numbers, and some are not.

    Attributes:
        odd: Which of the words are none.
    """

    def __init__(self, odd: NDArray[np.bool_]) -> None:
        """Take which words are none."""
        super().__init__("nearly all cells are numbers")
        self.odd = odd


@dataclass(frozen=True, slots=True)
class Numerals:
    """The words of a column as numbers.

    Attributes:
        values: Of each word; NaN for a mark of a missing cell.
        marks: Cells that hold such a mark.
        widened: Cells that are numbers in full-width forms.
    """

    values: NDArray[np.float64]
    marks: int
    widened: int


def numerals(words: Sequence[str], counts: NDArray[np.int64]) -> Numerals | None:
    """Return the words of a column as numbers; None if it is a column of words.

    Args:
        words: The different words, none of them missing.
        counts: Cells that hold each.

    Raises:
        Mixed: More than :data:`NEARLY` of the cells are numbers, as a program or as a spreadsheet
            writes them (``1,000``), and some are not plain ones, or not finite (``inf``).
    """
    values = np.full(len(words), np.nan)
    odd, like = np.zeros(len(words), bool), np.zeros(len(words), bool)
    marks = widened = others = 0
    most = (1 - NEARLY) * int(counts.sum())
    for at, word in enumerate(words):
        count = int(counts[at])
        text = unicodedata.normalize("NFKC", word).strip()
        if text in MISSING_MARKS:
            marks += count
        elif _NUMBER.fullmatch(text) and math.isfinite(value := float(text)):
            values[at] = value
            like[at] = True
            widened += count if word.strip() != text else 0
        else:
            odd[at] = True
            bare = _OTHERWISE.sub("", text)
            like[at] = any(form.fullmatch(bare) for form in (_NUMBER, _INFINITE))
            others += 0 if like[at] else count
            if others > most:
                return None
    if not odd.any():
        return Numerals(values, marks, widened) if like.any() else None
    if int(counts[like].sum()) > NEARLY * (int(counts.sum()) - marks):
        raise Mixed(odd)
    return None
