"""A feature party of vertical boosting: columns, no label, and bytes in, bytes out.

| state | takes | from | then |
|---|---|---|---|
| offered | START | label party | idle |
| idle | TREE | label party | growing |
| growing | what the back end needs | label party, dealer | answers with CANDIDATES: answered |
| answered | SPLITS | label party | answers with PARTITION; stays |
| answered | GROW | label party | growing, or idle after the last level |
| idle, answered | TREE | label party | growing |
| idle, answered | END | label party | done |

What it gives is in ``docs/claims/vertical.md``.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from federated.protocols.vertical import kept as states
from federated.protocols.vertical.binning import left_sums
from federated.protocols.vertical.messages import Kind, Message, Outgoing, decode, encode, need
from federated.protocols.vertical.nodes import Nodes, packed, packed_bytes
from federated.protocols.vertical.pooled import cuts_of
from fusion.errors import MessageInvalid

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from federated.protocols.vertical.binning import Columns, Feature
    from federated.protocols.vertical.sides import FeatureSide
    from federated.protocols.vertical.trees import Growth

    Bools = NDArray[np.bool_]
    Ints = NDArray[np.int64]


class State(enum.Enum):
    """See the module."""

    OFFERED = "offered"
    IDLE = "idle"
    GROWING = "growing"
    ANSWERED = "answered"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class FeaturePart:
    """A feature party's part of a model, which never leaves it.

    Attributes:
        features: Its columns' bins.
        splits: By tree and node: feature, threshold, missing left.
    """

    features: tuple[Feature, ...]
    splits: dict[tuple[int, int], tuple[int, int, bool]] = field(default_factory=dict)

    def left(self, columns: Columns, tree: int, node: int, rows: Ints) -> Bools:
        """Say of each row whether it goes left at a node of its own."""
        return columns.left(self.splits[tree, node], rows)


class FeatureParty:
    """See the module.

    Attributes:
        part: Its part of the model.
    """

    def __init__(
        self, label_party: str, columns: Columns, growth: Growth, terms: bytes, side: FeatureSide
    ) -> None:
        """Take what was agreed.

        Args:
            label_party: Its name.
            columns: Own columns, of all aligned rows.
            growth: The terms.
            terms: Digest of everything agreed, 32 bytes; START has to carry the same.
            side: The back end.
        """
        self.part = FeaturePart(columns.features)
        self._label_party = label_party
        self._columns = columns
        self._growth = growth
        self._terms = terms
        self._side = side
        self._state = State.OFFERED
        self._tree = growth.alone_trees - 1
        self._rows = len(columns.codes)
        self._nodes = Nodes(np.zeros(self._rows, bool), growth)
        self._fits: dict[int, Bools] = {}

    @property
    def done(self) -> bool:
        """Whether the run has ended."""
        return self._state is State.DONE

    @property
    def trees_grown(self) -> int:
        """Trees that are surely finished: the label party has begun the next one."""
        return max(self._tree, 0)

    def keep(self) -> bytes:
        """Return the state after the last tree that is surely finished."""
        count = self.trees_grown
        splits = [
            (tree, node, *split) for (tree, node), split in self.part.splits.items() if tree < count
        ]
        return states.write(
            "feature", count, {}, {"splits": np.array(splits, "<i8").reshape(-1, 5).tobytes()}
        )

    def go_on(self, state: bytes) -> None:
        """Go on after the tree at which a state was kept; before the first message.

        Raises:
            MessageInvalid: It is none of a feature party.
        """
        count, _, arrays = states.read("feature", state)
        with states.well_formed():
            splits = np.frombuffer(arrays["splits"], "<i8").reshape(-1, 5).tolist()
        options = self._columns.candidates
        known = set(
            zip(
                options.feature.tolist(), options.threshold.tolist(), options.missing.tolist(),
                strict=True,
            )
        )  # fmt: skip
        for tree, node, feature, threshold, missing in splits:
            split = (feature, threshold, bool(missing))
            if split not in known or not 0 <= tree < count:
                raise MessageInvalid("A kept state is of other columns.")
            self.part.splits[tree, node] = split
        self._tree = max(count, self._growth.alone_trees) - 1

    def offer(self) -> list[Outgoing]:
        """Return the first message: how many candidates, features and bins there are."""
        columns = self._columns
        sizes = np.array([len(columns.candidates), len(columns.features), columns.bins], np.uint32)
        return [Outgoing(self._label_party, encode(Kind.OFFER, 0, 0, sizes))]

    def receive(self, sender: str, data: bytes) -> list[Outgoing]:
        """Take a message and return the answers.

        Raises:
            MessageInvalid: It is not what is due: nothing of it is acted upon.
        """
        message = decode(data)
        if sender == self._side.dealer and self._state is not State.DONE:
            self._side.take(sender, message)
        elif sender != self._label_party:
            raise MessageInvalid("A message came from somebody who has no part in this run.")
        elif self._state is State.OFFERED:
            self._start(message)
        elif self._state in (State.IDLE, State.ANSWERED):
            return [*self._next(message), *self._answer()]
        elif self._state is State.GROWING:
            self._side.take(sender, message)
        else:
            raise MessageInvalid(f"A {message.kind.name} message came after the end.")
        return self._answer()

    def _start(self, message: Message) -> None:
        if message.kind is Kind.START and message.arrays:
            given = message.arrays[0]
            if given.dtype == np.uint8 and given.tobytes() != self._terms:
                raise MessageInvalid("The label party trains under other terms than were agreed.")
        self._side.start(message)
        self._state = State.IDLE

    def _next(self, message: Message) -> list[Outgoing]:
        if message.kind is Kind.TREE:
            return self._begin(message)
        if message.kind is Kind.END:
            (kept,) = need(message, Kind.END, 0, 0, ("u4", ()))
            self._end(int(kept))
            return []
        if self._state is State.IDLE:
            raise MessageInvalid(f"A {message.kind.name} message came where TREE was due.")
        if message.kind is Kind.SPLITS:
            return self._split(message)
        return self._grow(message)

    def _begin(self, message: Message) -> list[Outgoing]:
        size = packed_bytes(self._rows)
        (bits,) = need(message, Kind.TREE, self._tree + 1, 0, ("u1", (size,)))
        sampled = np.unpackbits(bits, count=self._rows).astype(bool)
        nodes = Nodes(sampled, self._growth)
        if not nodes.active:
            raise MessageInvalid("The sample of a tree is too small to be split.")
        self._tree += 1
        if self._tree >= self._growth.trees:
            raise MessageInvalid("There are more trees than the terms allow.")
        self._nodes = nodes
        self._side.tree(self._tree, np.flatnonzero(sampled))
        return self._open_level()

    def _open_level(self) -> list[Outgoing]:
        nodes = self._nodes
        self._state = State.GROWING
        self._fits = dict(zip(nodes.active, self._eligible(), strict=True))
        none = np.zeros(len(self._side.options), bool)
        # A node that is built serves itself and, taken from its parent, its sibling.
        needed = [self._fits.get(n, none) | self._fits.get(n ^ 1, none) for n in nodes.built]
        built = [nodes.sampled(node) for node in nodes.built]
        return self._side.level(nodes.level, built, np.array(needed))

    def _answer(self) -> list[Outgoing]:
        """Answer with candidates as soon as the back end has all it needs."""
        if self._state is not State.GROWING:
            return []
        ready = self._side.reply()
        if ready is None:
            return []
        before, arrays = ready
        self._state = State.ANSWERED
        sign, fits = self._side.options.sign, np.array(list(self._fits.values()))
        bits = np.packbits(fits, axis=1)
        data = encode(Kind.CANDIDATES, self._tree, self._nodes.level, bits, sign, *arrays)
        return [Outgoing(self._label_party, each) for each in (*before, data)]

    def _eligible(self) -> Bools:
        """Say of each active node and candidate whether both sides keep enough rows."""
        options, cuts, least = self._side.options, cuts_of(self._columns), self._growth.min_leaf
        fits = np.zeros((len(self._nodes.active), len(options)), bool)
        for line, node in zip(fits, self._nodes.active, strict=True):
            rows = self._nodes.sampled(node)
            left = left_sums(self._columns.counts(rows), options, cuts)
            line[:] = (left >= least) & (len(rows) - left >= least)
        return fits

    def _split(self, message: Message) -> list[Outgoing]:
        level = self._nodes.level
        nodes, counts, handles = need(
            message, Kind.SPLITS, self._tree, level, *(("u4", (None,)) for _ in range(3))
        )
        chosen = nodes.tolist()
        known = set(self._nodes.active) - {n for t, n in self.part.splits if t == self._tree}
        if (
            len(counts) != len(chosen)
            or len(set(chosen)) != len(chosen)
            or not set(chosen) <= known
            or not chosen
            or int(counts.sum()) != len(handles)
            or not counts.all()
            or handles.max() >= len(self._side.options)
        ):
            raise MessageInvalid("A SPLITS message names nodes or candidates that are not open.")
        found = []
        for node, mine in zip(chosen, np.split(handles, np.cumsum(counts)[:-1]), strict=True):
            split = self._first(mine.astype(np.int64))
            left = self._columns.left(split, self._nodes.members(node))
            self._nodes.check(node, left)
            self.part.splits[self._tree, node] = split
            found.append(left)
        data = encode(Kind.PARTITION, self._tree, level, packed(found))
        return [Outgoing(self._label_party, data)]

    def _first(self, handles: Ints) -> tuple[int, int, bool]:
        """Return the candidate that is first in canonical order among equally good ones."""
        options = self._side.options
        return min(
            (int(options.feature[i]), int(options.threshold[i]), bool(options.missing[i]))
            for i in handles
        )

    def _grow(self, message: Message) -> list[Outgoing]:
        nodes, bits = need(
            message, Kind.GROW, self._tree, self._nodes.level, ("u4", (None,)), ("u1", (None,))
        )
        split = nodes.tolist()
        mine = {n for t, n in self.part.splits if t == self._tree} & set(self._nodes.active)
        if (
            not split
            or sorted(set(split)) != split
            or not mine <= set(split) <= set(self._nodes.active)
            or len(bits) != packed_bytes(self._nodes.bits(split))
        ):
            raise MessageInvalid("A GROW message names nodes that are not open.")
        self._nodes.advance(self._nodes.directions(split, bits))
        if self._nodes.built:
            return self._open_level()
        self._state = State.IDLE
        return []

    def _end(self, kept: int) -> None:
        """Forget the splits of trees that were not kept."""
        for tree, node in list(self.part.splits):
            if tree >= kept:
                del self.part.splits[tree, node]
        self._state = State.DONE
