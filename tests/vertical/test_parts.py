"""Parts are read back as they were written, and score as their machines did in training."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from federated.vertical import applying, parts
from fusion.errors import DataInvalid, FusionError, MessageInvalid
from fusion.services import engines
from fusion.wire import canonical
from tests.vertical import trained

if TYPE_CHECKING:
    from collections.abc import Callable

NAMES = ("bank", "registry", "tax")
MODELS: dict[str, Callable[[], trained.Trained]] = {
    "boosting": lambda: trained.boosting(NAMES, [2, 2, 1]),
    "one-party": lambda: trained.boosting(NAMES[:2], [1, 2]),
    "logistic": lambda: trained.linear("logistic", NAMES, [2, 2, 1]),
    "linear": lambda: trained.linear("linear", NAMES[:2], [1, 2]),
    "poisson": lambda: trained.linear("poisson", NAMES[:2], [2, 1]),
    "scorecard": lambda: trained.scorecard(NAMES, [2, 2, 1]),
}


@cache
def made(kind: str) -> trained.Trained:
    return MODELS[kind]()


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> trained.Trained:
    return made(request.param)


def scored(model: trained.Trained, rows: list[int]) -> list[Any]:
    engine = engines.scoring()
    opened = {name: engine.open(part) for name, part in model.parts.items()}
    label, *others = model.names
    assert opened[label].parties == tuple(others)
    given = {
        name: engine.answers(opened[name], table, rows)
        for name, table in zip(others, model.tables[1:], strict=True)
    }
    assert all(len(given[name]) == opened[name].width * len(rows) for name in others)
    return engine.scores(opened[label], model.tables[0], rows, given)


def test_scores_are_those_of_training(model: trained.Trained) -> None:
    rows = list(range(len(model.labels)))
    found = scored(model, rows)
    assert np.abs(np.array([each.score for each in found]) - model.scores).max() < 1e-6
    assert np.abs(np.array([each.output for each in found]) - model.outputs).max() < 1e-6
    # A single record scores as it does among others.
    alone = scored(model, [17])[0]
    assert abs(alone.score - found[17].score) < 1e-9
    assert alone.reasons == found[17].reasons


@pytest.mark.parametrize("kind", ["logistic", "linear", "scorecard"])
def test_a_sum_that_no_model_has_is_no_score(kind: str) -> None:
    """Masks that have not met leave a word of 64 bits, which is about as likely any of them."""
    model, rows = made(kind), np.arange(3)
    label, *others = model.names
    part = applying.label_part(model.parts[label])
    given = {
        name: applying.answers(applying.feature_part(model.parts[name]), table, rows)
        for name, table in zip(others, model.tables[1:], strict=True)
    }
    applying.scores(part, model.tables[0], rows, given)
    first = np.frombuffer(given[others[0]], ">u8").astype(np.uint64)
    for mask in (2**63, 2**62 + 12345, 2**64 - 2**61, len(others) * 2**52 + 2**50):
        masked = first + np.array([0, mask, 0], np.uint64)
        wrong = {**given, others[0]: masked.astype(">u8").tobytes()}
        with pytest.raises(MessageInvalid, match="do not add up"):
            applying.scores(part, model.tables[0], rows, wrong)


def test_a_part_is_read_back_to_the_last_bit(model: trained.Trained) -> None:
    for data in model.parts.values():
        part = parts.part_of(data)
        assert parts.bytes_of(part) == data
        with pytest.raises(MessageInvalid):
            parts.part_of(data + b" ")


def test_reasons_are_own_columns_or_names_of_parties(model: trained.Trained) -> None:
    known = {"c0", "c1", "place", *NAMES[1:], " + ".join(NAMES[1:])}
    found = [reason for each in scored(model, list(range(40))) for reason in each.reasons]
    assert {name for name, _ in found} <= known
    assert any(name not in {"c0", "c1", "place"} for name, _ in found)
    assert all(amount > 0 for _, amount in found)


def test_contributions_of_trees_add_up_to_the_score() -> None:
    model = made("one-party")
    label = applying.label_part(model.parts["bank"])
    other = applying.feature_part(model.parts["registry"])
    rows = np.arange(50)
    given = {"registry": applying.answers(other, model.tables[1], rows)}
    assert isinstance(label, parts.BoostingLabel)
    own = applying.checked(label, {n: model.tables[0][n][rows] for n in ("c0", "place")})
    walk = applying._Walk(label, own, 50, given)
    for tree in range(label.trees):
        walk.tree(tree)
    start = float.fromhex(label.start) + sum(walk._means[t, 1] for t in range(label.trees))
    assert np.allclose(walk.contributions.sum(axis=1) + start, model.scores[:50])


def test_a_column_of_another_type_is_refused() -> None:
    model = made("one-party")
    other = applying.feature_part(model.parts["registry"])
    table = {**model.tables[1], "c0": np.array(["x"] * 400, object)}
    with pytest.raises(DataInvalid, match="another type"):
        applying.answers(other, table, np.arange(3))
    empty = {**model.tables[1], "c0": np.array([None] * 400, object)}
    assert applying.answers(other, empty, np.arange(3))
    label = applying.label_part(model.parts["bank"])
    with pytest.raises(MessageInvalid, match="size due"):
        applying.scores(label, model.tables[0], np.arange(3), {"registry": b"x"})


def _changed(data: bytes, path: list[Any], value: Any) -> bytes:  # noqa: ANN401
    document = json.loads(data)
    at = document
    for step in path[:-1]:
        at = at[step]
    if value is None:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return canonical.encode(document)


@pytest.mark.parametrize(
    ("kind", "who", "path", "value"),
    [
        ("boosting", 0, ["form"], "other"),
        ("boosting", 0, ["form"], "boosting-feature"),
        ("boosting", 0, ["leaves", 0], None),
        ("boosting", 0, ["leaves", 0, "node"], 2047),
        ("boosting", 0, ["leaves", 0, "weight"], "0x1.8p+2000"),
        ("boosting", 0, ["leaves", 0, "weight"], "nan"),
        ("boosting", 0, ["others", 0, "owner"], 7),
        ("boosting", 0, ["trees"], 5),
        ("boosting", 1, ["splits", 0, "column"], 9),
        ("boosting", 1, ["splits", 0, "node"], 0),
        ("boosting", 1, ["splits", 0, "more"], 1),
        ("logistic", 0, ["weights"], "AAAA"),
        ("logistic", 0, ["weights"], "AAAAAAAAAAA="),
        ("logistic", 1, ["design", "mean"], "AAAAAAAA8H8="),
        ("logistic", 1, ["design", "intercept"], 1),
        ("scorecard", 0, ["means"], []),
        ("scorecard", 1, ["points", 0, "column"], 9),
        ("scorecard", 1, ["points", 0, "cuts"], ""),
    ],
)
def test_what_is_no_part_is_refused(kind: str, who: int, path: list[Any], value: Any) -> None:  # noqa: ANN401
    data = made(kind).parts[NAMES[who]]
    with pytest.raises(FusionError) as error:
        parts.part_of(_changed(data, path, value))
    assert isinstance(error.value, MessageInvalid)
