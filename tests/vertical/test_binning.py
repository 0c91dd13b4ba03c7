"""Bins by quantiles, a bin for what is missing, and the splits they offer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federated.protocols.vertical.binning import bin_columns, left_sums, quantile_feature
from federated.protocols.vertical.pooled import cuts_of
from fusion.errors import InputInvalid


@given(
    values=st.lists(
        st.one_of(st.integers(-5, 5).map(float), st.just(float("nan"))), min_size=1, max_size=80
    ),
    bins=st.integers(2, 12),
)
@settings(deadline=None)
def test_every_candidate_sums_what_it_sends_left(values: list[float], bins: int) -> None:
    column = np.array(values)
    columns = bin_columns({"c": column}, np.ones(len(column), bool), bins)
    rows = np.arange(len(column))
    options, cuts = columns.candidates, cuts_of(columns)
    counts = left_sums(columns.counts(rows), options, cuts)
    for i, count in enumerate(counts):
        candidate = int(options.feature[i]), int(options.threshold[i]), bool(options.missing[i])
        left = columns.left(candidate, rows)
        assert left.sum() == count
        # The same by values: a threshold is a value of the column.
        cut = columns.features[0].cuts
        below = column <= (cut[candidate[1]] if candidate[1] < len(cut) else np.inf)
        assert np.array_equal(left, np.where(np.isnan(column), candidate[2], below))


def test_a_value_of_most_rows_leaves_the_bins_to_the_others() -> None:
    """As capital gains are: 0 for nine people of ten."""
    values = np.concatenate([np.zeros(900), np.arange(1.0, 101.0)])
    feature = quantile_feature("c", values, 11)
    assert feature.cuts[0] == 0
    assert np.bincount(feature.codes(values)).tolist() == [900, *[10] * 10]
    both = np.concatenate([values, np.full(900, 50.5)])
    found = quantile_feature("c", both, 11)
    assert {0.0, 50.0, 50.5} <= set(found.cuts.tolist())
    assert len(found.cuts) < 11


@given(st.lists(st.integers(1, 400), min_size=3, max_size=60), st.integers(2, 32))
@settings(deadline=None)
def test_there_are_never_more_bins_than_asked_for(counts: list[int], bins: int) -> None:
    values = np.repeat(np.arange(float(len(counts))), counts)
    cuts = quantile_feature("c", values, bins).cuts
    assert len(cuts) < max(2, bins)
    assert (np.diff(cuts) > 0).all()
    assert not len(cuts) or cuts[-1] < values[-1]


def test_bins_hold_about_as_many_rows_each() -> None:
    feature = quantile_feature("c", np.arange(1000.0) ** 2, 10)
    assert np.bincount(feature.codes(np.arange(1000.0) ** 2)).tolist() == [100] * 10


def test_a_value_nobody_trained_on_and_a_missing_one_have_bins() -> None:
    feature = quantile_feature("c", np.array([1.0, 2.0, 3.0]), 8)
    found = feature.codes(np.array([-9.0, 2.5, 99.0, np.nan]))
    assert found.tolist() == [0, 2, 2, 3]
    nothing = quantile_feature("c", np.array([np.nan]), 8)
    assert nothing.codes(np.array([np.nan, 4.0])).tolist() == [1, 0]


def test_too_many_bins_are_refused() -> None:
    with pytest.raises(InputInvalid, match="bins"):
        quantile_feature("c", np.array([1.0]), 129)
