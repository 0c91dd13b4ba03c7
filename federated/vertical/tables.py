"""Tables of several parties: read, aligned by identifier, split into rows to train and to judge.

The order of rows comes from :mod:`federated.vertical.joining`, which shows nobody the others'
identifiers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from federated import seeds
from federated.vertical.joining import align
from fusion.connectors.files import read_table
from fusion.connectors.schemas import read_schema
from fusion.errors import DataInvalid, InputInvalid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from federated.vertical.joining import Alignment
    from fusion.services.alignment import Column

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]
    Columns = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Joined:
    """Parties' columns in one order of rows.

    Attributes:
        names: The parties, the label party first.
        tables: Their columns: floats with NaN, or words with None.
        labels: The label party's label.
        training: Rows to train on; the others judge.
        alignment: How the rows were found.
    """

    names: tuple[str, ...]
    tables: tuple[Columns, ...]
    labels: Floats
    training: Bools
    alignment: Alignment

    def pooled(self, parties: int) -> Columns:
        """Return the columns of the first parties side by side."""
        return {
            f"{number}.{column}": values
            for number, table in enumerate(self.tables[:parties])
            for column, values in table.items()
        }


def read(
    label_party: tuple[str, Path],
    parties: Sequence[tuple[str, Path]],
    identifier: Column,
    label: str,
    *,
    test_fraction: float,
    seed: int,
    tell: Callable[[str], None],
) -> Joined:
    """Read the parties' files and join them.

    Args:
        label_party: Name and file of the party that has the label.
        parties: Names and files of the others.
        identifier: Column that all have, and how it is read.
        label: Column of the label party.
        test_fraction: Share of the aligned rows that judges, from 0 to below 1.
        seed: Names the split.
        tell: Told how far it is.

    Raises:
        AlignmentRefused: A-10, A-14, A-17; see :func:`federated.vertical.joining.align`.
        DataInvalid: A file can't be read or lacks a column.
        InputInvalid: Two parties have one name.
    """
    everybody = [label_party, *parties]
    names = tuple(name for name, _ in everybody)
    if len(set(names)) != len(names):
        raise InputInvalid("Two parties have the same name.", hint="Write --party NAME=FILE.")
    raw = {name: _read(path, identifier.name) for name, path in everybody}
    if label not in raw[names[0]] or label == identifier.name:
        msg = f"The data file {label_party[1].name} has no column {label!r} to be a label."
        raise DataInvalid(msg, hint="Name the label with --label.")
    columns = {name: table[identifier.name].tolist() for name, table in raw.items()}
    alignment = align(columns, identifier, tell)
    tables = [
        {name: column[places] for name, column in table.items() if name != identifier.name}
        for table, places in zip(raw.values(), alignment.rows, strict=True)
    ]
    labels = tables[0].pop(label)
    if labels.dtype == object or np.isnan(labels).any():
        raise DataInvalid(
            "The label needs a number in every row.", hint="Write 0 and 1 for a class."
        )
    training = training_rows(len(labels), test_fraction, seed)
    return Joined(names, tuple(tables), labels, training, alignment)


def training_rows(count: int, test_fraction: float, seed: int) -> Bools:
    """Return which of so many rows train; the others judge."""
    training = np.ones(count, bool)
    judging = round(test_fraction * count)
    training[seeds.generator("vertical-split", seed).permutation(count)[:judging]] = False
    return training


def _read(path: Path, identifier: str) -> Columns:
    """Read all columns of a file; identifiers as words."""
    names = list(read_schema(path))
    if identifier not in names:
        msg = f"The data file {path.name} has no column {identifier!r}."
        raise DataInvalid(msg, hint="Name the identifier with --id.")
    return read_table(path, names, text=[identifier])


def words_of(table: Columns, training: Bools) -> dict[str, tuple[str, ...]]:
    """Return the words of each column of words, by how often they are among training rows.

    Their places are their codes for trees: the most frequent word is 0.
    """
    found: dict[str, tuple[str, ...]] = {}
    for name, column in table.items():
        if column.dtype == object:
            known = [word for word in column[training] if word is not None]
            words, counts = np.unique(np.array(known, dtype=str), return_counts=True)
            order = np.argsort(-counts, kind="stable")
            found[name] = tuple(str(words[i]) for i in order)
    return found


def codes_of(words: Sequence[str], column: NDArray[Any]) -> Floats:
    """Return a column of words as codes; None stays missing, and so does another word."""
    codes = {word: float(rank) for rank, word in enumerate(words)}
    return np.array([codes.get(str(w), np.nan) if w is not None else np.nan for w in column])


def coded(table: Columns, training: Bools) -> dict[str, Floats]:
    """Return columns as numbers for trees: words by how often they are among training rows."""
    words = words_of(table, training)
    return {
        name: codes_of(words[name], column) if name in words else np.asarray(column, np.float64)
        for name, column in table.items()
    }
