"""What a feature party sees of the trees: which rows are together, from the leaf of each row.

The label party tells every feature party which way rows go at all splits, but for the last level of
a tree, where it asks owners alone; trees that it grew alone it tells nobody. The same for both ways
of hiding gradients: ciphertexts and shares show nothing of them. See ``docs/claims/vertical.md``.
Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from federated.protocols.vertical import trees

if TYPE_CHECKING:
    from collections.abc import Callable

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

    def known(node: int) -> int:
        hidden = _level(node) > last and tree.splits[node // 2].owner != owner
        return node // 2 if hidden else node

    return _mapped(tree, place, known)


def own(tree: Tree, place: Nodes, owner: int) -> Nodes:
    """Return the deepest node of each row that the party's own columns alone decide.

    Where every split on the way from the root is the party's, the way of a row is a function of
    that row's values at the party. What other splits decide is left out, so that this is no more
    than the party had before.

    Args:
        tree: A joint tree.
        place: The leaf of each row.
        owner: The party's index.
    """

    def decided(node: int) -> int:
        at = trees.ROOT
        for shift in range(_level(node) - 1, -1, -1):
            if tree.splits[at].owner != owner:
                break
            at = node >> shift
        return at

    return _mapped(tree, place, decided)


def _level(node: int) -> int:
    return node.bit_length() - 1


def _mapped(tree: Tree, place: Nodes, to: Callable[[int], int]) -> Nodes:
    table = np.zeros(max(tree.leaves) + 1, np.int16)
    for leaf in tree.leaves:
        table[leaf] = to(leaf)
    return table[place]
