"""Server optimisers follow their papers, and go on from a kept state as if never interrupted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federated.optimisers import make
from fusion.errors import MessageInvalid
from tests.federated_study.studies import study

if TYPE_CHECKING:
    from federated.study import Study

PLAIN = 'kind = "fedavg"'
KINDS = {
    "fedavg": 'kind = "fedavg"\nlearning_rate = 0.5',
    "fedavgm": 'kind = "fedavgm"\nlearning_rate = 0.5\nmomentum = 0.9',
    "fedadam": 'kind = "fedadam"\nlearning_rate = 0.1\nbeta1 = 0.9\nbeta2 = 0.99\ntau = 0.01',
}


def by(kind: str) -> Study:
    return study((PLAIN, KINDS[kind]))


def test_averaging_adds_the_mean() -> None:
    after = make(by("fedavg")).step(np.array([1.0, 2.0]), np.array([0.2, -0.4]))
    assert after == pytest.approx([1.1, 1.8])


def test_momentum_gathers() -> None:
    optimiser = make(by("fedavgm"))
    params = optimiser.step(np.zeros(1), np.ones(1))
    assert params == pytest.approx([0.5])
    # velocity 0.9 * 1 + 1 = 1.9
    assert optimiser.step(params, np.ones(1)) == pytest.approx([0.5 + 0.95])


def test_adam_follows_the_paper() -> None:
    optimiser = make(by("fedadam"))
    delta = np.array([0.3, -0.02])
    params = optimiser.step(np.zeros(2), delta)
    first, second = 0.1 * delta, 0.99 * 0.01**2 + 0.01 * delta**2
    assert params == pytest.approx(0.1 * first / (np.sqrt(second) + 0.01))
    first, second = 0.9 * first + 0.1 * delta, 0.99 * second + 0.01 * delta**2
    expected = params + 0.1 * first / (np.sqrt(second) + 0.01)
    assert optimiser.step(params, delta) == pytest.approx(expected)


@pytest.mark.parametrize("kind", KINDS)
@given(st.lists(st.floats(-2, 2), min_size=1, max_size=6), st.integers(0, 5))
def test_an_interruption_changes_nothing(kind: str, deltas: list[float], cut: int) -> None:
    whole, params = make(by(kind)), np.zeros(2)
    resumed, again = make(by(kind)), np.zeros(2)
    for index, delta in enumerate(deltas):
        mean = np.array([delta, -delta / 3])
        params = whole.step(params, mean)
        if index == cut:
            kept = {name: value.copy() for name, value in resumed.state().items()}
            resumed = make(by(kind))
            resumed.restore(kept)
        again = resumed.step(again, mean)
    assert (params == again).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_leaves_its_arguments_alone(kind: str) -> None:
    params, delta = np.ones(3), np.ones(3)
    optimiser = make(by(kind))
    optimiser.step(optimiser.step(params, delta), delta)
    assert (params == 1.0).all()
    assert (delta == 1.0).all()


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        ("fedavg", {"velocity": np.ones(2)}),
        ("fedavgm", {"first": np.ones(2)}),
        ("fedavgm", {"velocity": np.array([np.nan])}),
        ("fedadam", {"first": np.ones(2)}),
        ("fedadam", {"first": np.ones(2), "second": np.ones(3)}),
        ("fedadam", {"first": np.ones(2), "second": -np.ones(2)}),
    ],
)
def test_a_state_of_another_kind_is_refused(
    kind: str, state: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float64]]]
) -> None:
    with pytest.raises(MessageInvalid):
        make(by(kind)).restore(state)
