"""The back end ``dealer``: a third party deals correlated randomness; nothing is encrypted.

For each level and feature the label party's pairs V (one a row, in the ring of 64 bits) have to be
added up by bin, while only the feature party knows the bins. With a *permutation correlation*: the
label party holds masks a and r, the feature party a uniform permutation rho and
``d = a[rho] - r``, all from the dealer. Then

    label party -> feature party    x = V - a
    feature party -> label party    delta = inverse(rho)[pi], where pi sorts rows by node and bin

and ``x[pi] + d[delta]`` (feature party) plus ``r[delta]`` (label party) is ``V[pi]``: both add up
their shares within each bin, and the feature party sends its sums. Chase, Ghosh and Poburinnaya
(ASIACRYPT 2020) call the correlation *share translation*. Here the masks come from a seed that the
label party shares with the dealer, the permutation from one that the feature party shares with it,
so that only d travels. The argument why nobody learns more: ``docs/claims/vertical.md``.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from federated.protocols.vertical.binning import Candidates, candidates_of, left_sums
from federated.protocols.vertical.messages import (
    Kind,
    Message,
    Outgoing,
    decode,
    encode,
    need,
)
from federated.protocols.vertical.permutations import SEED_BYTES, Stream, uniform_permutation
from fusion.crypto import rng
from fusion.errors import InputInvalid, MessageInvalid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from federated.protocols.vertical.binning import Columns
    from federated.protocols.vertical.messages import Array
    from federated.protocols.vertical.sides import Level
    from federated.protocols.vertical.trees import Growth

    Ints = NDArray[np.int64]
    Words = NDArray[np.uint64]
    Bools = NDArray[np.bool_]

MAX_ROWS: Final = 1 << 21
"""A level's masked rows go in one message."""

MAX_FEATURES: Final = 1 << 12

MAX_CELLS: Final = 1 << 28
"""Rows times features of one level: a dealer holds two words for each until they are sent."""

MAX_OPEN: Final = 256
"""Levels of one feature party for which only one side has asked."""


def new_seed() -> NDArray[np.uint8]:
    """Return a fresh seed as it travels."""
    return np.frombuffer(rng.token(SEED_BYTES), np.uint8)


def _segments(shares: Words, counts: Ints) -> Words:
    """Add up ``(2, rows)`` by runs of so many rows each: ``(len(counts), 2)``, modulo 2^64."""
    running = np.zeros((2, shares.shape[1] + 1), np.uint64)
    np.cumsum(shares, axis=1, out=running[:, 1:])
    ends = np.cumsum(counts)
    return np.ascontiguousarray((running[:, ends] - running[:, ends - counts]).T)


@dataclass(frozen=True, slots=True)
class _Request:
    """What one side of a level has asked for; the seed is that of its masks, or of its order."""

    tree: int
    level: int
    rows: int
    features: int
    seed: bytes


class Dealer:
    """Correlates two seeds; knows names, numbers of rows and of features, and nothing else.

    Attributes:
        done: Whether the label party has said that the run is over.
    """

    def __init__(self, label_party: str, feature_parties: Sequence[str]) -> None:
        """Take who is who.

        Args:
            label_party: Sends the seed of masks.
            feature_parties: In the order in which the label party numbers them, from 0.
        """
        self._label_party = label_party
        self._parties = tuple(feature_parties)
        self._asked: dict[int, tuple[deque[_Request], deque[_Request]]] = {
            party: (deque(), deque()) for party in range(len(self._parties))
        }
        self._turn = 0
        self._last: dict[str, tuple[int, int]] = {}
        self.done = False

    def receive(self, sender: str, data: bytes) -> list[Outgoing]:
        """Take a request; deal once both sides of a level have asked for the same sizes.

        Both ask for levels in their order, the label party each for all feature parties in turn:
        what is asked for out of it would wait for ever, and everybody with it.

        Raises:
            MessageInvalid: It is none, is out of its order, or the sides differ in levels or sizes.
        """
        message = decode(data)
        if self.done:
            raise MessageInvalid(f"A {message.kind.name} message came after the end.")
        if message.kind is Kind.END and sender == self._label_party:
            need(message, Kind.END, 0, 0, ("u4", ()))
            self.done = True
            return []
        shapes = ("u4", (3,)), ("u1", (SEED_BYTES,))
        sizes, seed = need(message, Kind.REQUEST, message.tree, message.level, *shapes)
        party, rows, features = (int(size) for size in sizes)
        fits = party < len(self._parties) and 0 < rows <= MAX_ROWS and features <= MAX_FEATURES
        if not fits or rows * features > MAX_CELLS:
            raise MessageInvalid("A REQUEST message asks for what can't be dealt.")
        if sender not in (self._label_party, self._parties[party]):
            raise MessageInvalid("A REQUEST message asks for what can't be dealt.")
        self._check_order(sender, party, (message.tree, message.level))
        request = _Request(message.tree, message.level, rows, features, seed.tobytes())
        return self._matched(party, request, label=sender == self._label_party)

    def _check_order(self, sender: str, party: int, now: tuple[int, int]) -> None:
        last, first = self._last.get(sender), True
        if sender == self._label_party:
            due, first = self._turn % len(self._parties), self._turn % len(self._parties) == 0
            self._turn += 1
            if party != due or not (first or now == last):
                raise MessageInvalid("A REQUEST message is out of its order.")
        if first and last is not None and now <= last:
            raise MessageInvalid("A REQUEST message came twice, or is of an earlier level.")
        self._last[sender] = now

    def _matched(self, party: int, request: _Request, *, label: bool) -> list[Outgoing]:
        """Deal what both sides have asked for by now; the rest waits for the other side."""
        masks, orders = self._asked[party]
        mine = masks if label else orders
        if len(mine) >= MAX_OPEN:
            raise MessageInvalid("A party asks for more levels than can be open.")
        mine.append(request)
        if not (masks and orders):
            return []
        first, other = masks.popleft(), orders.popleft()
        if (first.tree, first.level) != (other.tree, other.level):
            raise MessageInvalid("Two parties ask for randomness of different levels.")
        if (first.rows, first.features) != (other.rows, other.features):
            raise MessageInvalid("Two parties ask for randomness of different sizes.")
        return self._deal(party, first, other.seed)

    def _deal(self, party: int, asked: _Request, order: bytes) -> list[Outgoing]:
        stream, permutations, rows = Stream(asked.seed), Stream(order), asked.rows
        a = stream.words(2, rows)
        out = []
        for feature in range(asked.features):
            r, rho = stream.words(2, rows), permutations.permutation(rows)
            d = np.take(a, rho, axis=1)
            d -= r
            number = np.array(feature, np.uint32)
            data = encode(Kind.DEALING, asked.tree, asked.level, number, d)
            out.append(Outgoing(self._parties[party], data))
        return out


class DealtLabelSide:
    """Masks pairs, and adds up its shares."""

    name = "dealer"

    def __init__(self, dealer: str, parties: Sequence[str], rows: int) -> None:
        """Take who deals, and the feature parties in their order.

        Raises:
            InputInvalid: More rows than a message of them holds.
        """
        if rows > MAX_ROWS:
            raise InputInvalid(f"The back end 'dealer' takes at most {MAX_ROWS} rows.")
        self.dealer = dealer
        self.parties = tuple(parties)
        self.layouts: dict[tuple[str, int], NDArray[np.uint32]] = {}

    def start(self) -> tuple[Array, ...]:
        """See :class:`~.sides.LabelSide`."""
        return ()

    def tree(self, number: int, pairs: Ints) -> list[bytes]:
        """Nothing: rows are masked anew for each level."""
        del number, pairs
        self.layouts = {}
        return []

    def reading(self, level: Level) -> DealtReading:
        """See :class:`~.sides.LabelSide`."""
        return DealtReading(self, level)


class DealtReading:
    """The label party's shares of one level with one party."""

    def __init__(self, side: DealtLabelSide, level: Level) -> None:
        """Draw the masks."""
        self._side = side
        self._due = level
        self._pairs = np.ascontiguousarray(np.concatenate(level.pairs).T).view(np.uint64)
        self._seed = new_seed()
        self._orders: dict[int, Ints] = {}

    def ask(self) -> list[Outgoing]:
        """Return the request to the dealer and the masked pairs."""
        due, rows = self._due, self._pairs.shape[1]
        party = self._side.parties.index(due.party)
        sizes = np.array([party, rows, due.offer.features], np.uint32)
        masked = self._pairs - Stream(self._seed.tobytes()).words(2, rows)
        request = encode(Kind.REQUEST, due.tree, due.level, sizes, self._seed)
        return [
            Outgoing(self._side.dealer, request),
            Outgoing(due.party, encode(Kind.MASKED, due.tree, due.level, masked)),
        ]

    def take(self, sender: str, message: Message) -> None:
        """Take the order of one feature's rows.

        Raises:
            MessageInvalid: Not of a feature that there is, for the second time, or no permutation.
        """
        if sender != self._due.party:
            raise MessageInvalid(f"A {message.kind.name} message came where CANDIDATES was due.")
        rows = self._pairs.shape[1]
        number, order = need(
            message, Kind.ORDER, self._due.tree, self._due.level, ("u4", ()), ("u4", (rows,))
        )
        feature = int(number)
        if feature >= self._due.offer.features or feature in self._orders:
            raise MessageInvalid("An ORDER message came twice, or of a feature that is not there.")
        if int(order.max()) >= rows or not np.bincount(order, minlength=rows).all():
            raise MessageInvalid("The order in an ORDER message is no permutation.")
        self._orders[feature] = order.astype(np.int64)

    def candidates(self, arrays: Sequence[Array], count: int) -> Ints | None:
        """See :class:`~.sides.Reading`.

        Raises:
            MessageInvalid: The bins do not add up to the rows, or change within a tree.
        """
        due, offer = self._due, self._due.offer
        built, features, bins = len(due.pairs), offer.features, offer.bins
        layout, counts, share = need(
            Message(Kind.CANDIDATES, 0, 0, tuple(arrays)), Kind.CANDIDATES, 0, 0,
            ("u4", (features, 2)), ("u4", (built, features, bins)),
            ("u8", (built, features, bins, 2)),
        )  # fmt: skip
        if len(self._orders) < features:
            return None
        self._check(layout, counts, count)
        return self._opened(layout, counts.astype(np.int64), share)

    def _check(self, layout: Array, counts: Array, count: int) -> None:
        known = self._side.layouts.setdefault((self._due.party, self._due.tree), layout)
        sizes = np.array([len(pairs) for pairs in self._due.pairs])
        if (
            not np.array_equal(known, layout)
            or (layout[:, 0].astype(np.int64) + 2 > self._due.offer.bins).any()
            or (layout[:, 1] > 1).any()
            or (counts.sum(axis=2, dtype=np.int64) != sizes[:, None]).any()
            or len(_options(layout)) != count
        ):
            raise MessageInvalid("The bins in a CANDIDATES message are not those of these rows.")

    def _opened(self, layout: Array, counts: Ints, share: Array) -> Ints:
        built, features, bins = counts.shape
        stream, rows = Stream(self._seed.tobytes()), self._pairs.shape[1]
        stream.words(2, rows)  # a, already spent on the masked pairs
        cells = np.empty((built, features, bins, 2), np.uint64)
        for feature in range(features):
            mine = np.take(stream.words(2, rows), self._orders[feature], axis=1)
            sums = _segments(mine, counts[:, feature].reshape(-1))
            cells[:, feature] = sums.reshape(built, bins, 2)
        cells += share
        options, cuts = _options(layout), layout[:, 0].astype(np.int64)
        return np.stack([left_sums(node, options, cuts) for node in cells]).view(np.int64)


def _options(layout: Array) -> Candidates:
    cuts, missing = layout[:, 0].tolist(), layout[:, 1].astype(bool).tolist()
    return candidates_of(cuts, missing, [0] * len(cuts))


@dataclass(slots=True)
class _Level:
    """What a feature party works with on one level."""

    level: int
    built: Sequence[Ints]
    rows: int
    seed: NDArray[np.uint8]
    masked: Words | None = None
    dealt: dict[int, Words] = field(default_factory=dict)


class DealtFeatureSide:
    """Sorts masked pairs, and adds up its shares; shuffles its features anew for every tree."""

    def __init__(
        self, columns: Columns, growth: Growth, rows: int, dealer: str, label: str, index: int
    ) -> None:
        """Take the party's columns.

        Args:
            columns: The columns.
            growth: The terms.
            rows: All aligned rows.
            dealer: Who deals.
            label: The label party.
            index: The party's number among the feature parties, from 0.
        """
        del growth, rows
        self.dealer = dealer
        self._label = label
        self._index = index
        self._columns = columns
        self._order = np.arange(len(columns.features))
        self.options = columns.candidates
        self._tree = -1
        self._now: _Level | None = None

    def start(self, message: Message) -> None:
        """See :class:`~.sides.FeatureSide`."""
        need(message, Kind.START, 0, 0, ("u1", (32,)))

    def tree(self, number: int, sample: Ints) -> None:
        """Shuffle the features."""
        del sample
        self._tree = number
        features = self._columns.features
        self._order = uniform_permutation(len(features))
        shuffled = [features[i] for i in self._order]
        options = candidates_of(
            [len(f.cuts) for f in shuffled],
            [f.missing for f in shuffled],
            [f.monotone for f in shuffled],
        )
        self.options = Candidates(
            self._order[options.feature], options.threshold, options.missing, options.sign
        )

    def level(self, level: int, built: Sequence[Ints], needed: Bools) -> list[Outgoing]:
        """Return the request to the dealer; whole bins are added up, needed or not."""
        del needed
        rows = sum(len(each) for each in built)
        self._now = _Level(level, built, rows, new_seed())
        sizes = np.array([self._index, rows, len(self._order)], np.uint32)
        data = encode(Kind.REQUEST, self._tree, level, sizes, self._now.seed)
        return [Outgoing(self.dealer, data)]

    def take(self, sender: str, message: Message) -> None:
        """See :class:`~.sides.FeatureSide`.

        Raises:
            MessageInvalid: Not masked pairs or dealings of this level, or for the second time.
        """
        now = self._now
        if now is None:
            raise MessageInvalid(f"A {message.kind.name} message came where none was due.")
        shape = ("u8", (2, now.rows))
        if sender == self.dealer:
            number, d = need(message, Kind.DEALING, self._tree, now.level, ("u4", ()), shape)
            feature = int(number)
            if feature >= len(self._order) or feature in now.dealt:
                raise MessageInvalid("A DEALING message came twice, or for no feature.")
            now.dealt[feature] = d
            return
        (masked,) = need(message, Kind.MASKED, self._tree, now.level, shape)
        if now.masked is not None:
            raise MessageInvalid("A MASKED message came twice.")
        now.masked = masked

    def reply(self) -> tuple[list[bytes], tuple[Array, ...]] | None:
        """See :class:`~.sides.FeatureSide`."""
        now, columns = self._now, self._columns
        if now is None or now.masked is None or len(now.dealt) < len(self._order):
            return None
        built, bins = len(now.built), columns.bins
        rows = np.concatenate(now.built)
        node = np.repeat(np.arange(built) * bins, [len(each) for each in now.built])
        stream = Stream(now.seed.tobytes())
        counts = np.empty((built, len(self._order), bins), np.uint32)
        share = np.empty((built, len(self._order), bins, 2), np.uint64)
        before = []
        inverse = np.empty(now.rows, np.int64)
        for place, feature in enumerate(self._order):
            keys = node + columns.codes[rows, feature]
            pi = np.argsort(keys.astype(np.uint16), kind="stable")
            rho = stream.permutation(now.rows)
            inverse[rho] = np.arange(now.rows)
            delta = inverse[pi]
            mine = np.take(now.masked, pi, axis=1)
            mine += np.take(now.dealt[place], delta, axis=1)
            sizes = np.bincount(keys, minlength=built * bins)
            counts[:, place] = sizes.reshape(built, bins)
            share[:, place] = _segments(mine, sizes).reshape(built, bins, 2)
            number = np.array(place, np.uint32)
            before.append(
                encode(Kind.ORDER, self._tree, now.level, number, delta.astype(np.uint32))
            )
        layout = np.array(
            [[len(columns.features[f].cuts), columns.features[f].missing] for f in self._order],
            np.uint32,
        ).reshape(-1, 2)
        self._now = None
        return before, (layout, counts, share)
