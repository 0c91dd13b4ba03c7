"""What the server makes of the mean update. Pure.

FedAvg: McMahan et al., AISTATS 2017. FedAvgM: Hsu, Qi and Brown, arXiv:1909.06335 (2019).
FedAdam: Reddi et al., Adaptive Federated Optimization, ICLR 2021, algorithm 2 (no bias
correction; ``tau`` bounds the adaptivity). The mean update plays the part of the negative gradient.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from federated.study_document import FedAdam, FedAvg, FedAvgM
from fusion.errors import MessageInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from federated.study import Study

    Floats = NDArray[np.float64]


class Optimiser(Protocol):
    """Turns mean updates into parameters, and can be put down and taken up again."""

    def step(self, params: Floats, mean_delta: Floats) -> Floats:
        """Return the parameters after a round."""
        ...

    def state(self) -> dict[str, Floats]:
        """Return what the next step needs; empty before the first."""
        ...

    def restore(self, state: Mapping[str, Floats]) -> None:
        """Take up a state.

        Raises:
            MessageInvalid: It is not one of this optimiser.
        """
        ...


def make(study: Study) -> Optimiser:
    """Return the study's optimiser, before its first step."""
    match study.optimiser:
        case FedAvg():
            return _Average(study.optimiser)
        case FedAvgM():
            return _Momentum(study.optimiser)
        case FedAdam():
            return _Adam(study.optimiser)


@dataclass(slots=True)
class _Average:
    settings: FedAvg

    def step(self, params: Floats, mean_delta: Floats) -> Floats:
        """Return the parameters after a round."""
        return params + self.settings.learning_rate * mean_delta

    def state(self) -> dict[str, Floats]:
        """Return nothing: there is no memory."""
        return {}

    def restore(self, state: Mapping[str, Floats]) -> None:
        """Take up a state."""
        _checked(state, ())


@dataclass(slots=True)
class _Momentum:
    settings: FedAvgM
    memory: dict[str, Floats] = field(default_factory=dict)

    def step(self, params: Floats, mean_delta: Floats) -> Floats:
        """Return the parameters after a round."""
        before = self.memory.get("velocity", np.zeros_like(params))
        velocity = self.settings.momentum * before + mean_delta
        self.memory = {"velocity": velocity}
        return params + self.settings.learning_rate * velocity

    def state(self) -> dict[str, Floats]:
        """Return the velocity."""
        return dict(self.memory)

    def restore(self, state: Mapping[str, Floats]) -> None:
        """Take up a state."""
        self.memory = _checked(state, ("velocity",))


@dataclass(slots=True)
class _Adam:
    settings: FedAdam
    memory: dict[str, Floats] = field(default_factory=dict)

    def step(self, params: Floats, mean_delta: Floats) -> Floats:
        """Return the parameters after a round."""
        by = self.settings
        first = self.memory.get("first", np.zeros_like(params))
        # The paper starts the second moment at tau squared or more.
        second = self.memory.get("second", np.full_like(params, by.tau**2))
        first = by.beta1 * first + (1.0 - by.beta1) * mean_delta
        second = by.beta2 * second + (1.0 - by.beta2) * mean_delta**2
        self.memory = {"first": first, "second": second}
        return params + by.learning_rate * first / (np.sqrt(second) + by.tau)

    def state(self) -> dict[str, Floats]:
        """Return both moments."""
        return dict(self.memory)

    def restore(self, state: Mapping[str, Floats]) -> None:
        """Take up a state."""
        self.memory = _checked(state, ("first", "second"))
        if (self.memory.get("second", np.zeros(0)) < 0.0).any():
            raise MessageInvalid("An optimiser's state has a negative second moment.")


def _checked(state: Mapping[str, Floats], names: tuple[str, ...]) -> dict[str, Floats]:
    """Return a copy of a state.

    Raises:
        MessageInvalid: Other names, unequal sizes, or a number that is not finite.
    """
    if not state:
        return {}
    if set(state) != set(names):
        raise MessageInvalid("An optimiser's state is of another optimiser.")
    if len({value.shape for value in state.values()}) > 1:
        raise MessageInvalid("An optimiser's state has parts of unequal size.")
    if not all(np.isfinite(value).all() for value in state.values()):
        raise MessageInvalid("An optimiser's state is not finite.")
    return {name: np.array(value, dtype=np.float64) for name, value in state.items()}
