"""``[model]`` of a vertical study: which model, hidden how, and its numbers. Pure."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from federated.protocols.vertical.binning import MAX_BINS
from federated.protocols.vertical.counting import FEWEST_OF_CLASS
from federated.protocols.vertical.gradients import Goss
from federated.protocols.vertical.linear_terms import MAX_EPOCHS, Family, LinearTerms
from federated.protocols.vertical.scorecards import Scale
from federated.protocols.vertical.trees import MAX_DEPTH, MAX_TREES, Growth
from fusion.wire.documents import Part
from fusion.wire.study_fields import Name  # noqa: TC001 - a type of fields

MAX_MONOTONE: Final = 1000

Positive = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Penalty = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]


class GossSection(Part):
    """``goss = { top = 0.2, other = 0.1 }``: which rows a tree is grown on."""

    top: Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]
    other: Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]


class Boosting(Part):
    """``[model] kind = "boosting"``: trees by histograms."""

    kind: Literal["boosting"]
    backend: Literal["paillier", "dealer"] = "paillier"
    objective: Literal["logistic", "squared"] = "logistic"
    trees: Annotated[int, Field(ge=1, le=MAX_TREES)] = 50
    depth: Annotated[int, Field(ge=1, le=MAX_DEPTH)] = 5
    bins: Annotated[int, Field(ge=2, le=MAX_BINS)] = 32
    learning_rate: Positive = 0.1
    l2: Penalty = 1.0
    gamma: Penalty = 0.0
    min_leaf: Annotated[int, Field(ge=1, le=2**31)] = 50
    alone_trees: Annotated[int, Field(ge=0, le=MAX_TREES)] = 1
    goss: GossSection | None = None
    stop_after: Annotated[int, Field(ge=0, le=MAX_TREES)] = 0
    monotone: Annotated[dict[Name, Literal[1, -1]], Field(max_length=MAX_MONOTONE)] = Field(
        default_factory=dict
    )
    key_bits: Literal[2048, 3072, 4096] = 2048

    @property
    def steps(self) -> int:
        """Most trees."""
        return self.trees

    @property
    def unit(self) -> str:
        """What a step is."""
        return "trees"

    def growth(self, seed: int) -> Growth:
        """Return how trees grow.

        Args:
            seed: Of the study: it names the rows that GOSS draws.

        Raises:
            InputInvalid: Values that do not go together.
        """
        goss = None if self.goss is None else Goss(top=self.goss.top, other=self.goss.other)
        return Growth(
            objective=self.objective,
            trees=self.trees,
            depth=self.depth,
            learning_rate=self.learning_rate,
            l2=self.l2,
            gamma=self.gamma,
            min_leaf=self.min_leaf,
            alone_trees=self.alone_trees,
            goss=goss,
            patience=self.stop_after,
            seed=seed,
        )


class _Descent(Part):
    """What all models have whose weights are found by gradient descent."""

    kind: str
    backend: Literal["dealer", "paillier"] = "dealer"
    epochs: Annotated[int, Field(ge=1, le=MAX_EPOCHS)] = 30
    learning_rate: Annotated[float, Field(gt=0, le=4, allow_inf_nan=False)] = 1.0
    momentum: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)] = 0.7
    l2: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 1e-4
    key_bits: Literal[2048, 3072, 4096] = 2048

    @property
    def steps(self) -> int:
        """Epochs."""
        return self.epochs

    @property
    def unit(self) -> str:
        """What a step is."""
        return "epochs"

    def _terms(self, family: Family, rows: int) -> LinearTerms:
        return LinearTerms(
            family=family,
            rows=rows,
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            momentum=self.momentum,
            l2=self.l2,
        )


class Linear(_Descent):
    """``[model] kind = "logistic"``, ``"linear"`` or ``"poisson"``."""

    kind: Literal["logistic", "linear", "poisson"]

    def terms(self, rows: int) -> LinearTerms:
        """Return what all agree on, for so many rows that train.

        Raises:
            InputInvalid: More rows, or fewer, than can be trained on.
        """
        return self._terms(self.kind, rows)


class Scorecard(_Descent):
    """``[model] kind = "scorecard"``: a logistic model of weights of evidence, in points."""

    kind: Literal["scorecard"]
    bins: Annotated[int, Field(ge=2, le=MAX_BINS)] = 10
    min_bin: Annotated[int, Field(ge=2 * FEWEST_OF_CLASS, le=2**31)] = 50
    points: Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)] = 600.0
    odds: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] = 50.0
    double: Annotated[float, Field(gt=0, le=1e4, allow_inf_nan=False)] = 20.0

    def terms(self, rows: int) -> LinearTerms:
        """Return what all agree on, as :meth:`Linear.terms` does."""
        return self._terms("logistic", rows)

    @property
    def scale(self) -> Scale:
        """How log odds become points."""
        return Scale(points=self.points, odds=self.odds, double=self.double)


Model = Annotated[Boosting | Linear | Scorecard, Field(discriminator="kind")]
