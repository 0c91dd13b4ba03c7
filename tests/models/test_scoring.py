"""Scores between nodes are those of training, and end with grant or model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.models.world import FIRST, LABEL, SECOND, Served, identifier, served
from tests.vertical import trained

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES = (LABEL, FIRST, SECOND)
LACKING = {LABEL: {7}, FIRST: {3, 5}, SECOND: {5, 11}}


@pytest.fixture(scope="module")
def linear(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    model = trained.linear("logistic", NAMES, [2, 2, 1])
    with served(tmp_path_factory.mktemp("linear"), model, "logistic", LACKING) as found:
        yield found


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    model = trained.boosting(NAMES, [2, 2, 1])
    with served(tmp_path_factory.mktemp("trees"), model, "boosting", LACKING) as found:
        yield found


@pytest.mark.parametrize("kind", ["linear", "trees"])
def test_a_joint_score_is_that_of_training(kind: str, request: pytest.FixtureRequest) -> None:
    world: Served = request.getfixturevalue(kind)
    scorer = world.scorer()
    asked = [*map(identifier, range(60)), "nobody", "", None]
    found = scorer.score(asked)
    scorer.close()
    missing = {
        3: "not at registry",
        5: "not at registry, tax",
        7: "not in the own table",
        11: "not at tax",
    }
    assert {i: row.missing for i, row in enumerate(found[:60]) if row.missing} == missing
    assert [row.missing for row in found[60:]] == [
        "not in the own table",
        "identifier not valid",
        "identifier not valid",
    ]
    for i, row in enumerate(found[:60]):
        assert (row.scored is None) == (i in missing)
        if row.scored is not None:
            assert abs(row.scored.score - world.model.scores[i]) < 1e-6
            assert abs(row.scored.output - world.model.outputs[i]) < 1e-6
    assert any(row.scored.reasons for row in found if row.scored)
