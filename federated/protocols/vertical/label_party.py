"""The label party of vertical boosting: labels, the key or the masks, and bytes in, bytes out.

| phase | takes | from | then |
|---|---|---|---|
| offers | OFFER | each feature party | START and, after trees alone, TREE: sums |
| sums | the back end's, CANDIDATES | feature parties | SPLITS: directions; or next |
| directions | PARTITION | each that got SPLITS | GROW to all: sums; or the next tree |
| done | nothing | | |

After the last tree END goes to all, the dealer among them. What it learns:
``docs/claims/vertical.md``.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from federated.protocols.vertical import gradients as losses
from federated.protocols.vertical import kept as states
from federated.protocols.vertical.growing import OWN, Choice, Growing, Offered
from federated.protocols.vertical.messages import Kind, Message, Outgoing, decode, encode, need
from federated.protocols.vertical.nodes import packed, packed_bytes
from federated.protocols.vertical.sides import Level, Offer
from fusion.errors import MessageInvalid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from federated.protocols.vertical.binning import Columns
    from federated.protocols.vertical.messages import Array
    from federated.protocols.vertical.sides import LabelSide, Reading
    from federated.protocols.vertical.trees import Growth, Tree

    Bools = NDArray[np.bool_]
    Floats = NDArray[np.float64]

MAX_CANDIDATES = 1 << 18
MAX_FEATURES = 1 << 12
MAX_BUCKETS = 256


class Phase(enum.Enum):
    """See the module."""

    OFFERS = "offers"
    SUMS = "sums"
    DIRECTIONS = "directions"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class LabelPart:
    """The label party's part of a model.

    Attributes:
        loss: Turns scores into outputs; holds the start.
        trees: Splits by owner, and leaves.
        columns: Own columns, for own splits.
    """

    loss: losses.Loss
    trees: list[Tree]
    columns: Columns


class LabelParty:
    """See the module.

    Attributes:
        scores: Of all aligned rows, training and held-out, after the trees kept so far.
        history: Loss on held-out rows after each tree, where there are any.
        grown: Every tree so far, also what is not kept, with the leaf of each aligned row in it.
    """

    def __init__(
        self,
        parties: Sequence[str],
        columns: Columns,
        labels: Floats,
        training: Bools,
        growth: Growth,
        terms: bytes,
        side: LabelSide,
    ) -> None:
        """Take what was agreed.

        Args:
            parties: Feature parties, in the order that settles ties.
            columns: Own columns of all aligned rows.
            labels: Of all aligned rows.
            training: Rows to train on; the others are sent down each tree as well, and judge it.
            growth: The terms.
            terms: Digest of everything agreed, 32 bytes.
            side: The back end.
        """
        self._parties = tuple(parties)
        self._columns = columns
        self._loss = losses.Loss(growth.objective, labels, training)
        self._training = np.flatnonzero(training)
        self._held_out = np.flatnonzero(~training)
        self._growth = growth
        self._terms = terms
        self._side = side
        self._phase = Phase.OFFERS
        self._offers: dict[str, Offer] = {}
        self._number = -1
        self._trees: list[Tree] = []
        self.scores = np.full(len(labels), self._loss.start)
        self.history: list[float] = []
        self.grown: list[tuple[Tree, NDArray[np.int16]]] = []
        self._best = (np.inf, 0, self.scores)
        self._readings: dict[str, Reading] = {}
        self._offered: dict[int, Offered] = {}
        self._signs: dict[int, NDArray[np.int8]] = {}
        self._arrived: dict[str, Message] = {}
        self._directions: dict[int, Bools] = {}
        self._wanted: dict[str, list[int]] = {}

    @property
    def done(self) -> bool:
        """Whether the model is finished."""
        return self._phase is Phase.DONE

    @property
    def trees_grown(self) -> int:
        """Trees that are finished so far."""
        return len(self._trees)

    @property
    def part(self) -> LabelPart:
        """The label party's part of the model so far."""
        return LabelPart(self._loss, list(self._trees), self._columns)

    def keep(self) -> bytes:
        """Return the state after the last finished tree; scores are in it."""
        loss, count, scores = self._best
        facts = {"best": count, "history": self.history, "loss": loss if self.history else None}
        arrays = {
            **states.write_trees(self._trees),
            "scores": self.scores.astype("<f8").tobytes(),
            "best-scores": scores.astype("<f8").tobytes(),
        }
        return states.write("label", len(self._trees), facts, arrays)

    def go_on(self, state: bytes, places: Sequence[NDArray[np.int16]] = ()) -> None:
        """Go on after the tree at which a state was kept; before the first message.

        Args:
            state: It.
            places: The leaf of each row in each tree so far, as :attr:`grown` had them.

        Raises:
            MessageInvalid: It is none of a label party, or of other rows.
        """
        count, facts, arrays = states.read("label", state)
        with states.well_formed():
            scores, best = (
                np.frombuffer(arrays[name], "<f8").astype(np.float64)
                for name in ("scores", "best-scores")
            )
            history = [float(each) for each in facts["history"]]
            loss, kept = facts["loss"], int(facts["best"])
            loss = None if loss is None else float(loss)
            trees = states.read_trees(count, arrays)
        if {len(scores), len(best), *map(len, places)} != {len(self.scores)}:
            raise MessageInvalid("A kept state is of other rows.")
        own = len(self._columns.candidates)
        for split in (split for tree in trees for split in tree.splits.values()):
            most = own if split.owner == OWN else MAX_CANDIDATES
            if not 0 <= split.owner <= len(self._parties) or not 0 <= split.handle < most:
                raise MessageInvalid("A kept state is of other columns.")
        self._trees = trees
        self.grown = list(zip(self._trees, places, strict=False))
        self._number = count - 1
        self.scores = scores
        self.history = history
        if loss is not None:
            self._best = (loss, kept, best)

    def receive(self, sender: str, data: bytes) -> list[Outgoing]:
        """Take a message and return the answers.

        Raises:
            MessageInvalid: It is not what is due: nothing of it is acted upon.
        """
        message = decode(data)
        known = sender in self._parties or sender == self._side.dealer
        if not known:
            raise MessageInvalid("A message came from somebody who has no part in this run.")
        if self._phase is Phase.OFFERS:
            return self._offer(sender, message)
        if self._phase is Phase.SUMS:
            return self._sums(sender, message)
        if self._phase is Phase.DIRECTIONS:
            return self._partition(sender, message)
        raise MessageInvalid(f"A {message.kind.name} message came after the end.")

    # ------------------------------------------------------------------ offers

    def _offer(self, sender: str, message: Message) -> list[Outgoing]:
        (sizes,) = need(message, Kind.OFFER, 0, 0, ("u4", (3,)))
        candidates, features, bins = (int(size) for size in sizes)
        fits = candidates <= MAX_CANDIDATES and features <= MAX_FEATURES and bins <= MAX_BUCKETS
        if sender in self._offers or sender not in self._parties or not fits:
            raise MessageInvalid("An OFFER message came twice, or offers more than can be used.")
        self._offers[sender] = Offer(candidates, features, bins)
        if len(self._offers) < len(self._parties):
            return []
        digest = np.frombuffer(self._terms, np.uint8)
        data = encode(Kind.START, 0, 0, digest, *self._side.start())
        return [*self._to_all([data]), *self._next_tree()]

    def _to_all(self, messages: Sequence[bytes]) -> list[Outgoing]:
        return [Outgoing(party, data) for party in self._parties for data in messages]

    # ------------------------------------------------------------------ trees

    def _next_tree(self) -> list[Outgoing]:
        """Grow trees alone as long as they are; open the next joint one, or end."""
        while self._number + 1 < self._growth.trees and not self._enough():
            self._number += 1
            pairs = self._loss.gradients(self.scores, self._training)
            chosen, weights = losses.sample(
                self._growth.goss, pairs, self._training, self._growth.seed, self._number
            )
            pairs = self._loss.gradients(self.scores, chosen, weights)
            self._growing = Growing(self._columns, self._growth, len(self.scores), chosen, pairs)
            alone = self._number < self._growth.alone_trees
            if not alone and not self._growing.finished:
                sampled = np.zeros(len(self.scores), bool)
                sampled[chosen] = True
                opening = encode(Kind.TREE, self._number, 0, np.packbits(sampled))
                messages = [opening, *self._side.tree(self._number, pairs)]
                self._signs = {}
                return [*self._to_all(messages), *self._open_level()]
            while not self._growing.finished:
                self._growing.choose({})
                self._growing.advance(self._growing.own_directions())
            self._keep()
        return self._end()

    def _enough(self) -> bool:
        patience = self._growth.patience
        if not patience or not len(self._held_out):
            return False
        return len(self._trees) - self._best[1] >= patience and bool(self._trees)

    def _keep(self) -> None:
        self._trees.append(self._growing.tree)
        self.grown.append((self._growing.tree, self._growing.leaf_of))
        self.scores = self.scores + self._growing.out
        if len(self._held_out):
            self.history.append(self._loss.loss(self.scores, self._held_out))
            if self.history[-1] < self._best[0]:
                self._best = (self.history[-1], len(self._trees), self.scores)

    def _end(self) -> list[Outgoing]:
        if self._growth.patience and len(self._held_out):
            self._trees = self._trees[: self._best[1]]
            self.scores = self._best[2]
        self._phase = Phase.DONE
        kept = np.array(len(self._trees), np.uint32)
        ending = encode(Kind.END, 0, 0, kept)
        dealer = [] if self._side.dealer is None else [Outgoing(self._side.dealer, ending)]
        return [*self._to_all([ending]), *dealer]

    # ------------------------------------------------------------------ sums

    def _open_level(self) -> list[Outgoing]:
        nodes = self._growing.nodes
        pairs = [self._growing.pairs(node) for node in nodes.built]
        self._readings = {
            party: self._side.reading(
                Level(party, self._offers[party], self._number, nodes.level, pairs,
                      len(nodes.active))
            )
            for party in self._parties
        }  # fmt: skip
        self._offered, self._arrived = {}, {}
        self._phase = Phase.SUMS
        return [each for reading in self._readings.values() for each in reading.ask()]

    def _sums(self, sender: str, message: Message) -> list[Outgoing]:
        if message.kind is Kind.CANDIDATES and sender in self._readings:
            if sender in self._arrived:
                raise MessageInvalid("A CANDIDATES message came twice.")
            self._arrived[sender] = message
        elif sender in self._readings:
            self._readings[sender].take(sender, message)
        else:  # the dealer's, for whichever party it names
            for reading in self._readings.values():
                reading.take(sender, message)
        for party in list(self._arrived):
            index = self._parties.index(party) + 1
            if index not in self._offered:
                self._read(party, index)
        if len(self._offered) < len(self._parties):
            return []
        return self._choose()

    def _read(self, party: str, index: int) -> None:
        """Read a party's candidates if all that belongs to them is here."""
        message, offer, nodes = self._arrived[party], self._offers[party], self._growing.nodes
        count = offer.candidates
        if len(message.arrays) < 2:
            raise MessageInvalid("The arrays of a CANDIDATES message are not of the sizes due.")
        base = Message(message.kind, message.tree, message.level, message.arrays[:2])
        bits, sign = need(
            base, Kind.CANDIDATES, self._number, nodes.level,
            ("u1", (len(nodes.active), packed_bytes(count))), ("i1", (count,)),
        )  # fmt: skip
        if count and not np.isin(sign, (-1, 0, 1)).all():
            raise MessageInvalid("A CANDIDATES message has a direction that is none.")
        if nodes.level and not np.array_equal(sign, self._signs[index]):
            raise MessageInvalid("A CANDIDATES message changes directions within a tree.")
        sums = self._readings[party].candidates(message.arrays[2:], count)
        if sums is not None:
            self._signs[index] = sign
            eligible = np.unpackbits(bits, axis=1, count=count).astype(bool)
            self._offered[index] = Offered(sums, eligible, sign)

    def _choose(self) -> list[Outgoing]:
        choices = self._growing.choose(self._offered)
        self._directions = self._growing.own_directions()
        self._wanted = {}
        out = []
        for index, party in enumerate(self._parties, start=1):
            mine = {n: c for n, c in choices.items() if c.owner == index}
            if mine:
                self._wanted[party] = sorted(mine)
                out.append(Outgoing(party, self._splits(mine)))
        if self._wanted:
            self._phase = Phase.DIRECTIONS
            return out
        return self._advance()

    def _splits(self, mine: dict[int, Choice]) -> bytes:
        nodes = sorted(mine)
        arrays: list[Array] = [
            np.array(nodes, np.uint32),
            np.array([len(mine[n].handles) for n in nodes], np.uint32),
            np.concatenate([mine[n].handles for n in nodes]).astype(np.uint32),
        ]
        return encode(Kind.SPLITS, self._number, self._growing.nodes.level, *arrays)

    # ------------------------------------------------------------------ directions

    def _partition(self, sender: str, message: Message) -> list[Outgoing]:
        nodes = self._growing.nodes
        wanted = self._wanted.get(sender)
        if wanted is None:
            raise MessageInvalid(f"A {message.kind.name} message came where none was due.")
        size = packed_bytes(nodes.bits(wanted))
        (bits,) = need(message, Kind.PARTITION, self._number, nodes.level, ("u1", (size,)))
        found = nodes.directions(wanted, bits)
        for node, left in found.items():
            nodes.check(node, left)
        self._directions.update(found)
        del self._wanted[sender]
        return [] if self._wanted else self._advance()

    def _advance(self) -> list[Outgoing]:
        """Go one level down; who has nothing left to add up is not told of the last level."""
        nodes, splits = self._growing.nodes, sorted(self._directions)
        level = nodes.level
        directions = [self._directions[node] for node in splits]
        self._growing.advance(self._directions)
        if self._growing.finished:
            self._keep()
            return self._next_tree()
        data = encode(
            Kind.GROW, self._number, level, np.array(splits, np.uint32), packed(directions)
        )
        return [*self._to_all([data]), *self._open_level()]
