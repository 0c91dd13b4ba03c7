"""A perceptron with hidden layers and one sigmoid output, by backpropagation. Pure."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from federated.models.logistic import log_loss, sigmoid
from federated.seeds import generator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class MlpModel:
    """Dense layers.

    Attributes:
        features: Number of inputs.
        hidden: Units of each hidden layer.
        activation: Of the hidden layers.
        l2: Penalty on the squared weights, halved; biases are free.
    """

    features: int
    hidden: tuple[int, ...]
    activation: Literal["relu", "tanh"]
    l2: float

    @property
    def shapes(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """Name and shape of each block of the flat vector, in order."""
        sizes = itertools.pairwise((self.features, *self.hidden, 1))
        return tuple(
            block
            for layer, (inputs, outputs) in enumerate(sizes, 1)
            for block in ((f"weights {layer}", (inputs, outputs)), (f"bias {layer}", (outputs,)))
        )

    def initial(self, seed: int) -> Floats:
        """Return weights by Glorot and Bengio (2010), uniform, and zero biases."""
        random = generator("initial", seed)
        blocks = []
        for _, shape in self.shapes:
            if len(shape) == 2:
                bound = np.sqrt(6.0 / (shape[0] + shape[1]))
                blocks.append(random.uniform(-bound, bound, shape).ravel())
            else:
                blocks.append(np.zeros(shape))
        return np.concatenate(blocks)

    def loss_and_gradient(self, params: Floats, x: Floats, y: Floats) -> tuple[float, Floats]:
        """Return mean log-loss with its penalty, and the gradient."""
        layers = list(self._layers(params))
        inputs, logits = self._forward(layers, x)
        loss = float(log_loss(logits, y).mean())
        error = ((sigmoid(logits) - y) / len(y))[:, None]
        gradients: list[Floats] = []
        for index in range(len(layers) - 1, -1, -1):
            weights, _ = layers[index]
            loss += 0.5 * self.l2 * float((weights**2).sum())
            gradients += [
                error.sum(axis=0),
                (inputs[index].T @ error + self.l2 * weights).ravel(),
            ]
            if index:
                error = (error @ weights.T) * self._slope(inputs[index])
        return loss, np.concatenate(gradients[::-1])

    def row_gradients(self, params: Floats, x: Floats, y: Floats) -> Floats:
        """Return each row's own gradient of its log-loss: (rows, parameters)."""
        layers = list(self._layers(params))
        inputs, logits = self._row_forward(layers, x)
        error = (sigmoid(logits) - y)[:, None, None]
        gradients: list[Floats] = []
        for index in range(len(layers) - 1, -1, -1):
            outer = inputs[index].transpose(0, 2, 1) * error
            gradients += [error[:, 0, :], outer.reshape(len(y), -1)]
            if index:
                transposed = np.ascontiguousarray(layers[index][0].T)
                error = np.matmul(error, transposed) * self._slope(inputs[index])
        return np.concatenate(gradients[::-1], axis=1)

    @np.errstate(over="ignore", invalid="ignore")  # a caller judges what is not finite
    def row_scores(self, params: Floats, x: Floats) -> Floats:
        """Return :meth:`scores`, each the same whatever rows are beside it."""
        return sigmoid(self._row_forward(list(self._layers(params)), x)[1])

    def _row_forward(
        self, layers: list[tuple[Floats, Floats]], x: Floats
    ) -> tuple[list[Floats], Floats]:
        """Return what goes into each layer, (rows, 1, units), and the logits."""
        inputs = [x[:, None, :]]  # stacked: each product is of one row
        for weights, bias in layers[:-1]:
            sums = np.matmul(inputs[-1], weights) + bias
            inputs.append(np.tanh(sums) if self.activation == "tanh" else np.maximum(sums, 0.0))
        weights, bias = layers[-1]
        return inputs, (np.matmul(inputs[-1], weights) + bias)[:, 0, 0]

    @np.errstate(over="ignore", invalid="ignore")  # a caller judges what is not finite
    def scores(self, params: Floats, x: Floats) -> Floats:
        """Return the probability of the positive class of each row."""
        return sigmoid(self._forward(list(self._layers(params)), x)[1])

    def _layers(self, params: Floats) -> Iterator[tuple[Floats, Floats]]:
        """Yield weights and bias of each layer, as views into the flat vector."""
        start = 0
        for inputs, outputs in itertools.pairwise((self.features, *self.hidden, 1)):
            middle, end = start + inputs * outputs, start + (inputs + 1) * outputs
            yield params[start:middle].reshape(inputs, outputs), params[middle:end]
            start = end

    def _forward(
        self, layers: list[tuple[Floats, Floats]], x: Floats
    ) -> tuple[list[Floats], Floats]:
        """Return what goes into each layer, and the logits."""
        inputs = [x]
        for weights, bias in layers[:-1]:
            sums = inputs[-1] @ weights + bias
            inputs.append(np.tanh(sums) if self.activation == "tanh" else np.maximum(sums, 0.0))
        weights, bias = layers[-1]
        return inputs, (inputs[-1] @ weights + bias)[:, 0]

    def _slope(self, output: Floats) -> Floats:
        """Return the activation's derivative, from its output."""
        if self.activation == "tanh":
            return np.asarray(1.0 - output**2)
        return (output > 0.0).astype(np.float64)
