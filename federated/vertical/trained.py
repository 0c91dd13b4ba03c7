"""A finished vertical model as its label party has it, for the leak report."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from federated.protocols.vertical import gradients
from fusion.errors import DataInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Literal

    from numpy.typing import NDArray

    from federated.protocols.vertical.binning import Columns
    from federated.protocols.vertical.gradients import Loss
    from federated.protocols.vertical.trees import Growth, Tree
    from federated.vertical.notes import Rest

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Nodes = NDArray[np.int16]
    Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A finished model, judged on the rows of its run.

    Attributes:
        labels: Of all aligned rows.
        training: Which rows were trained on; the others were held out.
        outputs: Of the model, on the scale of the label.
        parties: Feature parties, in their order.
        columns: Of those whose columns are at hand, as in a simulation: their bins. Where they are
            not, a guess without the view counts as chance, so that its gain is never too small.
        seed: Names the samples that the measures draw.
    """

    labels: Floats
    training: Bools
    outputs: Floats
    parties: Sequence[str]
    columns: Mapping[str, Columns] = field(default_factory=dict)
    seed: int = 0

    @property
    def positive(self) -> Bools:
        """The class of each row that is guessed: 1 of 0 and 1, else what is above the median."""
        labels, known = self.labels, self.labels[self.training]
        middle = 0.0 if np.isin(labels, (0.0, 1.0)).all() else float(np.median(known))
        found = labels > middle
        return np.asarray(found if found[self.training].any() else labels >= middle)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trees:
    """What the label party of boosting has beside the rows.

    Attributes:
        loss: Of its part; has the labels.
        grown: Every tree with the leaf of each row, as the label party has them: feature parties
            have seen those as well that were not kept.
        kept: How many of them are the model.
        growth: The terms.
        backend: How gradients were hidden.
    """

    loss: Loss
    grown: Sequence[tuple[Tree, Nodes]]
    kept: int
    growth: Growth
    backend: Literal["paillier", "dealer", "plain"]

    def __post_init__(self) -> None:
        """Refuse what is no model.

        Raises:
            DataInvalid: No tree was kept, or more than were grown.
        """
        if not 0 < self.kept <= len(self.grown):
            raise DataInvalid("A leak report needs every tree of its model, and one at least.")

    @property
    def alone(self) -> int:
        """Trees that the label party grew alone."""
        return min(self.growth.alone_trees, len(self.grown))

    def samples(self, training: Bools) -> list[Ints]:
        """Return the rows that each tree was made of.

        Args:
            training: Which rows were trained on.
        """
        rows, growth = np.flatnonzero(training), self.growth
        if growth.goss is None:
            return [rows] * len(self.grown)
        found = []
        for number, scores in enumerate(self.scores()):
            pairs = self.loss.gradients(scores, rows)
            found.append(gradients.sample(growth.goss, pairs, rows, growth.seed, number)[0])
        return found

    def scores(self) -> Iterator[Floats]:
        """Yield the scores of all rows before each tree."""
        scores = np.full(len(self.grown[0][1]), self.loss.start)
        for tree, place in self.grown:
            yield scores
            weights = np.zeros(max(tree.leaves) + 1)
            weights[list(tree.leaves)] = list(tree.leaves.values())
            scores = scores + weights[place]


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """What a generalised linear model says at each feature party.

    Attributes:
        model: The family.
        backend: How it was trained.
        partials: Of each feature party, the scores of its own columns, of all rows. Where only the
            sum over several parties is known, give each of them the sum.
        supports: Of parties whose design is at hand, :func:`~.leaves.smallest_support`. The label
            party's should be; a feature party looks at its own before it trains.
        rows_told: Of how many rows the label party was told the sum of the others' scores.
        rest: How far training has come, where all parties' columns are at hand.
    """

    model: Literal["logistic", "linear", "poisson", "scorecard"]
    backend: Literal["dealer", "paillier"]
    partials: Mapping[str, Floats]
    supports: Mapping[str, int] = field(default_factory=dict)
    rows_told: int = 0
    rest: Rest | None = None
