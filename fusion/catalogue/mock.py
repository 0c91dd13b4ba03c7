"""Made-up rows with the shape of a table: noised counts of each column by itself, and no row of it.

1. Of each entity one row counts (:func:`counted_rows`): an enterprise with a thousand rows weighs
   as much as one with a single row.
2. Each declared column gets an equal share of epsilon. Its counts, one a cell of its *declared*
   domain, get exact discrete Laplace noise for that share (sensitivity 1 in the L1 norm, since a
   row is in one cell of each column), and those below zero become zero.
3. Rows are drawn from the noised counts, each column for itself; within a cell all values are
   equally likely; identifiers are made up (:func:`fusion.catalogue.identifiers.made_up`).

Steps after the noise are post-processing. All randomness is the system's generator, all noise is
integers. What this protects, and what not, is on ``docs/claims/mock.md``.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from datetime import date
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fusion.catalogue.cells import MISSING, OUTSIDE, cells_of, size_of, words_of
from fusion.catalogue.descriptor import Categories, Dates, Range
from fusion.catalogue.identifiers import made_up
from fusion.crypto import rng
from fusion.crypto.discrete_laplace import discrete_laplace
from fusion.errors import CatalogueInvalid, InputInvalid, Refused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from fusion.catalogue.descriptor import Column, Descriptor, Entity

    Cell = str | int | None

MICRO: Final = 1_000_000
MAX_SAMPLE_ROWS: Final = 1_000_000
_UNITS: Final[tuple[Entity, ...]] = ("person", "household", "enterprise")


@dataclass(frozen=True, slots=True)
class Marginal:
    """What is published of a column, in effect: noised counts.

    Attributes:
        column: The column.
        counts: One a cell, none below zero; the last is for missing cells if they are allowed.
    """

    column: Column
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Made-up rows.

    Attributes:
        columns: Name to values, in the order of the table; decimals are texts.
        rows: How many.
        epsilon_micro: What the sample cost in all, in millionths.
        share_micro: What each declared column got of it.
        unit: What the privacy is about: an entity, or ``row``.
    """

    columns: Mapping[str, list[Cell]]
    rows: int
    epsilon_micro: int
    share_micro: int
    unit: str


def unit_column(descriptor: Descriptor) -> Column | None:
    """Return the column by whose values rows are one entity's, if there is one."""
    for entity in _UNITS:
        for column in descriptor.keys:
            if column.key is not None and column.key.entity == entity:
                return column
    return None


def declared(descriptor: Descriptor) -> list[Column]:
    """Return the columns that a sample spends epsilon on.

    Raises:
        Refused: The dataset is not one that samples are made up of.
        CatalogueInvalid: A column is neither an identifier nor of a declared domain.
    """
    if not descriptor.level.startswith("general") or "mock" not in descriptor.actions:
        raise Refused(
            f"No sample is made up of {descriptor.name}: it is {descriptor.level}, and its actions "
            f"are {', '.join(descriptor.actions) or 'none'}.",
            hint="List `mock` among its actions, which only general data may have.",
        )
    bare = [c.name for c in descriptor.columns if c.key is None and c.domain is None]
    if bare:
        raise CatalogueInvalid(
            f"No domain is declared for {', '.join(bare[:8])}{' …' if len(bare) > 8 else ''}.",
            hint="Declare a range, categories or dates: taken from the data they would leak.",
        )
    return [column for column in descriptor.columns if column.domain is not None]


def counted_rows(descriptor: Descriptor, table: Mapping[str, NDArray[Any]], rows: int) -> Any:  # noqa: ANN401 - an array of row numbers
    """Return the rows that count: the first of each entity, and each that names none."""
    column = unit_column(descriptor)
    if column is None:
        return np.arange(rows)
    seen: set[str] = set()
    kept: list[int] = []
    for at, word in enumerate(words_of(table[column.name])):
        if word is None:
            kept.append(at)
        elif word not in seen:
            seen.add(word)
            kept.append(at)
    return np.array(kept, dtype=np.int64)


def exact_counts(column: Column, values: NDArray[Any]) -> list[int]:
    """Return how many rows are in each cell. Protected: what leaves is :func:`noised`.

    A number outside of its range counts at the nearer end; a word or a day that is not declared
    counts as missing, or not at all where nothing may be missing.
    """
    if column.domain is None:
        message = "the column has no domain"
        raise ValueError(message)
    if isinstance(column.domain, Range) and values.dtype != object:
        values = np.clip(values, column.domain.min, column.domain.max)
    cells = cells_of(column, values)
    size = size_of(column.domain)
    counts: list[int] = np.bincount(cells[cells >= 0], minlength=size).tolist()
    if column.nullable:
        counts.append(int(((cells == MISSING) | (cells == OUTSIDE)).sum()))
    return counts


def noised(counts: Sequence[int], epsilon_micro: int) -> tuple[int, ...]:
    """Return counts with discrete Laplace noise for sensitivity 1; none is below zero."""
    return tuple(max(0, count + discrete_laplace(epsilon_micro, MICRO)) for count in counts)


def marginals(
    descriptor: Descriptor, table: Mapping[str, NDArray[Any]], rows: int, epsilon_micro: int
) -> list[Marginal]:
    """Return the noised counts of every declared column; together they cost ``epsilon_micro``.

    Raises:
        InputInvalid: Epsilon is too small to be shared.
        Refused: The dataset is not one that samples are made up of.
        CatalogueInvalid: A column is neither an identifier nor of a declared domain.
        DataInvalid: A column holds words, and is declared to hold numbers.
    """
    columns = declared(descriptor)
    share = share_of(columns, epsilon_micro)
    counted = counted_rows(descriptor, table, rows)
    return [
        Marginal(column, noised(exact_counts(column, table[column.name][counted]), share))
        for column in columns
    ]


def share_of(columns: Sequence[Column], epsilon_micro: int) -> int:
    """Return each column's share of epsilon, rounded down.

    Raises:
        InputInvalid: There would be none.
    """
    share = epsilon_micro // max(len(columns), 1)
    if share < 1:
        raise InputInvalid(
            "Epsilon is too small to be shared among the columns.",
            hint=f"Ask for at least {len(columns) / MICRO:.6f}.",
        )
    return share


def draw(descriptor: Descriptor, found: Sequence[Marginal], rows: int) -> dict[str, list[Cell]]:
    """Return made-up rows, from noised counts and nothing else."""
    by_name = {marginal.column.name: marginal for marginal in found}
    return {
        column.name: [made_up(column.key.scheme) for _ in range(rows)]
        if column.key is not None
        else _drawn(by_name[column.name], rows)
        for column in descriptor.columns
    }


def _drawn(marginal: Marginal, rows: int) -> list[Cell]:
    counts = marginal.counts
    # Noise can leave nothing: then every cell is as likely as another.
    ends = list(accumulate(counts if any(counts) else [1] * len(counts)))
    return [_value(marginal.column, bisect_right(ends, rng.below(ends[-1]))) for _ in range(rows)]


def _value(column: Column, cell: int) -> Cell:
    """Return a value of a cell, all being equally likely; the cell after the last is missing."""
    domain = column.domain
    if domain is None or cell == size_of(domain):
        return None
    match domain:
        case Categories(values=values):
            return values[cell]
        case Dates(first=first, last=last, bins=bins):
            start = date.fromisoformat(first).toordinal()
            days = date.fromisoformat(last).toordinal() - start + 1
            return date.fromordinal(start + _within(cell, days, bins)).isoformat()
        case Range(min=low, max=high, decimals=digits, bins=bins):
            scale = 10**digits
            at = low * scale + _within(cell, (high - low) * scale + 1, bins)
            return at if digits == 0 else _decimal(at, digits)


def _within(cell: int, size: int, bins: int) -> int:
    """Return a number below ``size`` of the cell, out of ``bins`` as equal as they can be."""
    start, end = -(-cell * size // bins), -(-(cell + 1) * size // bins)
    return start + rng.below(end - start)


def _decimal(value: int, digits: int) -> str:
    whole, rest = divmod(abs(value), 10**digits)
    return f"{'-' if value < 0 else ''}{whole}.{rest:0{digits}}"


def make_sample(
    descriptor: Descriptor,
    table: Mapping[str, NDArray[Any]],
    table_rows: int,
    *,
    rows: int,
    epsilon_micro: int,
) -> Sample:
    """Return made-up rows of a table.

    Args:
        descriptor: What is declared of it.
        table: Its columns.
        table_rows: Its rows.
        rows: How many to make up; not taken from the table.
        epsilon_micro: What it may cost in all, in millionths; it was charged before.

    Raises:
        InputInvalid: Too many rows, or too small an epsilon.
        Refused: The dataset is not one that samples are made up of.
        CatalogueInvalid: A column is neither an identifier nor of a declared domain.
        DataInvalid: A column holds words, and is declared to hold numbers.
    """
    if not 1 <= rows <= MAX_SAMPLE_ROWS:
        raise InputInvalid(f"A sample has 1 to {MAX_SAMPLE_ROWS} rows.")
    found = marginals(descriptor, table, table_rows, epsilon_micro)
    unit = unit_column(descriptor)
    return Sample(
        columns=draw(descriptor, found, rows),
        rows=rows,
        epsilon_micro=epsilon_micro,
        share_micro=share_of(declared(descriptor), epsilon_micro),
        unit="row" if unit is None or unit.key is None else unit.key.entity,
    )
