"""Quantile bins of a party's own columns, and the splits that they offer.

A bin is a range of values; missing values have a bin of their own, behind the others. A *candidate*
is a way to send rows left: every bin up to one, with or without those that miss a value, or
everything that has a value. Candidates have one canonical order, by feature, threshold and missing
left, which settles ties.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from fusion.errors import InputInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Codes = NDArray[np.uint8]
    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]

MAX_BINS: Final = 128
"""Bins with values that a feature may have."""


@dataclass(frozen=True, slots=True, eq=False)
class Feature:
    """One column's bins.

    Attributes:
        name: The column's.
        cuts: Upper ends of all bins but the last; ascending.
        missing: Whether a training row lacks a value.
        monotone: 1 where a larger value may only raise the score, -1 only lower it, 0 either.
    """

    name: str
    cuts: Floats
    missing: bool
    monotone: int = 0

    def codes(self, values: Floats) -> Codes:
        """Return each value's bin; a missing value's is ``len(cuts) + 1``."""
        found = np.searchsorted(self.cuts, values, side="left")
        return np.where(np.isnan(values), len(self.cuts) + 1, found).astype(np.uint8)


def quantile_feature(name: str, values: Floats, bins: int, monotone: int = 0) -> Feature:
    """Cut a column into at most ``bins`` bins of about as many training rows each.

    A value of so many rows that it would fill a bin has one of its own, and the bins that it would
    have used up go to the others: of a column that is 0 for most people the rest is still cut fine.

    Raises:
        InputInvalid: Fewer than 2 or more than 128 bins.
    """
    if not 2 <= bins <= MAX_BINS:
        msg = f"A feature has 2 to {MAX_BINS} bins."
        raise InputInvalid(msg)
    missing = np.isnan(values)
    known = np.sort(values[~missing])
    if not len(known):
        return Feature(name, np.empty(0), bool(missing.any()), monotone)
    distinct, counts = np.unique(known, return_counts=True)
    cuts = distinct[:-1] if len(distinct) <= bins else distinct[_ends(counts, bins)]
    return Feature(name, cuts, bool(missing.any()), monotone)


def _ends(counts: Ints, bins: int) -> Ints:
    """Return the last value of every bin but the last, of values with so many rows each."""
    heavy = counts * bins >= counts.sum()
    light = np.where(heavy, 0, counts)
    for shares in range(bins - int(heavy.sum()), 0, -1):
        ends = _boundaries(light, shares, heavy)
        if len(ends) < bins:
            return ends
    return _boundaries(counts, bins, np.zeros(len(counts), bool))


def _boundaries(counts: Ints, shares: int, alone: Bools) -> Ints:
    """Return after which values a bin ends: of equal shares of rows, or of a value alone."""
    total = max(1, int(counts.sum()))
    share = np.cumsum(counts) * shares // total
    before = np.concatenate([[0], share[:-1]])
    ends = (share > before) | alone
    ends[:-1] |= alone[1:]
    return np.flatnonzero(ends[:-1])


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Ways to send rows left, as arrays of one length.

    Attributes:
        feature: Index of the feature.
        threshold: Bins up to this one go left.
        missing: Whether those that miss a value go left as well.
        sign: The feature's monotone direction.
    """

    feature: Ints
    threshold: Ints
    missing: Bools
    sign: NDArray[np.int8]

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.feature)

    def reordered(self, order: Ints) -> Candidates:
        """Return them in another order."""
        return Candidates(
            self.feature[order], self.threshold[order], self.missing[order], self.sign[order]
        )


def candidates_of(cuts: Sequence[int], missing: Sequence[bool], signs: Sequence[int]) -> Candidates:
    """List the candidates of features with so many cuts, in canonical order."""
    rows = [
        (feature, threshold, left, sign)
        for feature, (count, lacks, sign) in enumerate(zip(cuts, missing, signs, strict=True))
        for threshold in range(count + lacks)
        for left in ((False, True) if lacks and threshold < count else (False,))
    ]
    columns = np.array(rows, np.int64).reshape(-1, 4)
    return Candidates(
        columns[:, 0], columns[:, 1], columns[:, 2].astype(bool), columns[:, 3].astype(np.int8)
    )


class Columns:
    """A party's binned columns.

    Attributes:
        features: Their bins.
        codes: Shape ``(rows, features)``.
        bins: Bins of the feature with the most, its bin for missing values among them.
    """

    def __init__(self, features: Sequence[Feature], codes: Codes) -> None:
        """Take features and their codes."""
        self.features = tuple(features)
        self.codes = codes
        self.bins = max((len(f.cuts) + 2 for f in features), default=2)

    @cached_property
    def candidates(self) -> Candidates:
        """All candidates, in canonical order."""
        return candidates_of(
            [len(f.cuts) for f in self.features],
            [f.missing for f in self.features],
            [f.monotone for f in self.features],
        )

    def left(self, candidate: tuple[int, int, bool], rows: Ints) -> Bools:
        """Say of each row whether a candidate sends it left."""
        feature, threshold, missing = candidate
        codes = self.codes[rows, feature]
        lacks = codes == len(self.features[feature].cuts) + 1
        return np.where(lacks, missing, codes <= threshold)

    def counts(self, rows: Ints) -> Ints:
        """Return how many of the rows are in each bin: ``(features, bins)``."""
        width = self.bins
        return np.stack(
            [
                np.bincount(self.codes[rows, f], minlength=width)[:width]
                for f in range(len(self.features))
            ]
        ) if self.features else np.empty((0, width), np.int64)  # fmt: skip


def bin_columns(
    table: Mapping[str, Floats],
    training: Bools,
    bins: int,
    monotone: Mapping[str, int] | None = None,
) -> Columns:
    """Bin a party's columns by the quantiles of its training rows.

    Args:
        table: Columns of one length; NaN is a missing value.
        training: Which rows are trained on.
        bins: At most so many bins with values.
        monotone: Directions of some columns.
    """
    signs = monotone or {}
    features = [
        quantile_feature(name, column[training], bins, signs.get(name, 0))
        for name, column in table.items()
    ]
    codes = [feature.codes(table[feature.name]) for feature in features]
    rows = len(training)
    return Columns(features, np.stack(codes, axis=1) if codes else np.empty((rows, 0), np.uint8))


def left_sums(cells: NDArray[np.generic], candidates: Candidates, cuts: Ints) -> Ints:
    """Return what each candidate sends left, from the contents of bins.

    Works in the integers and in the ring of 64 bits: it adds and nothing else.

    Args:
        cells: ``(features, bins, ...)``.
        candidates: Their features index ``cells``.
        cuts: Of each feature; its bin for missing values is ``cuts + 1``.
    """
    running = np.cumsum(cells, axis=1, dtype=cells.dtype)
    feature = candidates.feature
    total = running[feature, candidates.threshold]
    lacking = cells[feature, cuts[feature] + 1]
    chosen = candidates.missing.reshape((-1,) + (1,) * (total.ndim - 1))
    return np.asarray(np.where(chosen, total + lacking, total))
