"""The models a study can name. A new kind: one module here, one section in the study document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from federated.models.logistic import LogisticModel
from federated.models.mlp import MlpModel
from federated.study_document import Logistic, Mlp

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from federated.study import Study

    Floats = NDArray[np.float64]


class Model(Protocol):
    """A binary classifier whose parameters are one flat vector."""

    @property
    def shapes(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """Name and shape of each block of the flat vector, in order."""
        ...

    def initial(self, seed: int) -> Floats:
        """Return the parameters that training starts from."""
        ...

    def loss_and_gradient(self, params: Floats, x: Floats, y: Floats) -> tuple[float, Floats]:
        """Return mean log-loss with its penalty, and the gradient."""
        ...

    def row_gradients(self, params: Floats, x: Floats, y: Floats) -> Floats:
        """Return each row's own gradient of its log-loss, without penalty: (rows, parameters).

        A row's gradient is computed by calls that see no other row, so that it is the same to the
        last bit whatever rows are beside it.
        """
        ...

    def row_scores(self, params: Floats, x: Floats) -> Floats:
        """Return :meth:`scores`, each to the last bit the same whatever rows are beside it."""
        ...

    def scores(self, params: Floats, x: Floats) -> Floats:
        """Return the probability of the positive class of each row, strictly between 0 and 1."""
        ...


def build(study: Study, features: int) -> Model:
    """Return the study's model for this many features."""
    match study.model:
        case Logistic(l2=l2):
            return LogisticModel(features, l2)
        case Mlp(hidden=hidden, activation=activation, l2=l2):
            return MlpModel(features, hidden, activation, l2)
