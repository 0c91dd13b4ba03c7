"""A table is checked, encoded and split as the study says; refusals quote no cell."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federated.data import (
    MIN_ROWS,
    Standardiser,
    feature_names,
    moments,
    moments_names,
    moments_size,
    prepare,
)
from fusion.connectors.files import Reading, Table
from fusion.errors import DataInvalid, MessageInvalid
from tests.federated_study.studies import study, table, words

if TYPE_CHECKING:
    from collections.abc import Sequence

SECRET = "secret-cell"  # what no message may quote


def without(name: str) -> Table:
    fitting = table()
    return Table({key: fitting[key] for key in fitting if key != name})


def with_cells(name: str, *cells: object) -> Table:
    """Return a table whose first cells of a column are these."""
    fitting = table()
    column: Any = fitting[name].copy()
    column[: len(cells)] = cells
    return Table({**fitting, name: column})


REFUSALS = [
    (table(0), "is empty"),
    (table(MIN_ROWS - 1), "fewer than 10 rows"),
    (without("town"), "no column 'town'"),
    (without("ill"), "no column 'ill'"),
    (with_cells("age", np.nan, np.nan), "'age' has cells that are missing, NaN or infinite"),
    (with_cells("height", np.inf, -np.inf, np.nan), "'height' has cells that are missing"),
    (table(age=words(*[SECRET] * 40)), "'age' holds words"),
    (
        with_cells("town", SECRET, SECRET),
        "'town' has cells that are none of the declared categories",
    ),
    (with_cells("town", None), "none of the declared"),
    (table(town=np.full(40, 5.0)), "none of the declared"),
    (with_cells("ill", None, None), "'ill' is missing"),
    (table(ill=words(*["no"] * 40)), "one class only"),
    (table(ill=words(*["yes"] * 40)), "one class only"),
    (table(ill=np.full(40, np.nan)), "'ill' is missing"),
]


@pytest.mark.parametrize(("given_table", "says"), REFUSALS)
def test_a_table_that_does_not_fit_is_refused(given_table: Table, says: str) -> None:
    with pytest.raises(DataInvalid) as caught:
        prepare(study(), given_table)
    assert says in caught.value.message
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("given_table", "rows"),
    [
        (with_cells("town", SECRET, SECRET), 2),
        (with_cells("age", np.nan, np.inf, np.nan), 3),
        (with_cells("ill", None), 1),
        (table(37, ill=words(*["no"] * 37)), 37),
        (table(MIN_ROWS - 1), 9),
    ],
)
def test_how_many_rows_is_for_the_organisation_itself(given_table: Table, rows: int) -> None:
    """What others get is the text of the error: with a count they could ask for any marginal."""
    with pytest.raises(DataInvalid) as caught:
        prepare(study(), given_table)
    assert caught.value.__notes__ == [f"rows concerned: {rows}"]
    assert str(rows) not in str(caught.value).replace("3 declared", "declared")


def test_a_label_of_words_for_a_number_is_refused() -> None:
    with pytest.raises(DataInvalid, match="`positive` is a number"):
        prepare(study(('"yes"', "1")), table())


@pytest.mark.parametrize("positive", ["1", '"1"', "1.0"])
def test_a_label_of_numbers_is_understood(positive: str) -> None:
    data = prepare(study(('"yes"', positive)), table(ill=np.arange(40.0) % 2))
    assert data.train_y.sum() + data.holdout_y.sum() == 20


def test_numbers_stand_for_the_words_they_are_written_as() -> None:
    by_number = study(('["a", "b", "c"]', '["0", "1", "1.5"]'))
    column = np.where(np.arange(40) % 2, 1.0, 0.0)
    column[0] = 1.5
    data = prepare(by_number, table(town=column))
    both = np.concatenate([data.train_x, data.holdout_x])
    assert both[:, 2:].sum(axis=0).tolist() == [19, 20, 1]


def test_numbers_come_first_then_one_column_a_category() -> None:
    data = prepare(study(), table())
    assert data.feature_names == ("age", "height", "town=a", "town=b", "town=c")
    assert feature_names(study()) == data.feature_names
    both = np.concatenate([data.train_x, data.holdout_x])
    assert (both[:, 2:].sum(axis=1) == 1).all()
    assert sorted(both[:, 0]) == sorted(table()["age"])
    assert data.train_x.shape == (30, 5)
    assert data.holdout_x.shape == (10, 5)
    assert not data.notices


def test_a_row_keeps_its_cells_and_its_label_together() -> None:
    rows = 60
    ages = np.arange(rows, dtype=float)
    towns = words(*("abc"[i % 3] for i in range(rows)))
    ill = words(*("yes" if i % 7 == 0 else "no" for i in range(rows)))
    data = prepare(study(), table(rows, age=ages, town=towns, ill=ill))
    x = np.concatenate([data.train_x, data.holdout_x])
    y = np.concatenate([data.train_y, data.holdout_y])
    assert sorted(x[:, 0]) == ages.tolist()
    for row, label in zip(x, y, strict=True):
        assert row[2 + int(row[0]) % 3] == 1.0
        assert label == (row[0] % 7 == 0)


def test_what_lies_outside_the_declared_range_is_clipped_and_counted() -> None:
    given_table = with_cells("age", -5.0, 1000.0, 101.0)
    data = prepare(study(), given_table)
    both = np.concatenate([data.train_x, data.holdout_x])
    assert data.clipped_values == 3
    assert (both[:, 0].min(), both[:, 0].max()) == (0.0, 100.0)
    assert any("3 cells of column 'age'" in notice for notice in data.notices)
    assert given_table["age"][1] == 1000.0  # the owner's own table is left as it was


def test_numbers_written_otherwise_are_told_to_the_owner() -> None:
    fitting = table()
    read = Table({**fitting}, {"age": Reading("numbers", widened=2), "town": Reading("words")})
    assert prepare(study(), read).notices == ("2 cells of column 'age' hold full-width numbers.",)


def test_the_split_is_the_same_every_time_and_another_for_another_seed() -> None:
    first, again = prepare(study(), table()), prepare(study(), table())
    other = prepare(study(("seed = 5", "seed = 6")), table())
    assert (first.train_x == again.train_x).all()
    assert (first.holdout_x != other.holdout_x).any()


def test_the_split_does_not_depend_on_what_the_rows_say() -> None:
    shifted = table(age=table()["age"] + 1.0)
    assert (
        prepare(study(), table()).holdout_x[:, 0] + 1.0 == prepare(study(), shifted).holdout_x[:, 0]
    ).all()


def test_rows_beyond_the_public_bound_are_left_out_with_a_notice() -> None:
    data = prepare(study(("max_rows = 1000", "max_rows = 12")), table(100))
    assert (len(data.train_y), len(data.holdout_y)) == (12, 12)
    assert data.notices == (
        "12 of 75 training rows are used (`max_rows`).",
        "12 of 25 hold-out rows are used (`max_rows`).",
    )


# ---------------------------------------------------------------------- standardisation


def parts_of(rows: int, pieces: int) -> Sequence[np.ndarray[Any, np.dtype[np.float64]]]:
    x = prepare(study(), table(rows)).train_x
    return np.array_split(x, pieces)


@given(rows=st.integers(MIN_ROWS, 400), pieces=st.integers(1, 4))
def test_summed_moments_standardise_as_all_rows_together_would(rows: int, pieces: int) -> None:
    small = study()
    parts = parts_of(rows, pieces)
    x = np.concatenate(parts)
    by = Standardiser.from_sums(small, np.sum([moments(small, part) for part in parts], axis=0))
    assert np.allclose(by.mean, x[:, :2].mean(axis=0))
    assert np.allclose(by.scale, x[:, :2].std(axis=0))
    applied = by.apply(x)
    assert np.allclose(applied[:, :2].mean(axis=0), 0.0, atol=1e-9)
    assert (applied[:, 2:] == x[:, 2:]).all()


def test_every_moment_lies_between_0_and_1() -> None:
    small = study(("max_rows = 1000", "max_rows = 30"))
    vector = moments(small, prepare(small, table()).train_x)
    assert vector.shape == (moments_size(small),)
    assert len(moments_names(small)) == moments_size(small)
    assert ((vector >= 0.0) & (vector <= 1.0)).all()
    assert vector[-1] == 1.0


@pytest.mark.parametrize("noise", [-1e-6, 0.0, 1e-6])
def test_a_constant_column_has_a_positive_finite_scale(noise: float) -> None:
    small = study()
    vector = moments(small, prepare(small, table(height=np.full(40, 1.7))).train_x)
    vector[2:4] += noise  # what rounding in the secure sum may do
    by = Standardiser.from_sums(small, vector)
    assert (by.scale > 0.0).all()
    assert np.isfinite(by.apply(np.ones((1, 5)))).all()


@pytest.mark.parametrize(
    "summed", [np.zeros(5), np.ones(4), np.full(5, np.nan), np.array([0, 0, 0, 0, -1.0])]
)
def test_sums_that_can_not_be_are_refused(summed: np.ndarray[Any, np.dtype[np.float64]]) -> None:
    with pytest.raises(MessageInvalid):
        Standardiser.from_sums(study(), summed)


def test_a_standardisation_survives_json() -> None:
    by = Standardiser(np.array([1.0, -2.5e-7]), np.array([0.1, 3.0]))
    got = Standardiser.from_json(json.loads(json.dumps(by.to_json())))
    assert (got.mean == by.mean).all()
    assert (got.scale == by.scale).all()


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"mean": [1.0]},
        {"mean": [1.0], "scale": [1.0], "more": 1},
        {"mean": [1.0], "scale": [1.0, 2.0]},
        {"mean": [1.0], "scale": [0.0]},
        {"mean": [1.0], "scale": [-1.0]},
        {"mean": [float("nan")], "scale": [1.0]},
        {"mean": [1e300], "scale": [1.0]},
        {"mean": ["1"], "scale": [1.0]},
        {"mean": [True], "scale": [1.0]},
        {"mean": 1.0, "scale": 1.0},
    ],
)
def test_a_document_that_is_no_standardisation_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(MessageInvalid):
        Standardiser.from_json(document)


def test_a_standardisation_of_another_study_is_refused() -> None:
    with pytest.raises(MessageInvalid):
        Standardiser(np.zeros(9), np.ones(9)).apply(np.ones((3, 5)))
