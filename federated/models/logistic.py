"""Logistic regression, and the pieces of the log-loss that other models share. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_EDGE: Final = 1e-12
"""Scores keep this distance from 0 and 1, so that their logarithms stay finite."""


def sigmoid(logits: Floats) -> Floats:
    """Return probabilities strictly between 0 and 1; no logit overflows."""
    # tanh saturates where exp would overflow.
    return np.clip(0.5 * (1.0 + np.tanh(0.5 * logits)), _EDGE, 1.0 - _EDGE)


def log_loss(logits: Floats, y: Floats) -> Floats:
    """Return each row's log-loss."""
    return np.asarray(np.logaddexp(0.0, logits) - y * logits)


@dataclass(frozen=True, slots=True)
class LogisticModel:
    """Weights and a bias.

    Attributes:
        features: Number of inputs.
        l2: Penalty on the squared weights, halved; the bias is free.
    """

    features: int
    l2: float

    @property
    def shapes(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """Name and shape of each block of the flat vector, in order."""
        return (("weights", (self.features,)), ("bias", (1,)))

    def initial(self, seed: int) -> Floats:
        """Return zeros: the loss is convex, so the start does not matter."""
        del seed
        return np.zeros(self.features + 1)

    def loss_and_gradient(self, params: Floats, x: Floats, y: Floats) -> tuple[float, Floats]:
        """Return mean log-loss with its penalty, and the gradient."""
        weights, logits = params[:-1], self._logits(params, x)
        error = (sigmoid(logits) - y) / len(y)
        loss = float(log_loss(logits, y).mean() + 0.5 * self.l2 * (weights @ weights))
        return loss, np.concatenate([x.T @ error + self.l2 * weights, [error.sum()]])

    def row_gradients(self, params: Floats, x: Floats, y: Floats) -> Floats:
        """Return each row's own gradient of its log-loss: (rows, parameters)."""
        error = (self.row_scores(params, x) - y)[:, None]
        return np.concatenate([error * x, error], axis=1)

    @np.errstate(over="ignore", invalid="ignore")  # a caller judges what is not finite
    def row_scores(self, params: Floats, x: Floats) -> Floats:
        """Return :meth:`scores`, each the same whatever rows are beside it."""
        # Stacked: one small product a row. A product of matrices would mix how rows are rounded.
        return sigmoid(np.matmul(x[:, None, :], params[:-1, None])[:, 0, 0] + params[-1])

    @np.errstate(over="ignore", invalid="ignore")  # a caller judges what is not finite
    def scores(self, params: Floats, x: Floats) -> Floats:
        """Return the probability of the positive class of each row."""
        return sigmoid(self._logits(params, x))

    def _logits(self, params: Floats, x: Floats) -> Floats:
        return np.asarray(x @ params[:-1] + params[-1])
