"""Local training repeats exactly, learns, and says when it diverged."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federated.data import Standardiser, moments, prepare
from federated.models.registry import build
from federated.seeds import generator
from federated.training import DIVERGED, batches, capped_loss, train_local
from tests.federated_study.studies import study, table

if TYPE_CHECKING:
    from federated.training import LocalUpdate


def train(*changes: tuple[str, str], round_number: int = 1, org: str = "north") -> LocalUpdate:
    small = study(*changes)
    data = prepare(small, table(100))
    x = Standardiser.from_sums(small, moments(small, data.train_x)).apply(data.train_x)
    model = build(small, small.features)
    params = model.initial(small.seed)
    return train_local(small, model, params, x, data.train_y, round_number=round_number, org=org)


def test_training_repeats_exactly() -> None:
    assert (train().delta == train().delta).all()


def test_rounds_and_organisations_draw_other_batches() -> None:
    assert (train().delta != train(round_number=2).delta).any()
    assert (train().delta != train(org="south").delta).any()


def test_training_lowers_the_loss() -> None:
    small = study(("steps = 4", "steps = 50"))
    data = prepare(small, table(100))
    model = build(small, small.features)
    x = Standardiser.from_sums(small, moments(small, data.train_x)).apply(data.train_x)
    start = model.initial(0)
    update = train_local(small, model, start, x, data.train_y, round_number=1, org="north")
    before, _ = model.loss_and_gradient(start, x, data.train_y)
    after, _ = model.loss_and_gradient(start + update.delta, x, data.train_y)
    assert after < before
    assert update.rows == 75


def test_the_loss_is_that_of_the_incoming_model() -> None:
    update = train()
    assert update.loss_sum == pytest.approx(75 * math.log(2))  # zeros score one half


def test_a_proximal_term_keeps_the_update_small() -> None:
    free = train(("steps = 4", "steps = 60"))
    held = train(("steps = 4", "steps = 60\nproximal = 5.0"))
    assert np.linalg.norm(held.delta) < 0.7 * np.linalg.norm(free.delta)


@pytest.mark.filterwarnings("error")
def test_an_update_that_diverged_is_a_number_beyond_every_clip() -> None:
    huge = ('kind = "logistic"', 'kind = "mlp"\nhidden = [8, 8, 8]\nl2 = 1000.0')
    rates = ("learning_rate = 0.1", "learning_rate = 100.0")
    delta = train(huge, rates, ("steps = 4", "steps = 400")).delta
    assert np.isfinite(delta).all()
    assert np.abs(delta).max() >= DIVERGED


@given(rows=st.integers(1, 50), batch=st.integers(1, 60), steps=st.integers(1, 30))
def test_batches_are_cut_from_shuffled_passes(rows: int, batch: int, steps: int) -> None:
    small = study(("batch = 8", f"batch = {batch}"), ("steps = 4", f"steps = {steps}"))
    drawn = list(batches(small, rows, 1, "north"))
    size = min(batch, rows)
    assert [len(each) for each in drawn] == [size] * steps
    a_pass = np.concatenate(drawn[: rows // size])
    assert len(set(a_pass.tolist())) == len(a_pass[: len(drawn) * size])
    assert all(each.min() >= 0 and each.max() < rows for each in drawn)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=30))
def test_the_capped_loss_is_bounded(pairs: list[tuple[float, bool]]) -> None:
    scores = np.array([score for score, _ in pairs])
    y = np.array([float(label) for _, label in pairs])
    assert 0.0 <= capped_loss(scores, y) <= 16.0 * len(pairs)


def test_seeds_are_named_by_words_in_order() -> None:
    def first(*names: str | int) -> float:
        return float(generator(*names).random())

    assert first("a", "b") == first("a", "b")
    drawn = {
        first("a", "b"),
        first("b", "a"),
        first("ab"),
        first("a", "b", 1),
        first("a", "b", "1"),
    }
    assert len(drawn) == 5
    # The value itself: a change of it would make every study train differently.
    assert first("split", 7, "adult") == 0.9974396707370858
