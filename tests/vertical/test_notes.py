"""How far a linear model has come, seen from where it comes to rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from federated import seeds
from federated.protocols.vertical import linear_pooled
from federated.protocols.vertical.linear_terms import Family, LinearTerms, Target
from federated.vertical.notes import AT_REST, rest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

ROWS = 600


def made(family: Family) -> tuple[list[Floats], Target, LinearTerms]:
    draw = seeds.generator("test-rest", ROWS)
    blocks = [np.ones((ROWS, 1)), draw.normal(size=(ROWS, 3))]
    score = 0.5 * blocks[1].sum(axis=1)
    labels = {
        "logistic": (draw.random(ROWS) < 1 / (1 + np.exp(-score))).astype(float),
        "linear": score + draw.normal(size=ROWS),
        "poisson": draw.poisson(np.exp(score / 2)).astype(float),
    }[family]
    return blocks, Target.of(family, labels), LinearTerms(family=family, rows=ROWS)


@pytest.mark.parametrize("backend", ["dealer", "paillier"])
@pytest.mark.parametrize("family", ["logistic", "linear", "poisson"])
def test_more_steps_leave_less_to_gain(family: Family, backend: str) -> None:
    blocks, target, terms = made(family)
    best = linear_pooled.fit(np.hstack(blocks), target, terms.l2)
    left = []
    for share in (0.0, 0.5, 0.9, 1.0):
        found = rest(terms, backend, blocks, [share * best[:1], share * best[1:]], target)
        assert found.beyond == 0
        left.append(found.excess)
    assert left == sorted(left, reverse=True)
    # Without weights all is still to be gained; halfway, with a loss like a square, a quarter.
    assert left[0] == pytest.approx(1.0)
    assert left[1] == pytest.approx(0.25, abs=0.06)
    assert left[2] > AT_REST > left[3]


@pytest.mark.parametrize(
    ("family", "backend", "end"),
    [("logistic", "dealer", 24), ("logistic", "paillier", 32), ("poisson", "paillier", 6.5)],
)
def test_scores_beyond_the_range_are_counted(family: Family, backend: str, end: float) -> None:
    blocks, target, terms = made(family)
    weights = [np.array([end - target.offset - 1.0]), np.zeros(3)]
    assert rest(terms, backend, blocks, weights, target).beyond == 0
    blocks[1][:7] = 0.0
    blocks[1][:7, 0] = 1.0
    weights[1][0] = 2.0
    blocks[1][7:] = 0.0
    found = rest(terms, backend, blocks, weights, target)
    assert (found.beyond, found.high) == (7, end)
