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
