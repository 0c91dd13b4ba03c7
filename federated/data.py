"""From an organisation's table to what a model trains on, checked against the study.

A refusal names the column and the rule, never a cell and never a count of rows: it travels to the
hub, which could otherwise ask a study at a time how many rows have which category. The count is a
note of the error (PEP 678), for the organisation's own log. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from federated.seeds import generator
from fusion.crypto.hashing import digest
from fusion.errors import DataInvalid, MessageInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from federated.study import Study
    from federated.study_document import CategoryColumn, NumberColumn
    from fusion.connectors.files import Table

    Floats = NDArray[np.float64]

MIN_ROWS: Final = 10
MIN_PART: Final = MIN_ROWS // 2
"""Fewest rows that train, and that judge."""
MAX_FEATURE_BYTES: Final = 2 << 30
"""Most memory that an encoded table may take."""
"""A table with fewer rows is refused: what it would add to a sum is about single people."""

_SMALLEST_SCALE: Final = 1e-3
"""Least standard deviation, as a share of the declared range: what 24 bits resolve of moments."""

_LARGEST: Final = 1e15
_SMALLEST: Final = 1e-15


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What an organisation trains and judges on.

    Attributes:
        train_x: Rows by features: numbers first, as declared and clipped, then one column a
            category. Not standardised.
        train_y: Labels, 0 or 1.
        holdout_x: Rows that judge.
        holdout_y: Their labels.
        feature_names: One a feature.
        clipped_values: Cells outside of their declared range.
        notices: What the owner of the data should know; no cell is quoted.
    """

    train_x: Floats
    train_y: Floats
    holdout_x: Floats
    holdout_y: Floats
    feature_names: tuple[str, ...]
    clipped_values: int
    notices: tuple[str, ...]


def prepare(study: Study, table: Table) -> Prepared:
    """Check a table against a study, encode it and split it.

    Raises:
        DataInvalid: It is empty or too small, lacks a column, or has cells that do not fit.
    """
    if table.rows == 0:
        raise DataInvalid("The table is empty.", hint="Point the dataset at a file with rows.")
    # In a private run the number of rows, and of classes, is what the noise hides.
    if table.rows < MIN_ROWS and study.privacy is None:
        raise _refused(f"The table has fewer than {MIN_ROWS} rows.", "", table.rows)
    _check_present(study, table)
    labels = _labels(study, table)
    blocks = [_numbers(column, table) for column in study.numbers]
    clipped, notices = 0, table.notices()
    for column, block in zip(study.numbers, blocks, strict=True):
        outside = int(((block < column.min) | (block > column.max)).sum())
        if outside:
            clipped += outside
            notices.append(f"{outside} cells of column {column.name!r} were clipped to its range.")
            np.clip(block, column.min, column.max, out=block)
    if len(labels) * study.features * 8 > MAX_FEATURE_BYTES:
        raise DataInvalid(
            "The table, encoded as the study wants it, would not fit into memory.",
            hint="Declare fewer categories, or lower `max_rows`.",
        )
    numbers = np.stack(blocks, axis=1) if blocks else np.empty((table.rows, 0))
    codes = [_codes(column, table) for column in study.categories]
    if study.privacy is None:
        train, judge, more = _split(study, table.rows)
        notices += more
    else:
        train, judge = split_by_row(study, [*blocks, *codes, labels])
    return Prepared(
        train_x=_encode(study, numbers, codes, train),
        train_y=labels[train],
        holdout_x=_encode(study, numbers, codes, judge),
        holdout_y=labels[judge],
        feature_names=feature_names(study),
        clipped_values=clipped,
        notices=tuple(notices),
    )


def _refused(message: str, hint: str, rows: int, key: str = "") -> DataInvalid:
    """Return a refusal with a count that only the organisation itself gets to see."""
    error = DataInvalid(message, hint=hint, study_key=key)
    error.add_note(f"rows concerned: {rows}")
    return error


def feature_names(study: Study) -> tuple[str, ...]:
    """Return the name of each feature."""
    words = [f"{column.name}={word}" for column in study.categories for word in column.categories]
    return (*(column.name for column in study.numbers), *words)


def _check_present(study: Study, table: Table) -> None:
    for name in (*(column.name for column in study.columns), study.label):
        if name not in table:
            raise DataInvalid(
                f"The table has no column {name!r}.",
                hint="The study declares it; add it.",
                study_key=f"columns.{name}",
            )


def _numbers(column: NumberColumn, table: Table) -> Floats:
    """Return a copy of a column of numbers."""
    cells = table[column.name]
    if cells.dtype == object:
        raise DataInvalid(
            f"Column {column.name!r} holds words, but the study declares numbers.",
            hint="Declare it as a category, or repair the column.",
            study_key=f"columns.{column.name}",
        )
    missing = int((~np.isfinite(cells)).sum())
    if missing:
        raise _refused(
            f"Column {column.name!r} has cells that are missing, NaN or infinite.",
            "Fill or drop these rows; the study has no rule for them.",
            missing,
            f"columns.{column.name}",
        )
    return np.array(cells, dtype=np.float64)


def _codes(column: CategoryColumn, table: Table) -> NDArray[np.int64]:
    """Return each row's index into the declared categories."""
    index: dict[str | None, int] = {word: code for code, word in enumerate(column.categories)}
    words = _words(table[column.name])
    codes = np.fromiter((index.get(word, -1) for word in words), dtype=np.int64, count=len(words))
    undeclared = int((codes < 0).sum())
    if undeclared:
        raise _refused(
            f"Column {column.name!r} has cells that are none of the declared categories.",
            f"Map them to one of the {len(column.categories)} declared ones, or declare them.",
            undeclared,
            f"columns.{column.name}",
        )
    return codes


def _words(cells: NDArray[Any]) -> list[str | None]:
    """Return cells as words; whole numbers as they are written."""
    if cells.dtype == object:
        return [cell if cell is None else str(cell) for cell in cells.tolist()]
    return [
        None if np.isnan(cell) else str(int(cell)) if cell.is_integer() else repr(cell)
        for cell in cells.tolist()
    ]


def _labels(study: Study, table: Table) -> Floats:
    """Return 1.0 for the positive label, 0.0 for any other."""
    cells = table[study.label]
    if isinstance(study.positive, str):
        words = _words(cells)
        missing = sum(word is None for word in words)
        labels = np.array([float(word == study.positive) for word in words])
    else:
        if cells.dtype == object:
            raise DataInvalid(
                f"The label {study.label!r} holds words, but `positive` is a number.",
                hint="Write `positive` in quotes.",
                study_key="study.positive",
            )
        missing = int((~np.isfinite(cells)).sum())
        labels = (cells == study.positive).astype(np.float64)
    if missing:
        message = f"The label {study.label!r} is missing."
        raise _refused(message, "Drop these rows.", missing, "study.label")
    positives = int(labels.sum())
    if positives in (0, len(labels)) and study.privacy is None:
        raise _refused(
            f"The label {study.label!r} has one class only.",
            "Check `positive` in the study, and its spelling in the table.",
            len(labels),
            "study.positive",
        )
    return labels


def _split(study: Study, rows: int) -> tuple[NDArray[np.int64], NDArray[np.int64], list[str]]:
    """Return the rows that train and those that judge; the same on every call."""
    order = generator("split", study.seed, study.dataset).permutation(rows)
    # A part of one row would be one person's; the study may not make it so.
    held = min(max(MIN_PART, round(study.holdout * rows)), rows - MIN_PART)
    judge, train = order[:held], order[held:]
    notices = []
    # The secure sum counts rows in bits that `max_rows` bounds, so both sides are bounded.
    for name, part in (("training", train), ("hold-out", judge)):
        if len(part) > study.max_rows:
            notices.append(f"{study.max_rows} of {len(part)} {name} rows are used (`max_rows`).")
    return train[: study.max_rows], judge[: study.max_rows], notices


def split_by_row(
    study: Study, columns: list[NDArray[Any]]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows that train and those that judge, each decided by what is in that row alone.

    A row more or less moves no other row from one side to the other, which a shuffle of all rows
    would. Rows that are the same go the same way. All rows are used: `max_rows` cuts none.

    Args:
        study: Its seed and dataset decide, with the row.
        columns: The row's inputs and label, as numbers.
    """
    salt = int.from_bytes(digest("banyan/split/v1", f"{study.seed}:{study.dataset}".encode())[:8])
    mixed = np.full(len(columns[0]), salt, np.uint64)
    for column in columns:
        # Adding zero makes one zero of two.
        words = np.ascontiguousarray(column.astype(np.float64) + 0.0).view(np.uint64)
        mixed = _mix(mixed ^ words)
    judges = mixed < np.uint64(int(study.holdout * 2**64))
    return np.flatnonzero(~judges), np.flatnonzero(judges)


def _mix(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return well-mixed words: the finaliser of splitmix64 (Steele, Lea, Flood, OOPSLA 2014)."""
    words = words + np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def centred(study: Study, x_train: Floats) -> Floats:
    """Return the numbers among the features, scaled to [-1/2, 1/2] by their declared range."""
    low, span = _ranges(study)
    return np.clip((x_train[:, : len(low)] - low) / span, 0.0, 1.0) - 0.5


def _encode(
    study: Study, numbers: Floats, codes: list[NDArray[np.int64]], rows: NDArray[np.int64]
) -> Floats:
    """Return features of some rows: numbers, then one column a category."""
    x = np.zeros((len(rows), study.features))
    x[:, : numbers.shape[1]] = numbers[rows]
    start = numbers.shape[1]
    for column, code in zip(study.categories, codes, strict=True):
        x[np.arange(len(rows)), start + code[rows]] = 1.0
        start += len(column.categories)
    return x


# ---------------------------------------------------------------------- standardisation


def moments_names(study: Study) -> tuple[str, ...]:
    """Return the name of each coordinate of :func:`moments`."""
    names = [column.name for column in study.numbers]
    return (*(f"sum {n}" for n in names), *(f"squares {n}" for n in names), "rows")


def moments_size(study: Study) -> int:
    """Return the number of coordinates of :func:`moments`."""
    return 2 * len(study.numbers) + 1


def moments(study: Study, x_train: Floats) -> Floats:
    """Return what standardisation needs of an organisation, each coordinate in [0, 1].

    Sums and sums of squares of the numbers, scaled to [0, 1] by their declared range, and the
    number of rows; all divided by the public ``max_rows``.
    """
    low, span = _ranges(study)
    scaled = np.clip((x_train[:, : len(low)] - low) / span, 0.0, 1.0)
    sums = np.concatenate([scaled.sum(axis=0), (scaled**2).sum(axis=0), [len(x_train)]])
    return np.asarray(sums / study.max_rows, dtype=np.float64)


def _ranges(study: Study) -> tuple[Floats, Floats]:
    low = np.array([column.min for column in study.numbers], dtype=np.float64)
    high = np.array([column.max for column in study.numbers], dtype=np.float64)
    return low, high - low


@dataclass(frozen=True, slots=True, eq=False)
class Standardiser:
    """Shifts and scales the numbers among the features; categories stay 0 or 1.

    Attributes:
        mean: One a number.
        scale: One a number, positive.
    """

    mean: Floats
    scale: Floats

    @classmethod
    def from_sums(cls, study: Study, summed: Floats) -> Standardiser:
        """Return the standardisation of the union of all rows, from the sum of all moments.

        Raises:
            MessageInvalid: The sum has another size, or counts no row.
        """
        size = len(study.numbers)
        if summed.shape != (moments_size(study),) or not np.isfinite(summed).all():
            raise MessageInvalid("A sum of moments does not fit the study.")
        rows = float(summed[-1])
        if rows <= 0.0:
            raise MessageInvalid("A sum of moments counts no row.")
        low, span = _ranges(study)
        mean = np.clip(summed[:size] / rows, 0.0, 1.0)
        # Rounding in the secure sum can push a small variance below zero.
        variance = np.maximum(summed[size : 2 * size] / rows - mean**2, 0.0)
        scale = np.clip(np.sqrt(variance), _SMALLEST_SCALE, 1.0)
        return cls(low + mean * span, scale * span)

    def check(self, study: Study) -> None:
        """Refuse a standardisation that no table within the declared ranges can have led to.

        A hub that could choose it freely could make a round fail, or not, by one cell's value.

        Raises:
            MessageInvalid: It is of another size, a mean lies outside its column's range, or a
                scale is smaller or larger than any here.
        """
        low, span = _ranges(study)
        slack = 1e-9 * span
        fits = self.mean.shape == low.shape and bool(
            ((self.mean >= low - slack) & (self.mean <= low + span + slack)).all()
            and (self.scale >= _SMALLEST_SCALE * span - slack).all()
            and (self.scale <= span + slack).all()
        )
        if not fits:
            raise MessageInvalid("A standardisation does not fit the study's declared ranges.")

    def apply(self, x: Floats) -> Floats:
        """Return features with their numbers standardised.

        Raises:
            MessageInvalid: There are fewer features than this standardises.
        """
        size = len(self.mean)
        if x.shape[1] < size:
            raise MessageInvalid("A standardisation does not fit the study.")
        out = x.copy()
        out[:, :size] = (x[:, :size] - self.mean) / self.scale
        return out

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {"mean": self.mean.tolist(), "scale": self.scale.tolist()}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Standardiser:
        """Read what :meth:`to_json` wrote.

        Raises:
            MessageInvalid: Other keys, no numbers, or a scale that is not positive.
        """
        if set(document) != {"mean", "scale"}:
            raise MessageInvalid("A standardisation has a mean and a scale, nothing else.")
        mean, scale = _floats(document["mean"]), _floats(document["scale"])
        if len(mean) != len(scale):
            raise MessageInvalid("A standardisation has as many scales as means.")
        if (scale < _SMALLEST).any():
            raise MessageInvalid("A standardisation has a scale that is not positive.")
        return cls(mean, scale)


def _floats(value: object) -> Floats:
    """Read a list of numbers.

    Raises:
        MessageInvalid: It is something else, or holds a number beyond all use.
    """
    if not isinstance(value, list) or any(
        not isinstance(item, int | float)
        or isinstance(item, bool)
        or not -_LARGEST <= item <= _LARGEST
        for item in value
    ):
        raise MessageInvalid("A standardisation holds something that is no number in range.")
    return np.array(value, dtype=np.float64)
