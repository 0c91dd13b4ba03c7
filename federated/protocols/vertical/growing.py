"""A tree as it grows at the label party: sums by node and party, the choice of splits, leaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from federated.protocols.vertical import trees
from federated.protocols.vertical.binning import left_sums
from federated.protocols.vertical.nodes import Nodes
from federated.protocols.vertical.pooled import cells_of, cuts_of
from fusion.errors import MessageInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from federated.protocols.vertical.binning import Columns

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

OWN = 0
"""The label party's index."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The best split of a node.

    Attributes:
        owner: Index of the party.
        handles: All its candidates with that gain.
    """

    owner: int
    handles: Ints


@dataclass(frozen=True, slots=True)
class Offered:
    """What a party's candidates would do to a level.

    Attributes:
        sums: Of each built node, ``(built, candidates, 2)``.
        eligible: Of each active node, ``(active, candidates)``.
        sign: Directions.
    """

    sums: Ints
    eligible: Bools
    sign: NDArray[np.int8]


class Growing:
    """One tree from its root to its leaves.

    Attributes:
        nodes: Rows by node.
        tree: What has grown.
        out: Each row's weight, once it is in a leaf.
        leaf_of: Each row's leaf.
    """

    def __init__(
        self, columns: Columns, growth: trees.Growth, rows: int, chosen: Ints, pairs: Ints
    ) -> None:
        """Begin.

        Args:
            columns: The label party's own.
            growth: The terms.
            rows: All aligned rows.
            chosen: The tree's sample, ascending.
            pairs: Its gradients and hessians.
        """
        sampled = np.zeros(rows, bool)
        sampled[chosen] = True
        self.nodes = Nodes(sampled, growth)
        self.tree = trees.Tree()
        self.out = np.zeros(rows)
        self.leaf_of = np.zeros(rows, np.int16)
        self._columns = columns
        self._growth = growth
        self._place = np.zeros(rows, np.int64)
        self._place[chosen] = np.arange(len(chosen))
        self._pairs = pairs
        self._limits = {trees.ROOT: trees.Limits()}
        self._sums: dict[tuple[int, int], Ints] = {}
        self._choices: dict[int, Choice] = {}
        self._signs: dict[int, NDArray[np.int8]] = {}
        if not self.nodes.active:
            self._leaf(trees.ROOT)

    def pairs(self, node: int) -> Ints:
        """Return the gradients and hessians of the sampled rows of a node, in their order."""
        return self._pairs[self._place[self.nodes.sampled(node)]]

    def _own(self) -> Offered:
        options, cuts = self._columns.candidates, cuts_of(self._columns)
        least, nodes = self._growth.min_leaf, self.nodes
        sums = [
            left_sums(cells_of(self._columns, self.pairs(n), nodes.sampled(n)), options, cuts)
            for n in nodes.built
        ]
        eligible = []
        for node in nodes.active:
            rows = nodes.sampled(node)
            left = left_sums(self._columns.counts(rows), options, cuts)
            eligible.append((left >= least) & (len(rows) - left >= least))
        return Offered(np.array(sums), np.array(eligible), options.sign)

    def choose(self, offered: Mapping[int, Offered]) -> dict[int, Choice]:
        """Return the best split of each active node for which there is one that gains.

        Args:
            offered: By index of party; the label party's own is added here.
        """
        everybody = {**offered} if not self._columns.features else {OWN: self._own(), **offered}
        self._choices = {}
        totals = {node: self.pairs(node).sum(axis=0) for node in self.nodes.active}
        best = dict.fromkeys(self.nodes.active, 0.0)
        for party in sorted(everybody):
            self._derive(party, everybody[party])
            for line, node in enumerate(self.nodes.active):
                gain = trees.gains(
                    self._sums[party, node], totals[node], everybody[party].sign,
                    self._growth, self._limits[node],
                )  # fmt: skip
                top, handles = trees.tied(
                    gain, everybody[party].eligible[line], everybody[party].sign
                )
                if top > best[node]:
                    best[node] = top
                    self._choices[node] = Choice(party, handles)
        self._signs = {party: each.sign for party, each in everybody.items()}
        for node in self.nodes.active:
            if node not in self._choices:
                self._leaf(node)
        return self._choices

    def _derive(self, party: int, offered: Offered) -> None:
        """Keep the sums of built nodes, and those of their siblings: the parent's less theirs."""
        for node, sums in zip(self.nodes.built, offered.sums, strict=True):
            self._sums[party, node] = sums
            if node != trees.ROOT:
                self._sums[party, node ^ 1] = self._sums[party, node // 2] - sums

    def own_directions(self) -> dict[int, Bools]:
        """Return the directions of rows at the splits that are the label party's own."""
        options = self._columns.candidates
        found = {}
        for node, choice in self._choices.items():
            if choice.owner == OWN:
                i = int(choice.handles[0])
                split = (
                    int(options.feature[i]), int(options.threshold[i]), bool(options.missing[i])
                )  # fmt: skip
                found[node] = self._columns.left(split, self.nodes.members(node))
        return found

    def advance(self, directions: Mapping[int, Bools]) -> None:
        """Split what was chosen; children that can't be split become leaves.

        Raises:
            MessageInvalid: A party's directions leave too few rows on a side, or are not those of
                a split that was chosen.
        """
        limits = {}
        for node in sorted(directions):
            choice = self._choices[node]
            i = int(choice.handles[0])
            handle = i if choice.owner == OWN else node
            self.tree.splits[node] = trees.Split(choice.owner, handle)
            total = self.pairs(node).sum(axis=0)
            members, left = self.nodes.members(node), directions[node]
            # Rows that are not of the sample have no gradients.
            sampled = members[left & self.nodes.is_sampled(members)]
            sums = self._pairs[self._place[sampled]].sum(axis=0)
            offered = self._sums[choice.owner, node][choice.handles]
            if not (offered == sums).all(axis=1).any():
                raise MessageInvalid(
                    "Directions of a split do not give the sums it was chosen for."
                )
            sign = int(self._signs[choice.owner][i])
            pair = trees.child_limits(sums, total, sign, self._growth, self._limits[node])
            limits[2 * node], limits[2 * node + 1] = pair
        split = sorted(directions)
        parents = set(split) if self.nodes.built else set()
        self.nodes.advance(directions)
        self._limits = limits
        for node in [2 * n + side for n in split for side in (0, 1)]:
            if node not in self.nodes.active:
                self._leaf(node)
        self._sums = {key: sums for key, sums in self._sums.items() if key[1] in parents}

    def _leaf(self, node: int) -> None:
        total = self.pairs(node).sum(axis=0)
        weight = self._growth.learning_rate * trees.node_weight(
            total, self._growth, self._limits[node]
        )
        members = self.nodes.members(node)
        self.tree.leaves[node] = weight
        self.tree.rows[node] = len(members)
        self.out[members] = weight
        self.leaf_of[members] = node

    @property
    def finished(self) -> bool:
        """Whether nothing is left to split."""
        return not self.nodes.active
