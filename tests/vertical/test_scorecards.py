"""A scorecard says in points what its model says in log odds, and why."""

from __future__ import annotations

import numpy as np
import pytest

from federated.protocols.vertical import linear_pooled, scorecards
from federated.protocols.vertical.binning import bin_columns
from federated.protocols.vertical.linear_terms import Target
from fusion.errors import InputInvalid
from tests.vertical.parties import make


def test_points_are_the_log_odds_of_the_model() -> None:
    made = make([3], 500, 2)
    columns = bin_columns(made.tables[0], np.ones(500, bool), 5)
    table = scorecards.weights_of_evidence(columns, made.labels)
    block = np.hstack([np.ones((500, 1)), scorecards.replaced(columns, table)])
    target = Target.of("logistic", made.labels)
    intercept, *weights = linear_pooled.fit(block, target, 1e-6)
    scale = scorecards.Scale(points=500, odds=10, double=30)
    card = scorecards.scorecard(
        columns, table, [float(w) for w in weights], float(intercept) + target.offset, scale
    )
    log_odds = block @ np.array([intercept, *weights]) + target.offset
    scores = card.scores(columns)
    assert np.allclose(scores, 500 - 30 / np.log(2) * (log_odds + np.log(10)))
    # Odds of 10 to 1 for the good are 500 points, and 30 points double them.
    assert np.isclose(np.interp(np.log(10), np.sort(-log_odds), np.sort(scores)), 500, atol=1)
    worst = int(np.argmin(scores))
    names, lost = zip(*card.reasons(columns, worst), strict=True)
    assert set(names) <= {"c0", "c1", "c2"}
    assert list(lost) == sorted(lost, reverse=True)
    mean = card.base + sum(card.mean.values())
    assert sum(lost) >= mean - scores[worst] - 1e-9


def test_a_bin_without_events_has_a_weight() -> None:
    found = scorecards.evidence(np.array([10, 0, 5]), np.array([0, 10, 5]))
    assert np.isfinite(found).all()
    assert found[0] > found[2] > found[1]


def test_a_scale_that_is_none_is_refused() -> None:
    with pytest.raises(InputInvalid, match="above 0"):
        scorecards.Scale(double=0)
