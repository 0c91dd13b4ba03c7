"""Tables of several parties: read, aligned by identifier, split into rows to train and to judge.

:func:`align` is the seam for private alignment: it joins in the clear, which is all that a
simulation in one process needs. Between organisations the order of rows comes from an alignment
that shows nobody the other's records.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from federated import seeds
from fusion.connectors.files import read_table
from fusion.connectors.schemas import read_schema
from fusion.errors import DataInvalid, InputInvalid

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]
    Columns = Mapping[str, NDArray[Any]]

MIN_ROWS = 20


@dataclass(frozen=True, slots=True)
class Joined:
    """Parties' columns in one order of rows.

    Attributes:
        names: The parties, the label party first.
        tables: Their columns: floats with NaN, or words with None.
        labels: The label party's label.
        training: Rows to train on; the others judge.
    """

    names: tuple[str, ...]
    tables: tuple[Columns, ...]
    labels: Floats
    training: Bools

    def pooled(self, parties: int) -> Columns:
        """Return the columns of the first parties side by side."""
        return {
            f"{number}.{column}": values
            for number, table in enumerate(self.tables[:parties])
            for column, values in table.items()
        }


def normalised(cell: object) -> str | None:
    """Return an identifier as it is compared: NFKC, without spaces and hyphens, upper case."""
    if cell is None:
        return None
    text = unicodedata.normalize("NFKC", str(cell)).upper()
    kept = "".join(c for c in text if unicodedata.category(c) not in {"Zs", "Cc", "Pd"})
    return kept or None


def align(identifiers: Sequence[Iterable[object]]) -> list[Ints]:
    """Return for each party the rows of the records that all have, in one order.

    An identifier that a party has twice is left out, as one that can't be attributed.

    Args:
        identifiers: Each party's, a row each.
    """
    found = []
    for cells in identifiers:
        places: dict[str, int] = {}
        twice: set[str] = set()
        for row, cell in enumerate(cells):
            name = normalised(cell)
            if name is None:
                continue
            if name in places:
                twice.add(name)
            places[name] = row
        found.append({name: row for name, row in places.items() if name not in twice})
    common = sorted(set.intersection(*(set(places) for places in found)))
    return [np.array([places[name] for name in common], np.int64) for places in found]


def read(
    label_party: tuple[str, Path],
    parties: Sequence[tuple[str, Path]],
    identifier: str,
    label: str,
    test_fraction: float,
    seed: int,
) -> Joined:
    """Read the parties' files and join them.

    Args:
        label_party: Name and file of the party that has the label.
        parties: Names and files of the others.
        identifier: Column that all have.
        label: Column of the label party.
        test_fraction: Share of the aligned rows that judges.
        seed: Names the split.

    Raises:
        DataInvalid: A file can't be read or lacks a column, or too few records are in all.
        InputInvalid: The share is none, or two parties have one name.
    """
    if not 0 <= test_fraction < 1:
        raise InputInvalid("The share of rows that judge is from 0 to below 1.")
    everybody = [label_party, *parties]
    names = tuple(name for name, _ in everybody)
    if len(set(names)) != len(names):
        raise InputInvalid("Two parties have the same name.", hint="Write --party NAME=FILE.")
    raw = [_read(path, identifier) for _, path in everybody]
    rows = align([table[identifier] for table in raw])
    if len(rows[0]) < MIN_ROWS:
        msg = f"Fewer than {MIN_ROWS} records are at all parties."
        raise DataInvalid(msg, hint="Check that the identifier column has the same identifiers.")
    tables = [
        {name: column[places] for name, column in table.items() if name != identifier}
        for table, places in zip(raw, rows, strict=True)
    ]
    if label not in tables[0]:
        msg = f"The data file {label_party[1].name} has no column {label!r}."
        raise DataInvalid(msg, hint="Name the label with --label.")
    labels = tables[0].pop(label)
    if labels.dtype == object or np.isnan(labels).any():
        raise DataInvalid(
            "The label needs a number in every row.", hint="Write 0 and 1 for a class."
        )
    count = len(labels)
    training = np.ones(count, bool)
    judging = round(test_fraction * count)
    training[seeds.generator("vertical-split", seed).permutation(count)[:judging]] = False
    return Joined(names, tuple(tables), labels, training)


def _read(path: Path, identifier: str) -> Columns:
    """Read all columns of a file; identifiers as words."""
    names = list(read_schema(path))
    if identifier not in names:
        msg = f"The data file {path.name} has no column {identifier!r}."
        raise DataInvalid(msg, hint="Name the identifier with --id.")
    return read_table(path, names, text=[identifier])


def coded(table: Columns, training: Bools) -> dict[str, Floats]:
    """Return columns as numbers for trees: words by how often they are among training rows.

    The most frequent word is 0; None stays missing, and so does a word that no training row has.
    """
    found: dict[str, Floats] = {}
    for name, column in table.items():
        if column.dtype != object:
            found[name] = np.asarray(column, np.float64)
            continue
        known = [word for word in column[training] if word is not None]
        words, counts = np.unique(np.array(known, dtype=str), return_counts=True)
        order = np.argsort(-counts, kind="stable")
        codes = {str(words[i]): float(rank) for rank, i in enumerate(order)}
        found[name] = np.array(
            [codes.get(str(w), np.nan) if w is not None else np.nan for w in column]
        )
    return found
