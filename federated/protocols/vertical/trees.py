"""How a tree grows out of sums: gains, limits, leaves, and the one order that settles ties.

Gains are those of XGBoost (Chen and Guestrin, KDD 2016, equations 5 to 7), monotone limits as in
its documentation: a split on a constrained feature bounds both sides by the mean of their weights.
Each number is computed from exact integers by the same operations in the same order, whoever asks,
so equal sums have equal gains to the last bit. Among equal gains the party named first wins, then
the least monotone direction (-1, 0, 1), then the candidate that is first in canonical order.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from federated.protocols.vertical.gradients import ONE, Goss, Objective
from fusion.errors import InputInvalid

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]

MAX_DEPTH: Final = 10
MAX_TREES: Final = 10_000
ROOT: Final = 1
"""Nodes are numbered as in a heap: the children of i are 2i, to the left, and 2i + 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """What all parties agree on before the first tree.

    Attributes:
        objective: The loss.
        trees: At most so many.
        depth: Levels of splits.
        learning_rate: What a leaf's weight is multiplied with.
        l2: Lambda, added to a node's hessian.
        gamma: What a split has to gain at least.
        min_leaf: Fewest rows of the tree's sample on each side of a split.
        alone_trees: First trees that the label party grows on its own columns. Before them scores
            are all the same, so that gradients *are* labels.
        goss: Sampling of rows, if any.
        patience: Trees without a better loss on held-out rows before training stops; 0 for never.
        seed: The label party's, for sampling.
    """

    objective: Objective = "logistic"
    trees: int = 50
    depth: int = 5
    learning_rate: float = 0.1
    l2: float = 1.0
    gamma: float = 0.0
    min_leaf: int = 50
    alone_trees: int = 1
    goss: Goss | None = None
    patience: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what makes no model.

        Raises:
            InputInvalid: A value out of its range.
        """
        ranges = {
            "trees": (1 <= self.trees <= MAX_TREES, f"from 1 to {MAX_TREES}"),
            "depth": (1 <= self.depth <= MAX_DEPTH, f"from 1 to {MAX_DEPTH}"),
            "learning rate": (0 < self.learning_rate <= 1, "above 0, and at most 1"),
            "l2": (0 <= self.l2 <= 1e6, "from 0 to 1000000"),
            "gamma": (0 <= self.gamma <= 1e6, "from 0 to 1000000"),
            "minimum leaf": (self.min_leaf >= 1, "at least 1"),
            "trees alone": (
                0 <= self.alone_trees <= self.trees,
                f"from 0 to the number of trees, {self.trees}",
            ),
            "patience": (self.patience >= 0, "at least 0"),
        }
        for name, (fine, span) in ranges.items():
            if not fine:
                raise InputInvalid(
                    f"The value of {name!r} is out of its range.", hint=f"It is {span}."
                )

    @property
    def weight(self) -> float:
        """The largest weight of a row."""
        return max(1.0, self.goss.weight) if self.goss else 1.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Between which values a node's weight has to stay."""

    low: float = -np.inf
    high: float = np.inf


@dataclass(frozen=True, slots=True)
class Split:
    """An inner node, as the label party knows it.

    Attributes:
        owner: Index of the party whose column it is; 0 is the label party.
        handle: What the owner finds its split by: for the label party itself the index of the
            candidate, for others the node's number.
    """

    owner: int
    handle: int


@dataclass(slots=True)
class Tree:
    """A grown tree at the label party.

    Attributes:
        splits: By node.
        leaves: Weight by node, the learning rate in it.
        rows: Aligned rows in each leaf, those that judge among them.
    """

    splits: dict[int, Split] = field(default_factory=dict)
    leaves: dict[int, float] = field(default_factory=dict)
    rows: dict[int, int] = field(default_factory=dict)


def weights(gradient: Floats, hessian: Floats, l2: float, limits: Limits) -> Floats:
    """Return the best weight of each side: ``-G / (H + lambda)`` within the limits, 0 if empty."""
    divisor = hessian + l2
    return np.clip(-gradient / np.where(divisor > 0, divisor, 1.0), limits.low, limits.high)


def _merit(gradient: Floats, hessian: Floats, weight: Floats, l2: float) -> Floats:
    return -(2.0 * gradient * weight + (hessian + l2) * weight * weight)


def gains(
    left: Ints, total: Ints, sign: NDArray[np.int8], growth: Growth, limits: Limits
) -> Floats:
    """Return each candidate's gain; ``-inf`` where a monotone direction forbids it.

    Args:
        left: ``(candidates, 2)``: gradients and hessians sent left.
        total: The node's.
        sign: Directions.
        growth: The terms.
        limits: The node's.
    """
    sides = np.stack([left, total[None, :] - left, np.broadcast_to(total, left.shape)])
    numbers = sides / ONE
    g, h = numbers[..., 0], numbers[..., 1]
    w = weights(g, h, growth.l2, limits)
    merit = _merit(g, h, w, growth.l2)
    found = 0.5 * (merit[0] + merit[1] - merit[2]) - growth.gamma
    return np.where(sign * (w[1] - w[0]) < 0, -np.inf, found)


def tied(gain: Floats, eligible: Bools, sign: NDArray[np.int8]) -> tuple[float, Ints]:
    """Return the greatest gain among eligible candidates and the indices of those that tie for it.

    Of those that have it, the ones of the least direction: their children have the same limits.
    """
    if not eligible.any():
        return -np.inf, np.empty(0, np.int64)
    open_gain = np.where(eligible, gain, -np.inf)
    best = float(open_gain.max())
    found = np.flatnonzero(open_gain == best)
    return best, found[sign[found] == sign[found].min()]


def node_weight(total: Ints, growth: Growth, limits: Limits) -> float:
    """Return a node's weight, before the learning rate."""
    numbers = total / ONE
    return float(weights(numbers[:1], numbers[1:], growth.l2, limits)[0])


def child_limits(
    left: Ints, total: Ints, sign: int, growth: Growth, limits: Limits
) -> tuple[Limits, Limits]:
    """Return the limits of both children of a split."""
    if sign == 0:
        return limits, limits
    lower = node_weight(left, growth, limits)
    upper = node_weight(total - left, growth, limits)
    middle = (lower + upper) / 2
    first, second = Limits(limits.low, middle), Limits(middle, limits.high)
    return (first, second) if sign > 0 else (second, first)


def may_split(rows: int, growth: Growth) -> bool:
    """Whether a node has enough rows of the sample to be split."""
    return rows >= 2 * growth.min_leaf


def smaller(left: int, right: int) -> int:
    """Return which child's sums are built, 0 or 1; the other's are what is left of the parent's."""
    return 0 if left <= right else 1
