"""What each feature party's view of training tells it about labels: the label party plays it. Pure.

Each attack is tried with several draws of known labels; reported is the one that serves it best.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from federated.vertical import guessing, views
from federated.vertical.guessing import Guessed, Rows, Together
from federated.vertical.intervals import Bounded, area, gain
from fusion.grants.leakage import Guess, LabelLeak, measure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from federated.vertical.trained import Trained, Trees, Weights
    from fusion.grants.leakage import Baseline, Measure, Sees

    Floats = NDArray[np.floating]
    Ints = NDArray[np.int64]
    Nodes = NDArray[np.int16]
    Bools = NDArray[np.bool_]

DRAWS: Final = 3
"""Sets of known labels that an attacker tries."""

_STEPS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)


def by_trees(
    trained: Trained, model: Trees, samples: Sequence[Ints], index: int, seed: int
) -> LabelLeak:
    """Play one feature party of boosting.

    Args:
        trained: The model's rows.
        model: Its trees.
        samples: The rows that each tree was made of.
        index: Which feature party, from 0.
        seed: Names the draws.
    """
    positive, party = trained.positive, trained.parties[index]
    shown = _shown(trained, model, samples, index)
    plain = model.backend == "plain" and bool(shown)
    attempts = []
    for number in range(DRAWS):
        rows = guessing.draw(positive, trained.training, seed, number)
        mine, baseline = _own(trained, party, rows)
        attempt = _Attempt(
            rows, positive, mine, baseline, guessing.guess(mine, None, positive, rows)
        )
        guesses = (
            _by_gradients(attempt, model, samples)
            if plain
            else _by_nodes(attempt, shown, model.alone, {len(shown)})
        )
        attempts.append((attempt, guesses))
    attempt, guesses = max(attempts, key=lambda each: each[1][-1].gain.value_micro)
    if not plain:
        guesses = _by_nodes(attempt, shown, model.alone, {*_STEPS, len(shown)})
    return attempt.leak(party, "gradients" if plain else "partition", guesses)


def _by_nodes(
    attempt: _Attempt, shown: Sequence[list[Nodes]], alone: int, steps: set[int]
) -> list[Guess]:
    """Return guesses after some numbers of joint trees, and after the trees before them."""
    guesses = [attempt.judged(1, attempt.without)] if alone else []
    together = Together(attempt.rows)
    for joint, lines in enumerate(shown, start=1):
        together.add(lines)
        if joint in steps:
            found = guessing.guess(attempt.mine, together.share, attempt.positive, attempt.rows)
            guesses.append(attempt.judged(alone + joint, found))
    return guesses


def by_weights(trained: Trained, model: Weights, party: str, seed: int) -> LabelLeak:
    """Play one feature party of a linear model, which gets the weights of its own columns.

    Args:
        trained: The model's rows.
        model: What its weights say.
        party: Which.
        seed: Names the draws.
    """
    positive, partial = trained.positive, model.partials[party]
    told = []
    for number in range(DRAWS):
        rows = guessing.draw(positive, trained.training, seed, number)
        mine, baseline = _own(trained, party, rows)
        without = guessing.guess(mine, None, positive, rows)
        attempt = _Attempt(rows, positive, mine, baseline, without)
        found = Guessed(partial[rows.judged], partial[rows.held_out])
        told.append(attempt.leak(party, "weights", [attempt.judged(0, found)]))
    return max(told, key=lambda each: each.guesses[-1].gain.value_micro)


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One draw of known labels.

    Attributes:
        rows: The draw.
        positive: The class of every row.
        mine: How alike rows are by what the party has of its own.
        baseline: What that is.
        without: The guess from what the party has of its own.
    """

    rows: Rows
    positive: Bools
    mine: Floats
    baseline: Baseline
    without: Guessed

    def judged(self, trees: int, found: Guessed) -> Guess:
        """Return how good a guess is after so many trees."""
        rows, positive = self.rows, self.positive
        outside = guessing.area(found.held_out, rows.held_out, positive)
        return Guess(
            trees=trees,
            auc=_measure(area(found.judged, positive[rows.judged])),
            gain=_measure(gain(found.judged, self.without.judged, positive[rows.judged])),
            held_out=None if outside is None else _measure(outside),
        )

    def leak(self, party: str, sees: Sees, guesses: list[Guess]) -> LabelLeak:
        """Return what this draw shows."""
        alone = area(self.without.judged, self.positive[self.rows.judged])
        return LabelLeak(
            party=party,
            sees=sees,
            baseline=self.baseline,
            known_labels=len(self.rows.known),
            alone=_measure(alone),
            guesses=tuple(guesses),
        )


def _shown(
    trained: Trained, model: Trees, samples: Sequence[Ints], index: int
) -> list[list[Nodes]]:
    """Return what each joint tree shows: nodes, and with sampling who was drawn."""
    found = []
    for number, (tree, place) in enumerate(model.grown):
        if number < model.alone:
            continue
        lines = [views.seen(tree, place, index + 1)]
        if model.growth.goss is not None:
            drawn = np.zeros(len(trained.labels), np.int16)
            drawn[samples[number]] = 1
            lines.append(drawn)
        found.append(lines)
    return found


def _by_gradients(attempt: _Attempt, model: Trees, samples: Sequence[Ints]) -> list[Guess]:
    """Read labels off the gradients of the first joint tree, as the back end ``plain`` sends them.

    A residual is the score less the label: the label is what is left of it. Rows without a gradient
    are guessed to be in the middle.
    """
    guesses = [attempt.judged(1, attempt.without)] if model.alone else []
    scores = next(itertools.islice(model.scores(), model.alone, None))
    rows = samples[model.alone]
    guess = np.zeros(len(attempt.positive))
    guess[rows] = -model.loss.gradients(scores, rows)[:, 0].astype(np.float64)
    mine = attempt.rows
    found = Guessed(guess[mine.judged], np.zeros(len(mine.held_out)))
    return [*guesses, attempt.judged(model.alone + 1, found)]


def _own(trained: Trained, party: str, rows: Rows) -> tuple[Floats, Baseline]:
    """Return how alike rows are in a party's columns; all are where these are not at hand.

    The splits that a party owns are no stand-in: training chose them by the labels.
    """
    columns = trained.columns.get(party)
    if columns is None:
        return np.ones((len(rows.all), len(rows.known)), np.float32), "none"
    return guessing.alike_by_value(columns, rows), "columns"


def _measure(bounded: Bounded) -> Measure:
    return measure(bounded.value, bounded.low, bounded.high)
