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
from fusion.connectors.files import Reading, Table, read_table
from fusion.connectors.headers import likeness
from fusion.connectors.schemas import read_schema
from fusion.errors import DataInvalid, InputInvalid

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from federated.vertical.joining import Alignment
    from fusion.services.alignment import Column

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]
    Columns = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Label:
    """What is learned.

    Attributes:
        column: Where it is.
        positive: Value that counts as 1, all others as 0; None if it is numbers already.
        classes: Whether the model is one of classes, so that words could be a label.
    """

    column: str
    positive: str | None = None
    classes: bool = True


@dataclass(frozen=True, slots=True)
class Joined:
    """Parties' columns in one order of rows.

    Attributes:
        names: The parties, the label party first.
        tables: Their columns: floats with NaN, or words with None.
        labels: The label party's label.
        training: Rows to train on; the others judge.
        alignment: How the rows were found.
        readings: How each party's columns were read from its file.
    """

    names: tuple[str, ...]
    tables: tuple[Columns, ...]
    labels: Floats
    training: Bools
    alignment: Alignment
    readings: tuple[Mapping[str, Reading], ...] = ()

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
    label: Label,
    *,
    words: Collection[str] = (),
    test_fraction: float,
    seed: int,
    tell: Callable[[str], None],
) -> Joined:
    """Read the parties' files and join them.

    Args:
        label_party: Name and file of the party that has the label.
        parties: Names and files of the others.
        identifier: Column that all have, and how it is read.
        label: Of the label party.
        words: Columns of any party that hold words, whatever their cells look like.
        test_fraction: Share of the aligned rows that judges, from 0 to below 1.
        seed: Names the split.
        tell: Told how far it is.

    Raises:
        AlignmentRefused: A-10, A-14, A-17; see :func:`federated.vertical.joining.align`.
        DataInvalid: A file can't be read or lacks a column.
        InputInvalid: Two parties have one name, nobody has a column of ``words``, or the label is
            the identifier.
    """
    everybody = [label_party, *parties]
    names = tuple(name for name, _ in everybody)
    if len(set(names)) != len(names):
        raise InputInvalid("Two parties have the same name.", hint="Write --party NAME=FILE.")
    own = [] if label.positive is None or _is_number(label.positive) else [label.column]
    raw = {
        name: _read(path, identifier.name, [*words, *(own if name == names[0] else ())])
        for name, path in everybody
    }
    for word in words:
        if not any(word in table for table in raw.values()):
            raise InputInvalid(f"No party has a column {word!r}.", hint="Check --words COLUMN.")
    _check_label(label_party[1], raw[names[0]], identifier.name, label.column)
    columns = {name: table[identifier.name].tolist() for name, table in raw.items()}
    alignment = align(columns, identifier, tell)
    tables = [
        {name: column[places] for name, column in table.items() if name != identifier.name}
        for table, places in zip(raw.values(), alignment.rows, strict=True)
    ]
    labels = _labels(tables[0].pop(label.column), label)
    training = training_rows(len(labels), test_fraction, seed)
    readings = tuple(
        {column: raw[name].readings[column] for column in table}
        for name, table in zip(names, tables, strict=True)
    )
    return Joined(names, tuple(tables), labels, training, alignment, readings)


def _check_label(path: Path, table: Table, identifier: str, label: str) -> None:
    """Refuse a label that is none.

    Raises:
        DataInvalid: The table has no such column.
        InputInvalid: It is the identifier.
    """
    if label == identifier:
        raise InputInvalid(
            f"The column {label!r} is the identifier, and can't be the label.",
            hint="Name the label with --label.",
        )
    if label not in table:
        msg = f"The data file {path.name} has no column {label!r} to be a label."
        lacking = DataInvalid(msg, hint="Name the label with --label.")
        lacking.add_note(likeness(label, list(table)))
        raise lacking


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _labels(column: NDArray[Any], label: Label) -> Floats:
    """Return the label as numbers.

    Raises:
        DataInvalid: Cells are none, or missing, or none is the positive value.
    """
    name, positive = label.column, label.positive
    if positive is not None:
        wanted: str | float = positive if column.dtype == object else float(positive)
        missing = sum(word is None or word != word for word in column)  # noqa: PLR0124 - NaN
        labels = np.array([float(word == wanted) for word in column])
        if not missing and not labels.any():
            raise DataInvalid(
                f"No common row of the label {name!r} is {positive!r}.",
                hint="Write --positive as the file does.",
            )
    elif column.dtype == object:
        hint = "Name the one that is 1: --positive VALUE."
        if not label.classes:
            hint = "Name a column of numbers, or a model of classes: --model logistic."
        raise DataInvalid(f"The label {name!r} holds words.", hint=hint)
    else:
        missing, labels = int(np.isnan(column).sum()), np.asarray(column, np.float64)
    if missing:
        raise DataInvalid(
            f"The label {name!r} needs a value in every common row.",
            hint="Leave rows without a label out of the file.",
        )
    return labels


def training_rows(count: int, test_fraction: float, seed: int) -> Bools:
    """Return which of so many rows train; the others judge."""
    training = np.ones(count, bool)
    judging = round(test_fraction * count)
    training[seeds.generator("vertical-split", seed).permutation(count)[:judging]] = False
    return training


def _read(path: Path, identifier: str, words: Collection[str]) -> Table:
    """Read all columns of a file; identifiers as words."""
    names = list(read_schema(path))
    if identifier not in names:
        msg = f"The data file {path.name} has no column {identifier!r}."
        lacking = DataInvalid(msg, hint="Name the identifier with --id.")
        lacking.add_note(likeness(identifier, names))
        raise lacking
    if not all(map(str.strip, names)):
        raise DataInvalid(
            f"The data file {path.name} has a column without a name.",
            hint="Name it in the header, or take it out; pandas: to_csv(..., index=False).",
        )
    try:
        return read_table(path, names, text=[identifier, *words])
    except DataInvalid as error:
        if error.study_key:
            column = error.study_key.removeprefix("columns.")
            error.add_note(f"if it holds words: --words {column!r}")
        raise


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
