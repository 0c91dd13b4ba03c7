"""A logistic model over bins as a scorecard: weights of evidence, points, reasons. Pure.

The weight of evidence of a bin is ``ln(share of goods / share of bads)``, so that a model of
weights of evidence is a table of points (Siddiqi, *Credit Risk Scorecards*, 2006).
Points fall as the chance of the event rises: ``score = offset - factor * log odds``.

A party can make the table of its own columns from its own part of a model; weights of evidence
need the label, which is why another party's columns are binned by their owner and events of its
bins counted with the label party: :mod:`~.counting`. Only bins of enough rows are counted; one that
is not, as that for missing values where hardly any is missing, says nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from fusion.errors import InputInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from federated.protocols.vertical.binning import Columns

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]

_SMOOTHING: Final = 0.5
"""Added to both counts of a bin, so that a bin without events has a weight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How log odds become points.

    Attributes:
        points: A score of so many points ...
        odds: ... means so many goods to a bad.
        double: Points that double the odds.
    """

    points: float = 600.0
    odds: float = 50.0
    double: float = 20.0

    def __post_init__(self) -> None:
        """Refuse a scale that is none.

        Raises:
            InputInvalid: Odds or points to double that are not above 0.
        """
        if not (self.odds > 0 and self.double > 0):
            raise InputInvalid("A scorecard's odds and points to double are above 0.")

    @property
    def factor(self) -> float:
        """Points a unit of log odds."""
        return self.double / math.log(2)

    @property
    def offset(self) -> float:
        """Points at even odds."""
        return self.points - self.factor * math.log(self.odds)


@dataclass(frozen=True, slots=True)
class Scorecard:
    """Points by feature and bin.

    Attributes:
        base: Points of everybody.
        points: By feature: points of each bin, that for missing values last.
        mean: By feature: mean points over the rows it was made from; reasons are measured by it.
    """

    base: float
    points: Mapping[str, tuple[float, ...]]
    mean: Mapping[str, float]

    def scores(self, columns: Columns) -> Floats:
        """Return each row's points."""
        return np.asarray(self.base + self._contributions(columns).sum(axis=1))

    def reasons(self, columns: Columns, row: int, most: int = 4) -> list[tuple[str, float]]:
        """Return the features that cost a row the most points beside the mean, the worst first."""
        lost = [
            (feature.name, float(self.mean[feature.name] - points))
            for feature, points in zip(
                columns.features, self._contributions(columns)[row], strict=True
            )
        ]
        worst = sorted((item for item in lost if item[1] > 0), key=lambda item: (-item[1], item[0]))
        return worst[:most]

    def _contributions(self, columns: Columns) -> Floats:
        found = np.zeros((len(columns.codes), len(columns.features)))
        for i, feature in enumerate(columns.features):
            found[:, i] = np.array(self.points[feature.name])[columns.codes[:, i]]
        return found


def enough(columns: Columns, training: Bools, fewest: int) -> Columns:
    """Return columns with bins put together until each has enough training rows.

    Args:
        columns: Binned columns, of all rows.
        training: Which rows are trained on.
        fewest: Rows that a bin has at least.
    """
    merged = []
    for i, feature in enumerate(columns.features):
        held = np.bincount(columns.codes[training, i], minlength=len(feature.cuts) + 2)
        ends, rows = [], 0
        for at in range(len(feature.cuts)):
            rows += int(held[at])
            if rows >= fewest:
                ends.append(at)
                rows = 0
        if ends and rows + int(held[len(feature.cuts)]) < fewest:
            ends.pop()  # what is left at the end joins the bin before it
        cuts = feature.cuts[ends]
        merged.append((feature, cuts, ends))
    features = [replace(feature, cuts=cuts) for feature, cuts, _ in merged]
    codes = np.empty_like(columns.codes)
    for i, (feature, cuts, ends) in enumerate(merged):
        new = np.searchsorted(ends, np.arange(len(feature.cuts) + 1), side="left")
        codes[:, i] = np.append(new, len(cuts) + 1)[columns.codes[:, i]]
    return type(columns)(features, codes)


def counted(columns: Columns, training: Bools, fewest: int) -> Ints:
    """Return feature and bin, ``(bins, 2)``, of every bin with enough training rows."""
    held = columns.counts(np.flatnonzero(training))
    return np.argwhere(held >= max(1, fewest))


def evidence_of(columns: Columns, training: Bools, places: Ints, events: Ints) -> list[Floats]:
    """Return each feature's weights of evidence, a bin each, that for missing values last.

    Args:
        columns: Binned columns.
        training: Which rows are trained on.
        places: Which bins were counted: :func:`counted`.
        events: Of each of them.
    """
    held = columns.counts(np.flatnonzero(training))
    found = []
    for i, feature in enumerate(columns.features):
        mine = places[:, 0] == i
        bins, bads = places[mine, 1], events[mine]
        line = np.zeros(len(feature.cuts) + 2)
        if len(bins):
            line[bins] = evidence(held[i, bins] - bads, bads)
        found.append(line)
    return found


def evidence(goods: Ints, bads: Ints) -> Floats:
    """Return each bin's weight of evidence.

    Args:
        goods: Rows without the event, a bin each.
        bads: Rows with it.
    """
    good, bad = goods + _SMOOTHING, bads + _SMOOTHING
    return np.asarray(np.log((good / good.sum()) / (bad / bad.sum())))


def weights_of_evidence(columns: Columns, labels: Floats) -> dict[str, Floats]:
    """Return each feature's weights of evidence, a bin each, that for missing values last."""
    found = {}
    for i, feature in enumerate(columns.features):
        bins, codes = len(feature.cuts) + 2, columns.codes[:, i]
        bads = np.bincount(codes[labels > 0], minlength=bins)
        found[feature.name] = evidence(np.bincount(codes[labels <= 0], minlength=bins), bads)
    return found


def replaced(columns: Columns, table: Mapping[str, Floats]) -> Floats:
    """Return rows with each bin replaced by its weight of evidence."""
    parts = [table[f.name][columns.codes[:, i]] for i, f in enumerate(columns.features)]
    return np.stack(parts, axis=1)


def scorecard(
    columns: Columns,
    table: Mapping[str, Floats],
    weights: Sequence[float],
    intercept: float,
    scale: Scale,
) -> Scorecard:
    """Turn a logistic model of weights of evidence into points.

    Args:
        columns: The rows it was fitted on.
        table: Weights of evidence.
        weights: The model's, a feature each, for the log odds of the event.
        intercept: The model's.
        scale: The scale.
    """
    points, mean = {}, {}
    for i, (feature, weight) in enumerate(zip(columns.features, weights, strict=True)):
        values = -scale.factor * weight * table[feature.name]
        points[feature.name] = tuple(float(v) for v in values)
        mean[feature.name] = float(values[columns.codes[:, i]].mean())
    return Scorecard(scale.offset - scale.factor * intercept, points, mean)
