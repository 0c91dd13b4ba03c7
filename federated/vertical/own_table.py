"""A party's own table in a vertical study: what is read of it, and the rows that were aligned."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from federated.frames import read_frame, write_frame
from federated.vertical.work import Rows
from fusion.alignment.preparation import prepare
from fusion.alignment.rules import Decided, refused
from fusion.connectors.files import Reading, Table, read_table
from fusion.errors import DataInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from federated.vertical.study import VerticalStudy
    from fusion.alignment.preparation import Prepared

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]
    Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class OwnTable:
    """What a party brings.

    Attributes:
        prepared: Its keys, and the row of each.
        columns: Those that train, of all rows.
        labels: Of all rows, NaN where there is none; None at a feature party.
        digest: Of all of it, so that going on over another table is found out.
        notices: How columns were read; for the party alone.
    """

    prepared: Prepared
    columns: Mapping[str, NDArray[Any]]
    labels: Floats | None
    digest: str
    notices: tuple[str, ...]

    def places(self, keys: Sequence[str]) -> Ints:
        """Return the rows of keys of its own, in their order."""
        rows = dict(zip(self.prepared.keys, self.prepared.rows, strict=True))
        return np.array([rows[key] for key in keys], np.int64)

    def rows(self, places: Ints, training: Bools) -> Rows:
        """Return the aligned rows.

        Raises:
            DataInvalid: One of them has no label.
        """
        labels = None if self.labels is None else self.labels[places]
        if labels is not None and np.isnan(labels).any():
            raise DataInvalid(
                "The label needs a value in every common row.",
                hint="Leave rows without a label out of the table.",
            )
        table = {name: column[places] for name, column in self.columns.items()}
        return Rows(table, labels, training)


def own_table(study: VerticalStudy, me: str, path: Path) -> OwnTable:
    """Read what a study names of a party's table, and nothing else.

    Raises:
        DataInvalid: The file can't be read, lacks a column, or the label is none.
        AlignmentRefused: A-10: a key is on several rows, and the study refuses that. A-17: there
            is no key.
    """
    party = study.party(me)
    words = [party.identifier, *(party.words or ())]
    if party.label is not None and isinstance(party.positive, str):
        words.append(party.label)
    wanted = [party.identifier, *party.columns, *([party.label] if party.label else [])]
    table = read_table(path, wanted, text=words)
    identifiers = study.identifiers
    prepared = prepare(
        identifiers.kind,
        table[party.identifier].tolist(),
        duplicates=identifiers.duplicates,
        fold=identifiers.fold,
    )
    if not prepared.keys:
        empty = refused(Decided.EMPTY)
        empty.add_note(prepared.report.sentence())
        raise empty
    labels = None
    if party.label is not None:
        classes = study.model.kind not in {"linear", "poisson"}
        labels = _labels(table[party.label], party.label, party.positive, classes=classes)
    columns = {name: table[name] for name in party.columns}
    readings = {name: table.readings[name] for name in party.columns}
    digest = _digest(prepared, columns, labels)
    return OwnTable(prepared, columns, labels, digest, _notices(table, readings))


def _notices(table: Table, readings: Mapping[str, Reading]) -> tuple[str, ...]:
    """Return which columns are numbers and which words, and what was read otherwise."""
    kinds = {
        kind: [name for name, reading in readings.items() if reading.read_as == kind]
        for kind in ("numbers", "words")
    }
    told = (f"columns of {kind}: {', '.join(names)}" for kind, names in kinds.items() if names)
    return (*told, *table.notices())


def _labels(
    column: NDArray[Any], name: str, positive: str | float | None, *, classes: bool
) -> Floats:
    """Return labels as numbers: 1 for the positive class, 0 for the others, NaN for none."""
    if isinstance(positive, str):
        found = [np.nan if word is None else float(word == positive) for word in column]
        if 1.0 not in found:
            raise DataInvalid(f"No row of the label {name!r} is {positive!r}.")
        return np.array(found)
    if column.dtype == object:
        hint = 'Name the class that is 1: `positive = "..."`.'
        if not classes:
            hint = "Name a column of numbers, or take a model of classes, such as `logistic`."
        raise DataInvalid(f"The label {name!r} holds words.", hint=hint)
    numbers = np.asarray(column, np.float64)
    if positive is None:
        return numbers
    return np.where(np.isnan(numbers), np.nan, numbers == positive)


def _digest(prepared: Prepared, columns: Mapping[str, NDArray[Any]], labels: Floats | None) -> str:
    state = hashlib.sha256()
    for key, row in zip(prepared.keys, prepared.rows, strict=True):
        state.update(f"{row} {key}\n".encode())
    for name, column in columns.items():
        state.update(f"{name} {len(column)}\n".encode())
        if column.dtype == object:
            state.update("".join(f"{word!r}\n" for word in column).encode())
        else:
            state.update(np.asarray(column, "<f8").tobytes())
    if labels is not None:
        state.update(labels.astype("<f8").tobytes())
    return state.hexdigest()


def write_rows(table: OwnTable, places: Ints) -> bytes:
    """Return aligned rows as they are kept."""
    return write_frame({"table": table.digest}, {"rows": places.astype("<i8").tobytes()})


def read_rows(table: OwnTable, kept: bytes) -> Ints:
    """Return aligned rows that were kept.

    Raises:
        DataInvalid: They are of another table.
    """
    head, blobs = read_frame(kept)
    if head.get("table") != table.digest:
        raise DataInvalid(
            "The table has changed since its records were aligned.", hint="Start a new run."
        )
    data = blobs.get("rows", b"?")
    places = np.frombuffer(data[: len(data) // 8 * 8], "<i8").astype(np.int64)
    rows = len(table.prepared.rows)
    if (
        len(data) % 8
        or not 0 < len(places) <= rows
        or not set(places.tolist()) <= set(table.prepared.rows)
    ):
        raise DataInvalid("The rows that were kept are none.", hint="Start a new run.")
    return places
