"""What a row can change in a sum, exactly: clipping, independence of rows, the split."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from federated.data import split_by_row
from federated.models.logistic import LogisticModel
from federated.models.mlp import MlpModel
from federated.privacy.plan import Release, plan
from federated.privacy.rows import clipped, gradient_sum, histogram_sum, joined, moment_sum
from federated.seeds import generator
from federated.study import parse_study
from fusion.errors import DataInvalid
from tests.federation import STUDY

if TYPE_CHECKING:
    from federated.models.registry import Model

Floats = NDArray[np.float64]
RELEASE = plan(
    epsilon_micro=1_000_000, delta=1e-6, rounds=4, sharers=2, max_rows=512, value_bits=32
).releases["train"]
MODELS: dict[str, Model] = {
    "logistic": LogisticModel(9, 0.0),
    "mlp relu": MlpModel(9, (16, 5), "relu", 0.0),
    "mlp tanh": MlpModel(9, (130,), "tanh", 0.0),
}


def rows_for(model: Model, rows: int) -> tuple[Floats, Floats, Floats]:
    random = generator("rows")
    params = random.normal(0, 0.5, model.initial(1).size)
    x = random.normal(0, 2, (rows, 9))
    return params, x, (random.random(rows) < 0.4).astype(np.float64)


@given(
    seed=st.integers(0, 2**32),
    unit=st.sampled_from([1 << 10, 1 << 13, 1 << 16]),
    norm=st.floats(1e-6, 1e6),
    size=st.integers(1, 300),
    magnitude=st.floats(-300, 300),
)
def test_no_row_is_longer_than_the_unit(
    seed: int, unit: int, norm: float, size: int, magnitude: float
) -> None:
    vectors = generator("vectors", seed).normal(0, 1, (20, size)) * 10.0**magnitude
    whole = clipped(vectors, norm, unit)
    squares = [sum(int(value) ** 2 for value in row) for row in whole]
    assert max(squares) <= unit**2


def test_a_row_within_the_clip_is_only_rounded() -> None:
    vectors = generator("short").normal(0, 1, (50, 8))
    vectors /= np.linalg.norm(vectors, axis=1)[:, None] * 1.01
    whole = clipped(vectors, 1.0, 1 << 16)
    assert np.abs(whole / 2**16 - vectors).max() <= 0.5 / 2**16


def test_a_long_row_keeps_its_direction() -> None:
    vectors = generator("long").normal(0, 1000, (50, 8))
    whole = clipped(vectors, 1.0, 1 << 16) / 2**16
    lengths = np.linalg.norm(whole, axis=1)
    assert lengths.min() > 0.9999
    assert np.abs(whole - vectors / np.linalg.norm(vectors, axis=1)[:, None]).max() < 1e-4


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e308])
def test_a_row_that_is_no_number_counts_as_nothing_or_as_a_clip(bad: float) -> None:
    vectors = np.full((3, 5), 0.1)
    vectors[1, 2] = bad
    whole = clipped(vectors, 1.0, 1 << 12)
    assert sum(int(value) ** 2 for value in whole[1]) <= 1 << 24
    assert (whole[[0, 2]] == clipped(vectors[[0, 2]], 1.0, 1 << 12)).all()


@pytest.mark.parametrize("name", MODELS)
def test_gradients_of_rows_average_to_the_gradient(name: str) -> None:
    model = MODELS[name]
    params, x, y = rows_for(model, 60)
    _, gradient = model.loss_and_gradient(params, x, y)
    assert np.allclose(model.row_gradients(params, x, y).mean(axis=0), gradient, atol=1e-12)
    assert np.allclose(model.row_scores(params, x), model.scores(params, x), atol=1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_a_row_is_the_same_to_the_last_bit_whatever_rows_are_beside_it(name: str) -> None:
    """Or one row more could round another row's part up."""
    model = MODELS[name]
    params, x, y = rows_for(model, 203)
    whole, scores = model.row_gradients(params, x, y), model.row_scores(params, x)
    some = generator("some").permutation(203)[:57]
    assert (model.row_gradients(params, x[some], y[some]) == whole[some]).all()
    assert (model.row_scores(params, x[some]) == scores[some]).all()
    for index in range(0, 203, 7):
        one = slice(index, index + 1)
        assert (model.row_gradients(params, x[one], y[one])[0] == whole[index]).all()
        assert model.row_scores(params, x[one])[0] == scores[index]


@pytest.mark.parametrize("name", MODELS)
def test_a_row_changes_a_training_sum_by_at_most_the_sensitivity(name: str) -> None:
    model = MODELS[name]
    params, x, y = rows_for(model, 80)
    x[::9] *= 1e6  # outliers

    def total(keep: NDArray[np.intp]) -> NDArray[np.int64]:
        parts = gradient_sum(
            model, params, (x[keep], y[keep]), clip_norm=0.7, release=RELEASE, watch=lambda: None
        )
        return joined(parts, {"update": params.size, "rows": 1})

    everyone = np.arange(80)
    for left_out in range(0, 80, 3):
        difference = total(everyone) - total(np.delete(everyone, left_out))
        assert sum(int(value) ** 2 for value in difference) <= RELEASE.sensitivity_squared
        assert difference[-1] == RELEASE.weight


def test_a_row_changes_the_moments_and_the_histogram_by_at_most_the_sensitivity() -> None:
    centred = generator("centred").uniform(-0.5, 0.5, (40, 6))
    centred[0] = 0.5
    sizes = {"moments": 12, "rows": 1}
    difference = joined(moment_sum(centred, RELEASE), sizes) - joined(
        moment_sum(centred[1:], RELEASE), sizes
    )
    assert sum(int(value) ** 2 for value in difference) <= RELEASE.sensitivity_squared
    one = np.zeros(16)
    one[3] = 1.0
    assert histogram_sum(one, RELEASE)["histogram"].tolist() == [
        RELEASE.unit if index == 3 else 0 for index in range(16)
    ]
    assert list(moment_sum(np.empty((4, 0)), RELEASE)) == ["rows"]


def test_no_rows_make_a_sum_of_zeros() -> None:
    model = MODELS["logistic"]
    parts = gradient_sum(
        model, np.zeros(10), (np.empty((0, 9)), np.empty(0)),
        clip_norm=1.0, release=RELEASE, watch=lambda: None,
    )  # fmt: skip
    assert not parts["update"].any()
    assert parts["rows"].tolist() == [0]


def test_parts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataInvalid):
        joined({"update": np.zeros(3, np.int64)}, {"update": 4})
    with pytest.raises(DataInvalid):
        joined({"update": np.zeros(3, np.int64), "loss": np.zeros(1, np.int64)}, {"update": 3})


def test_where_a_row_goes_depends_on_the_row_alone() -> None:
    study = parse_study(STUDY, "study.toml")
    random = generator("table")
    columns = [random.normal(0, 1, 4000), random.integers(0, 5, 4000), random.integers(0, 2, 4000)]
    train, judge = split_by_row(study, columns)
    assert sorted([*train, *judge]) == list(range(4000))
    assert abs(len(judge) / 4000 - study.holdout) < 0.04
    kept = np.sort(random.permutation(4000)[:1500])
    fewer, _ = split_by_row(study, [column[kept] for column in columns])
    assert (kept[fewer] == np.intersect1d(kept, train)).all()
    other, _ = split_by_row(replace(study, seed=8), columns)
    assert list(other) != list(train)


def test_both_zeros_go_the_same_way() -> None:
    study = parse_study(STUDY, "study.toml")
    sides = [len(split_by_row(study, [np.array([zero])])[0]) for zero in (0.0, -0.0)]
    assert sides[0] == sides[1]


def test_the_release_is_one_of_whole_numbers() -> None:
    assert isinstance(RELEASE, Release)
    assert all(isinstance(getattr(RELEASE, name), int) for name in ("unit", "weight", "sigma"))
