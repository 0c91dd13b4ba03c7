"""A feature party guesses labels: with what it has, and with what training has shown it.

The attack asks the nearest of the few rows whose labels are known, weighted by how alike they are
(Nadaraya 1964, Watson 1964). Rows are alike as far as their values are, and as far as they fell
into the same nodes: rows of one node have similar gradients, which is how a partition tells labels
(Cheng et al., SecureBoost, IEEE Intelligent Systems 2021). The same without the partition is what
the party could guess anyway. How sharply distance counts is chosen on the known labels, each left
out in turn. No matrix is factored: this runs beside other work, on a core or two. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from federated import seeds
from federated.vertical import intervals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from federated.protocols.vertical.binning import Columns
    from federated.vertical.intervals import Bounded

    Floats = NDArray[np.floating]
    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]
    Lines = Sequence[NDArray[np.integer]]
    """Of each tree, a number a row: rows with the same number were seen together."""

FEWEST_KNOWN: Final = 100
MOST_KNOWN: Final = 200
FEWEST_OF_CLASS: Final = 10
"""With fewer training rows of a class nothing is measured."""

JUDGED: Final = 4_000
"""Rows of each kind that a guess is judged by."""

_POWERS: Final = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one attempt, as indices.

    Attributes:
        known: Whose labels the attacker is given.
        judged: Rows trained on that it guesses.
        held_out: Rows never trained on that it guesses.
    """

    known: Ints
    judged: Ints
    held_out: Ints

    @property
    def all(self) -> Ints:
        """The three, one behind the other."""
        return np.concatenate([self.known, self.judged, self.held_out])


def known_count(training: int) -> int:
    """Return how many labels an attacker is given: 1 % of the training rows, within bounds."""
    return min(max(FEWEST_KNOWN, training // 100), MOST_KNOWN, training // 4)


def measurable(positive: Bools, training: Bools) -> bool:
    """Whether each class has enough rows, some to be known and some to be guessed."""
    count = int(positive[training].sum())
    return min(count, int(training.sum()) - count) >= FEWEST_OF_CLASS


def draw(positive: Bools, training: Bools, seed: int, number: int) -> Rows:
    """Draw the rows of an attempt; both classes are among those that are known.

    Args:
        positive: The class of every row.
        training: Which rows were trained on.
        seed: Names the draw, with its number.
        number: Which draw.
    """
    generator = seeds.generator("leak-known", seed, number)
    inside = generator.permutation(np.flatnonzero(training))
    wanted, fewest = known_count(len(inside)), 5
    sides = []
    for side in (positive[inside], ~positive[inside]):
        share = max(round(wanted * float(side.mean())), min(fewest, int(side.sum()) // 2))
        sides.append(inside[side][:share])
    known = np.concatenate(sides)
    rest = inside[~np.isin(inside, known)]
    outside = generator.permutation(np.flatnonzero(~training))
    return Rows(known, rest[:JUDGED], outside[:JUDGED])


def alike_by_value(columns: Columns, rows: Rows) -> Floats:
    """Return how alike rows are in a party's columns: ``(rows, known)``, from 0 to 1.

    Half for each column's bin being the same, half for how near the bins are.
    """
    found = np.zeros((len(rows.all), len(rows.known)), np.float32)
    for place, feature in enumerate(columns.features):
        codes = columns.codes[rows.all, place].astype(np.float32)
        apart = np.abs(codes[:, None] - codes[None, : len(rows.known)])
        found += (apart == 0) / 2 + (1 - apart / (len(feature.cuts) + 2)) / 2
    return np.asarray(found / max(1, len(columns.features)))


class Together:
    """How often rows were seen in the same node, tree by tree.

    Attributes:
        lines: How many partitions were added.
    """

    def __init__(self, rows: Rows) -> None:
        """Begin with none."""
        self._rows = rows.all
        self._known = len(rows.known)
        self._counts = np.zeros((len(self._rows), self._known), np.float32)
        self.lines = 0

    def add(self, lines: Lines) -> None:
        """Add what one tree showed."""
        for line in lines:
            mine = line[self._rows]
            self._counts += mine[:, None] == mine[None, : self._known]
            self.lines += 1

    @property
    def share(self) -> Floats:
        """The share of what was seen in which two rows were together: ``(rows, known)``."""
        return np.asarray(self._counts / max(1, self.lines))


@dataclass(frozen=True, slots=True)
class Guessed:
    """Scores of the rows that are judged, and of those held out."""

    judged: Floats
    held_out: Floats


def guess(mine: Floats, nodes: Floats | None, positive: Bools, rows: Rows) -> Guessed:
    """Return what the known labels say of the other rows.

    With nodes, the mean of three guesses: by nodes, by both together, by either.

    Args:
        mine: How alike rows are by value.
        nodes: How often they were together; None for a guess without the view.
        positive: The class of every row; only that of known rows is used.
        rows: The attempt.
    """
    known = positive[rows.known].astype(np.float32)
    alike = [mine] if nodes is None else [nodes, mine * nodes, mine + nodes]
    scores = np.zeros(len(mine) - len(known))
    for each in alike:
        scores += _smoothed(each, known) / len(alike)
    return Guessed(scores[: len(rows.judged)], scores[len(rows.judged) :])


def _smoothed(alike: Floats, known: Floats) -> Floats:
    """Return the mean label of the known rows for each other row, weighted by a power of likeness.

    Args:
        alike: ``(rows, known)``, the known rows first.
        known: Their labels.
    """
    count = len(known)
    own = alike[:count].copy()
    np.fill_diagonal(own, 0)
    errors = [np.mean((_weighted(own, known, power) - known) ** 2) for power in _POWERS]
    return _weighted(alike[count:], known, _POWERS[int(np.argmin(errors))])


def _weighted(alike: Floats, known: Floats, power: int) -> Floats:
    # Relative to the nearest, so that a high power leaves no row without a neighbour.
    nearest = alike.max(axis=1, keepdims=True)
    weights = np.where(nearest > 0, alike, 1) / np.where(nearest > 0, nearest, 1)
    weights **= power
    return np.asarray((weights * known).sum(axis=1) / weights.sum(axis=1))


def area(scores: Floats, rows: Ints, positive: Bools) -> Bounded | None:
    """Return the area under the ROC curve of a guess of some rows; None if a class is missing."""
    classes = positive[rows]
    if not len(rows) or classes.all() or not classes.any():
        return None
    return intervals.area(scores, classes)
