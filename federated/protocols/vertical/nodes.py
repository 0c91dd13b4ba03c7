"""Which rows are in which node of the tree that is growing: every party keeps this alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from federated.protocols.vertical import trees
from fusion.errors import MessageInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]
    Bytes = NDArray[np.uint8]


class Nodes:
    """The nodes of one level, and their rows.

    Attributes:
        level: From 0.
        active: Nodes that may be split, ascending.
        built: Nodes whose sums are added up from rows, ascending: the root, and the child with
            fewer rows of each pair with an active one.
    """

    def __init__(self, sampled: Bools, growth: trees.Growth) -> None:
        """Begin at the root.

        Args:
            sampled: Which rows the tree's sums are made of; all rows are sent down the tree.
            growth: The terms.
        """
        self._growth = growth
        self._sampled = sampled
        self.level = 0
        self._members: dict[int, Ints] = {trees.ROOT: np.arange(len(sampled))}
        fits = trees.may_split(int(sampled.sum()), growth)
        self.active = [trees.ROOT] if fits else []
        self.built = [trees.ROOT] if fits else []

    def members(self, node: int) -> Ints:
        """Return all rows of a node, ascending."""
        return self._members[node]

    def sampled(self, node: int) -> Ints:
        """Return the rows of a node that its sums are made of, ascending."""
        members = self._members[node]
        return members[self._sampled[members]]

    def is_sampled(self, rows: Ints) -> Bools:
        """Say of rows whether the tree's sums are made of them."""
        return self._sampled[rows]

    def bits(self, nodes: Sequence[int]) -> int:
        """Return how many rows some nodes have together."""
        return sum(len(self._members[node]) for node in nodes)

    def directions(self, nodes: Sequence[int], packed: Bytes) -> dict[int, Bools]:
        """Read a bit a row, set where it goes left, of some nodes in their order."""
        flat = np.unpackbits(packed, count=self.bits(nodes)).astype(bool)
        ends = np.cumsum([len(self._members[node]) for node in nodes])
        return dict(zip(nodes, np.split(flat, ends[:-1]), strict=True))

    def check(self, node: int, left: Bools) -> None:
        """Refuse a split that leaves fewer rows of the sample on a side than was agreed.

        Raises:
            MessageInvalid: It does.
        """
        inside = self._sampled[self._members[node]]
        count = int((left & inside).sum())
        if min(count, int(inside.sum()) - count) < self._growth.min_leaf:
            raise MessageInvalid("A split leaves fewer rows on a side than the terms allow.")

    def advance(self, splits: Mapping[int, Bools]) -> None:
        """Go one level down.

        Args:
            splits: By node that is split, which of its rows go left.

        Raises:
            MessageInvalid: A side has fewer rows than was agreed.
        """
        members: dict[int, Ints] = {}
        self.active, self.built = [], []
        for node in sorted(splits):
            left = splits[node]
            self.check(node, left)
            rows = self._members[node]
            pair = (rows[left], rows[~left])
            members[2 * node], members[2 * node + 1] = pair
            sizes = [int(self._sampled[part].sum()) for part in pair]
            open_ones = [
                2 * node + side
                for side in (0, 1)
                if trees.may_split(sizes[side], self._growth)
                and self.level + 1 < self._growth.depth
            ]
            if open_ones:
                self.active.extend(open_ones)
                self.built.append(2 * node + trees.smaller(*sizes))
        self._members = members
        self.level += 1


def packed(directions: Sequence[Bools]) -> Bytes:
    """Write directions as bits, one node behind the other."""
    return np.packbits(np.concatenate(directions)) if directions else np.empty(0, np.uint8)


def packed_bytes(bits: int) -> int:
    """Return how many bytes so many bits take."""
    return -(-bits // 8)
