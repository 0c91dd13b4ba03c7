"""The same boosting on one table: what the parties' trees are compared with, tree by tree.

No message, no cipher, no sibling subtraction: sums of every node straight from its rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from federated.protocols.vertical import gradients as losses
from federated.protocols.vertical import trees
from federated.protocols.vertical.binning import Columns, left_sums

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]

Shape = dict[int, tuple[int, int, int, bool]]
"""By node: party, feature of the party, threshold, missing left."""


@dataclass(slots=True)
class Pooled:
    """A model of the pooled table.

    Attributes:
        shapes: Each tree's splits.
        leaves: Each tree's weights.
        scores: Of all rows, after the trees that were kept.
    """

    shapes: list[Shape]
    leaves: list[dict[int, float]]
    scores: Floats


def cells_of(columns: Columns, pairs: Ints, rows: Ints) -> Ints:
    """Return sums of gradients and hessians by bin, ``(features, bins, 2)``.

    A float64 holds them exactly: see :data:`~.gradients.MAX_ROWS`.

    Args:
        columns: Binned columns.
        pairs: Of the rows.
        rows: Whose.
    """
    codes, bins = columns.codes[rows], columns.bins
    out = np.empty((len(columns.features), bins, 2), np.int64)
    numbers = pairs.astype(np.float64)
    for feature in range(len(columns.features)):
        for part in range(2):
            out[feature, :, part] = np.bincount(
                codes[:, feature], weights=numbers[:, part], minlength=bins
            )[:bins]
    return out


def cuts_of(columns: Columns) -> Ints:
    """Return how many cuts each feature has."""
    return np.array([len(f.cuts) for f in columns.features], np.int64)


def boost(
    parties: Sequence[Columns], labels: Floats, training: Bools, growth: trees.Growth
) -> Pooled:
    """Grow trees on all parties' columns; the first party's alone where the terms say so.

    Args:
        parties: Each party's columns, the label party's first.
        labels: Of all rows.
        training: Which rows are trained on; the others stop training where the terms say so.
        growth: The terms.
    """
    loss = losses.Loss(growth.objective, labels, training)
    rows, held_out = np.flatnonzero(training), np.flatnonzero(~training)
    scores = np.full(len(labels), loss.start)
    model = Pooled([], [], scores)
    best = (np.inf, 0, scores)
    for number in range(growth.trees):
        pairs = loss.gradients(scores, rows)
        chosen, factors = losses.sample(growth.goss, pairs, rows, growth.seed, number)
        pairs = loss.gradients(scores, chosen, factors)
        open_to = parties[:1] if number < growth.alone_trees else parties
        shape, leaves, weights = _tree(open_to, pairs, chosen, len(labels), growth)
        scores = scores + weights
        model.shapes.append(shape)
        model.leaves.append(leaves)
        if growth.patience and len(held_out):
            now = loss.loss(scores, held_out)
            if now < best[0]:
                best = (now, number + 1, scores)
            elif number + 1 - best[1] >= growth.patience:
                break
    if growth.patience and len(held_out):
        kept = best[1]
        return Pooled(model.shapes[:kept], model.leaves[:kept], best[2])
    return Pooled(model.shapes, model.leaves, scores)


def _tree(
    parties: Sequence[Columns], pairs: Ints, chosen: Ints, rows: int, growth: trees.Growth
) -> tuple[Shape, dict[int, float], Floats]:
    """Grow one tree; return its splits, its leaves and each row's weight."""
    where = np.full(rows, -1, np.int64)
    where[chosen] = np.arange(len(chosen))
    shape: Shape = {}
    leaves: dict[int, float] = {}
    out = np.zeros(rows)
    level = [(trees.ROOT, np.arange(rows), trees.Limits())]
    for depth in range(growth.depth + 1):
        following = []
        for node, members, limits in level:
            sampled = members[where[members] >= 0]
            mine = pairs[where[sampled]]
            found = _best(parties, mine, sampled, growth, limits) if depth < growth.depth else None
            if found is None:
                weight = growth.learning_rate * trees.node_weight(mine.sum(0), growth, limits)
                leaves[node], out[members] = weight, weight
                continue
            split, bounds = found
            shape[node] = split
            left = parties[split[0]].left(split[1:], members)
            following.append((2 * node, members[left], bounds[0]))
            following.append((2 * node + 1, members[~left], bounds[1]))
        level = following
    return shape, leaves, out


def _best(
    parties: Sequence[Columns],
    pairs: Ints,
    sampled: Ints,
    growth: trees.Growth,
    limits: trees.Limits,
) -> tuple[tuple[int, int, int, bool], tuple[trees.Limits, trees.Limits]] | None:
    """Return the best split of a node and its children's limits, if there is one that gains."""
    if not trees.may_split(len(sampled), growth):
        return None
    total = pairs.sum(axis=0)
    best, found = 0.0, None
    for number, columns in enumerate(parties):
        options = columns.candidates
        if not len(options):
            continue
        cuts = cuts_of(columns)
        left = left_sums(cells_of(columns, pairs, sampled), options, cuts)
        count = left_sums(columns.counts(sampled), options, cuts)
        fits = (count >= growth.min_leaf) & (len(sampled) - count >= growth.min_leaf)
        gain = trees.gains(left, total, options.sign, growth, limits)
        top, indices = trees.tied(gain, fits, options.sign)
        if top > best:
            i = int(indices[0])
            best = top
            split = (
                number, int(options.feature[i]), int(options.threshold[i]),
                bool(options.missing[i]),
            )  # fmt: skip
            sign = int(options.sign[i])
            found = split, trees.child_limits(left[i], total, sign, growth, limits)
    return found
