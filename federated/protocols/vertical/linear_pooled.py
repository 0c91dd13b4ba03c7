"""Generalised linear models on one table, in floating point: what the shares are compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from federated.protocols.vertical.linear_terms import Target

    Floats = NDArray[np.float64]

MAX_STEPS: Final = 100
_LARGEST_SCORE: Final = 30.0


def fit(block: Floats, target: Target, l2: float) -> Floats:
    """Return the weights of the least penalised mean loss, by Newton's method.

    Args:
        block: The design matrix of the training rows.
        target: Family and labels.
        l2: Ridge penalty.
    """
    rows, width = block.shape
    weights = np.zeros(width)
    for _ in range(MAX_STEPS):
        mean, slope = _mean(block @ weights, target)
        gradient = block.T @ (mean - target.values) / rows + l2 * weights
        hessian = (block * slope[:, None]).T @ block / rows + max(l2, 1e-9) * np.eye(width)
        step = np.linalg.solve(hessian, gradient)
        length = float(np.abs(step).max())
        weights = weights - step * min(1.0, 1.0 / max(length, 1e-12))
        if length < 1e-9:
            break
    return weights


def excess(block: Floats, weights: Floats, target: Target, means: Floats, l2: float) -> float:
    """Return how far weights are from rest, as a share of what is gained over no weights.

    Gains are of the penalised mean loss. What is left to gain is half the square of the Newton
    decrement (Boyd and Vandenberghe, Convex Optimization, 2004, section 9.5.1).

    Args:
        block: The design matrix of the training rows.
        weights: Of its columns.
        target: Family and labels.
        means: Of the rows, on the training scale, as training computes them: where its curve is not
            the true one, it comes to rest all the same.
        l2: Ridge penalty.
    """
    rows, width = block.shape
    scores = block @ weights
    _, slope = _mean(scores, target)
    gradient = block.T @ (means - target.values) / rows + l2 * weights
    hessian = (block * slope[:, None]).T @ block / rows + max(l2, 1e-9) * np.eye(width)
    left = 0.5 * float(gradient @ np.linalg.solve(hessian, gradient))
    gained = _loss(np.zeros(rows), target) - _loss(scores, target)
    gained -= 0.5 * l2 * float(weights @ weights)
    return left / max(left + gained, 1e-12)


def _loss(scores: Floats, target: Target) -> float:
    """Return the mean loss on the training scale, up to what no score changes."""
    y = target.values
    if target.family == "linear":
        return float(((scores - y) ** 2).mean()) / 2
    z = np.clip(scores + target.offset, -_LARGEST_SCORE, _LARGEST_SCORE)
    if target.family == "logistic":
        return float((np.logaddexp(0.0, z) - y * z).mean())
    return float((np.exp(z) - y * z).mean())


def _mean(scores: Floats, target: Target) -> tuple[Floats, Floats]:
    """Return means of the training scale, and their slopes."""
    if target.family == "linear":
        return scores, np.ones(len(scores))
    z = np.clip(scores + target.offset, -_LARGEST_SCORE, _LARGEST_SCORE)
    if target.family == "logistic":
        mean = 1.0 / (1.0 + np.exp(-z))
        return mean, mean * (1 - mean)
    mean = np.exp(z)
    return mean, mean
