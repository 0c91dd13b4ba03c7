"""Which cell of its declared domain each row of a column falls into; what does not fit.

Row by row and by the declaration alone: where a row falls depends on no other row. That is what
makes a count of a cell change by at most one when a row comes or goes (``docs/claims/mock.md``).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np

from fusion.catalogue.descriptor import Categories, Dates, Range
from fusion.catalogue.identifiers import CHECKS, count_invalid
from fusion.errors import DataInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from fusion.catalogue.descriptor import Column, Descriptor

    Cells = NDArray[np.int64]

MISSING = -1
OUTSIDE = -2
_SAMPLED = 20_000
_DAY_CHARACTERS = 10


def size_of(domain: Range | Categories | Dates) -> int:
    """Return how many cells a domain has."""
    return len(domain.values) if isinstance(domain, Categories) else domain.bins


def words_of(values: NDArray[Any]) -> list[str | None]:
    """Return a column as words; a whole number as it is written."""
    if values.dtype == object:
        return [value if value is None else str(value) for value in values.tolist()]
    return [
        None if np.isnan(value) else str(int(value)) if value.is_integer() else repr(value)
        for value in values.tolist()
    ]


def cells_of(column: Column, values: NDArray[Any]) -> Cells:
    """Return the cell of each row: from 0, or :data:`MISSING`, or :data:`OUTSIDE`.

    Args:
        column: With its domain.
        values: float64 with NaN, or objects with ``None``, for a missing one.

    Raises:
        DataInvalid: It is declared to hold numbers, and holds words.
    """
    match column.domain:
        case Range():
            return _numbers(column.name, column.domain, values)
        case Categories():
            places = {word: at for at, word in enumerate(column.domain.values)}
            return _looked_up(values, places)
        case Dates():
            return _days(column.domain, values)
        case None:
            message = "the column has no domain"
            raise ValueError(message)


def _numbers(name: str, domain: Range, values: NDArray[Any]) -> Cells:
    if values.dtype == object:
        if any(value is not None for value in values.tolist()):
            raise DataInvalid(
                f"Column {name!r} is declared to hold numbers, and holds words.",
                hint="Declare categories, or repair the column.",
            )
        return np.full(len(values), MISSING, dtype=np.int64)
    found = np.full(len(values), MISSING, dtype=np.int64)
    there = np.isfinite(values)
    width = (domain.max - domain.min) + 10.0**-domain.decimals
    share = (values[there] - domain.min) / width
    cells = np.clip(np.floor(share * domain.bins), 0, domain.bins - 1).astype(np.int64)
    outside = (values[there] < domain.min) | (values[there] > domain.max)
    found[there] = np.where(outside, OUTSIDE, cells)
    return found


def _days(domain: Dates, values: NDArray[Any]) -> Cells:
    first = date.fromisoformat(domain.first).toordinal()
    count = date.fromisoformat(domain.last).toordinal() - first + 1
    places: dict[str, int] = {}
    words = words_of(values)
    for word in set(words) - {None}:
        try:
            at = date.fromisoformat(str(word)[:_DAY_CHARACTERS]).toordinal() - first
        except ValueError:
            continue
        if 0 <= at < count:
            places[str(word)] = at * domain.bins // count
    return _looked_up(values, places)


def _looked_up(values: NDArray[Any], places: Mapping[str, int]) -> Cells:
    return np.fromiter(
        (MISSING if word is None else places.get(word, OUTSIDE) for word in words_of(values)),
        dtype=np.int64,
        count=len(values),
    )


@dataclass(frozen=True, slots=True)
class Finding:
    """Something in a column that does not fit its description; for the owner's eyes only.

    Attributes:
        column: Its name.
        what: ``invalid``, ``outside`` or ``missing``.
        count: In how many of the rows looked at.
        looked_at: How many those were.
    """

    column: str
    what: str
    count: int
    looked_at: int


def findings(descriptor: Descriptor, table: Mapping[str, NDArray[Any]]) -> list[Finding]:
    """Look at rows spread evenly over a table for what its description does not say.

    Args:
        descriptor: What is said.
        table: Columns of one length; one that is not there is not looked at.

    Raises:
        DataInvalid: A column is declared to hold numbers, and holds words.
    """
    found: list[Finding] = []
    for column in descriptor.columns:
        if column.name not in table:
            continue
        values = table[column.name]
        if len(values) > _SAMPLED:
            values = values[np.linspace(0, len(values) - 1, _SAMPLED).astype(np.int64)]
        counts = {"invalid": _invalid(column, values), **_misfits(column, values)}
        found += [
            Finding(column.name, what, count, len(values))
            for what, count in counts.items()
            if count
        ]
    return found


def _invalid(column: Column, values: NDArray[Any]) -> int:
    if column.key is None or column.key.scheme not in CHECKS:
        return 0
    return count_invalid(column.key.scheme, [word for word in words_of(values) if word is not None])


def _misfits(column: Column, values: NDArray[Any]) -> dict[str, int]:
    if column.domain is not None:
        cells = cells_of(column, values)
        outside, missing = int((cells == OUTSIDE).sum()), int((cells == MISSING).sum())
    else:
        outside, missing = 0, sum(word is None for word in words_of(values))
    return {"outside": outside, "missing": 0 if column.nullable else missing}


def text_columns(columns: Sequence[Column]) -> list[str]:
    """Return which columns are read as words, even where a file's cells look like numbers."""
    return [
        column.name
        for column in columns
        if column.key is not None or isinstance(column.domain, Categories | Dates)
    ]
