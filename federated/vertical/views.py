"""What a feature party sees of the trees: which rows are together, from the leaf of each row.

The label party tells every feature party which way rows go at all splits, but for the last level of
a tree, where it asks owners alone; trees that it grew alone it tells nobody. The same for both ways
of hiding gradients: ciphertexts and shares show nothing of them. See ``docs/claims/vertical.md``.
Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from federated.protocols.vertical.trees import Tree

    Nodes = NDArray[np.int16]


def seen(tree: Tree, place: Nodes, owner: int) -> Nodes:
    """Return the deepest node of each row that a feature party knows.

    Args:
        tree: A joint tree.
        place: The leaf of each row.
        owner: The party's index, as splits have it.
    """
    last = max(map(_level, tree.splits), default=0)
    known = np.zeros(max(tree.leaves) + 1, np.int16)
    for leaf in tree.leaves:
        hidden = _level(leaf) > last and tree.splits[leaf // 2].owner != owner
        known[leaf] = leaf // 2 if hidden else leaf
    return known[place]


def _level(node: int) -> int:
    return node.bit_length() - 1
