"""The score of a joint model: each owner says which way rows go at its own nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from federated.protocols.vertical import trees
from federated.protocols.vertical.growing import OWN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from federated.protocols.vertical.binning import Columns
    from federated.protocols.vertical.feature_party import FeaturePart
    from federated.protocols.vertical.label_party import LabelPart

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]
    Answers = Mapping[tuple[int, int], Bools]
    """By tree and node: which rows go left. Of all rows asked about, wherever they are."""


def answers(part: FeaturePart, columns: Columns) -> Answers:
    """Return what a feature party says of rows: at every node of its own, which go left."""
    rows = np.arange(len(columns.codes))
    return {(t, n): part.left(columns, t, n, rows) for t, n in part.splits}


def score(part: LabelPart, columns: Columns, others: Sequence[Answers]) -> Floats:
    """Return the scores of rows.

    Args:
        part: The label party's.
        columns: Its columns of these rows.
        others: What the feature parties say, in their order.
    """
    rows = np.arange(len(columns.codes))
    scores = np.full(len(rows), part.loss.start)
    options = part.columns.candidates
    for number, tree in enumerate(part.trees):
        open_nodes = {trees.ROOT: rows}
        weights = np.zeros(len(rows))
        while open_nodes:
            node, members = open_nodes.popitem()
            split = tree.splits.get(node)
            if split is None:
                weights[members] = tree.leaves[node]
                continue
            if split.owner == OWN:
                i = split.handle
                candidate = (
                    int(options.feature[i]), int(options.threshold[i]), bool(options.missing[i])
                )  # fmt: skip
                left = columns.left(candidate, members)
            else:
                left = others[split.owner - 1][number, node][members]
            open_nodes[2 * node], open_nodes[2 * node + 1] = members[left], members[~left]
        scores = scores + weights
    return scores
