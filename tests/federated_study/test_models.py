"""Gradients are right, scores are probabilities, shapes describe the flat vector."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federated.models.registry import build
from federated.seeds import generator
from tests.federated_study.studies import study

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from federated.models.registry import Model

FEATURES = 4
KINDS = {
    "logistic": 'kind = "logistic"\nl2 = 0.1',
    "tanh": 'kind = "mlp"\nhidden = [5, 3]\nactivation = "tanh"\nl2 = 0.1',
    "relu": 'kind = "mlp"\nhidden = [6]\nl2 = 0.1',
}


def model(kind: str) -> Model:
    return build(study(('kind = "logistic"', KINDS[kind])), FEATURES)


def size(of: Model) -> int:
    return sum(int(np.prod(shape)) for _, shape in of.shapes)


def rows(seed: int, count: int = 12) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    random = generator("test rows", seed)
    return random.normal(size=(count, FEATURES)), random.integers(0, 2, count).astype(float)


@pytest.mark.parametrize("kind", KINDS)
@given(seed=st.integers(0, 10**6))
def test_the_gradient_is_that_of_the_loss(kind: str, seed: int) -> None:
    tested = model(kind)
    x, y = rows(seed)
    params = generator("test params", seed).normal(size=size(tested))
    _, gradient = tested.loss_and_gradient(params, x, y)
    direction = generator("test direction", seed).normal(size=len(params))
    direction /= np.linalg.norm(direction)
    # Small enough that a kink of relu is met rarely, and then moves the loss by little.
    step = 1e-6
    up, _ = tested.loss_and_gradient(params + step * direction, x, y)
    down, _ = tested.loss_and_gradient(params - step * direction, x, y)
    assert (up - down) / (2 * step) == pytest.approx(float(gradient @ direction), abs=2e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_shapes_describe_the_flat_vector(kind: str) -> None:
    tested = model(kind)
    assert tested.initial(1).shape == (size(tested),)
    names = [name for name, _ in tested.shapes]
    assert len(set(names)) == len(names)
    _, gradient = tested.loss_and_gradient(tested.initial(1), *rows(1))
    assert gradient.shape == (size(tested),)


@pytest.mark.parametrize("kind", KINDS)
@given(seed=st.integers(0, 100), factor=st.sampled_from([0.0, 1.0, 1e3, 1e8]))
def test_scores_lie_strictly_between_0_and_1(kind: str, seed: int, factor: float) -> None:
    tested = model(kind)
    params = factor * generator("test params", seed).normal(size=size(tested))
    scores = tested.scores(params, rows(seed)[0])
    assert ((scores > 0.0) & (scores < 1.0)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_the_mean_log_loss_of_the_scores_and_the_penalty(kind: str) -> None:
    tested = model(kind)
    x, y = rows(3)
    params = generator("test params", 3).normal(size=size(tested))
    loss, _ = tested.loss_and_gradient(params, x, y)
    scores = tested.scores(params, x)
    plain = -np.mean(y * np.log(scores) + (1 - y) * np.log(1 - scores))
    weights = np.ones(0)
    start = 0
    for name, shape in tested.shapes:
        end = start + int(np.prod(shape))
        if "weights" in name:
            weights = np.concatenate([weights, params[start:end]])
        start = end
    assert loss == pytest.approx(plain + 0.05 * float(weights @ weights))


def test_a_perceptron_starts_from_its_seed() -> None:
    tested = model("relu")
    assert (tested.initial(1) == tested.initial(1)).all()
    assert (tested.initial(1) != tested.initial(2)).any()


def test_an_absurd_model_scores_without_a_warning() -> None:
    tested: Any = model("relu")
    scores = tested.scores(np.full(size(tested), 1e300), rows(1)[0])
    assert scores.shape == (12,)
