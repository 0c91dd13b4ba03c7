"""How sums of hidden gradients reach the label party: what a back end is, and the plain one.

A back end has a side at the label party and one at each feature party. ``plain`` hides nothing:
every gradient travels as it is. It is for tests and for measuring what hiding costs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from federated.protocols.vertical.binning import Candidates, left_sums
from federated.protocols.vertical.messages import Kind, Message, chunks, encode, need
from federated.protocols.vertical.pooled import cells_of, cuts_of
from fusion.errors import MessageInvalid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from federated.protocols.vertical.binning import Columns
    from federated.protocols.vertical.messages import Array, Outgoing
    from federated.protocols.vertical.trees import Growth

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Offer:
    """What a feature party says of its columns before the first tree.

    Attributes:
        candidates: How many splits it offers.
        features: How many columns it has.
        bins: Bins of the one with the most.
    """

    candidates: int
    features: int
    bins: int


@dataclass(frozen=True, slots=True)
class Level:
    """What the label party waits for from one party.

    Attributes:
        party: The party.
        offer: What it said.
        tree: Which tree.
        level: Which level.
        pairs: Gradients and hessians of the rows of each node that is built, in its order.
        active: How many nodes may be split.
    """

    party: str
    offer: Offer
    tree: int
    level: int
    pairs: Sequence[Ints]
    active: int


class Reading(Protocol):
    """The label party's side of one level with one party."""

    def ask(self) -> list[Outgoing]:
        """Return what has to be sent first."""
        ...

    def take(self, sender: str, message: Message) -> None:
        """Take a message of the party, or of the dealer.

        Raises:
            MessageInvalid: It is not what is due.
        """
        ...

    def candidates(self, arrays: Sequence[Array], count: int) -> Ints | None:
        """Return ``(built, candidates, 2)`` once all is here; else None.

        Args:
            arrays: What the party's CANDIDATES carry for the back end.
            count: Candidates.
        """
        ...


class LabelSide(Protocol):
    """A back end at the label party."""

    @property
    def name(self) -> str:
        """``paillier``, ``dealer`` or ``plain``."""
        ...

    @property
    def dealer(self) -> str | None:
        """Who deals, if anybody."""
        ...

    def start(self) -> tuple[Array, ...]:
        """Return what START carries."""
        ...

    def tree(self, number: int, pairs: Ints) -> list[bytes]:
        """Return the messages by which every feature party gets a tree's gradients."""
        ...

    def reading(self, level: Level) -> Reading:
        """Begin to read a level of a party."""
        ...


class FeatureSide(Protocol):
    """A back end at a feature party.

    Attributes:
        options: The party's candidates in the order in which this tree's messages have them.
    """

    options: Candidates

    @property
    def dealer(self) -> str | None:
        """Who deals, if anybody."""
        ...

    def start(self, message: Message) -> None:
        """Take START.

        Raises:
            MessageInvalid: It carries something else.
        """
        ...

    def tree(self, number: int, sample: Ints) -> None:
        """Begin a tree of these rows."""
        ...

    def level(self, level: int, built: Sequence[Ints], needed: Bools) -> list[Outgoing]:
        """Begin a level; return what has to be sent.

        Args:
            level: Which.
            built: The rows of each node that is built.
            needed: ``(built, candidates)``: whose sums the level can use. A back end that sends
                sums by candidate sends 0 for the others.
        """
        ...

    def take(self, sender: str, message: Message) -> None:
        """Take a message of the label party, or of the dealer.

        Raises:
            MessageInvalid: It is not what is due.
        """
        ...

    def reply(self) -> tuple[list[bytes], tuple[Array, ...]] | None:
        """Return messages to send first and what CANDIDATES carry, or None while more is due."""
        ...


class PlainLabelSide:
    """Sends gradients as they are."""

    name = "plain"
    dealer = None

    def start(self) -> tuple[Array, ...]:
        """See :class:`LabelSide`."""
        return ()

    def tree(self, number: int, pairs: Ints) -> list[bytes]:
        """See :class:`LabelSide`."""
        return [
            encode(Kind.GRADIENTS, number, 0, pairs[first : first + count].view(np.uint64))
            for first, count in chunks(len(pairs), 16)
        ]

    def reading(self, level: Level) -> PlainReading:
        """See :class:`LabelSide`."""
        return PlainReading(level)


class PlainReading:
    """Reads sums as they are."""

    def __init__(self, level: Level) -> None:
        """Take what is due."""
        self._due = level

    def ask(self) -> list[Outgoing]:
        """See :class:`Reading`."""
        return []

    def take(self, sender: str, message: Message) -> None:
        """See :class:`Reading`."""
        del sender
        raise MessageInvalid(f"A {message.kind.name} message came where CANDIDATES was due.")

    def candidates(self, arrays: Sequence[Array], count: int) -> Ints:
        """See :class:`Reading`."""
        shape = (len(self._due.pairs), count, 2)
        message = Message(Kind.CANDIDATES, 0, 0, tuple(arrays))
        (sums,) = need(message, Kind.CANDIDATES, 0, 0, ("u8", shape))
        return sums.view(np.int64)


class Gathered:
    """Gradients of a tree as they come in, piece by piece."""

    def __init__(self, number: int, rows: int, code: str, width: int) -> None:
        """Make room for ``rows`` rows of ``width`` numbers."""
        self._number = number
        self._code = code
        self.rows = np.empty((rows, width), np.dtype(code))
        self.count = 0

    @property
    def complete(self) -> bool:
        """Whether all rows are here."""
        return self.count == len(self.rows)

    def take(self, message: Message) -> Array:
        """Take a piece and return it.

        Raises:
            MessageInvalid: It is none, or there are more rows than the tree has.
        """
        shape = (self._code, (None, self.rows.shape[1]))
        (piece,) = need(message, Kind.GRADIENTS, self._number, 0, shape)
        if self.count + len(piece) > len(self.rows):
            raise MessageInvalid("There are more gradients than rows in the tree's sample.")
        self.rows[self.count : self.count + len(piece)] = piece
        self.count += len(piece)
        return piece


class PlainFeatureSide:
    """Adds up what everybody can read."""

    dealer = None

    def __init__(self, columns: Columns, growth: Growth, rows: int) -> None:
        """Take the party's columns."""
        del growth
        self._columns = columns
        self._place = np.zeros(rows, np.int64)
        self.options = columns.candidates
        self._gathered = Gathered(0, 0, "u8", 2)
        self._built: Sequence[Ints] = ()
        self._needed = np.zeros((0, 0), bool)

    def start(self, message: Message) -> None:
        """See :class:`FeatureSide`."""
        need(message, Kind.START, 0, 0, ("u1", (32,)))

    def tree(self, number: int, sample: Ints) -> None:
        """See :class:`FeatureSide`."""
        self._gathered = Gathered(number, len(sample), "u8", 2)
        self._place[sample] = np.arange(len(sample))

    def level(self, level: int, built: Sequence[Ints], needed: Bools) -> list[Outgoing]:
        """See :class:`FeatureSide`."""
        del level
        self._built, self._needed = built, needed
        return []

    def take(self, sender: str, message: Message) -> None:
        """See :class:`FeatureSide`."""
        del sender
        self._gathered.take(message)

    def reply(self) -> tuple[list[bytes], tuple[Array, ...]] | None:
        """See :class:`FeatureSide`."""
        if not self._gathered.complete:
            return None
        pairs, cuts = self._gathered.rows.view(np.int64), cuts_of(self._columns)
        sums = [
            left_sums(cells_of(self._columns, pairs[self._place[rows]], rows), self.options, cuts)
            for rows in self._built
        ]
        found: Any = np.stack(sums)
        found[~self._needed] = 0
        return [], (found.view(np.uint64),)
