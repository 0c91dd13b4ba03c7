"""Several requests together: decided as one after the other, on disk before any is answered."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
import pytest

from fusion.errors import InputInvalid
from sandbox.history import guard
from sandbox.history.request import Request, Status
from sandbox.history.thresholds import Policy
from tests.sandbox.history_node import COHORT, PEOPLE, Node
from tests.sandbox.history_people import DEFINED, MEASURE, SCOPE, where

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def _overlapping(seed: int) -> list[Request]:
    """Return tables of one cell, of which many share people, and some come again or nearly so."""
    draw = np.random.default_rng([14, seed])
    made = [PEOPLE.table(where(age=range(18, last)), noise=0.0, merge=False) for last in (100, 98)]
    while len(made) < 26:
        low, high = int(draw.integers(18, 80)), int(draw.integers(84, 100))
        ages = range(18, high), range(low, high), range(low, low + int(draw.integers(2, 40)))
        about: dict[str, object] = {"age": ages[int(draw.integers(3))]}
        if draw.random() < 0.3:
            about["sex"] = str(draw.choice(["f", "m"]))
        if draw.random() < 0.2:
            about["district"] = tuple(f"d{number:02}" for number in draw.permutation(24)[:9])
        measure = MEASURE if draw.random() < 0.8 else "count"
        request = PEOPLE.table(where(**about), noise=0.0, measure=measure, merge=False)
        made += [request] * int(draw.integers(1, 3))
    return made


@pytest.mark.parametrize("seed", range(6))
def test_a_list_is_decided_as_one_after_the_other(tmp_path: Path, seed: int) -> None:
    policy = Policy(h_max=0.1, refusals=(2, 5, 10**6)[seed % 3])
    folders = [tmp_path / name for name in ("one", "all", "some")]
    for folder in folders:
        folder.mkdir()
    one, together, some = (Node(folder, policy) for folder in folders)
    requests = _overlapping(seed)
    expected = [one.history.release(each, DEFINED, COHORT, one.answer) for each in requests]
    found = together.history.release_all(
        iter(requests), DEFINED, COHORT, lambda _, groups: together.answer(groups)
    )
    assert found == expected
    statuses = {each.decision.outcomes[0].status for each in found}
    assert statuses >= {Status.SERVED, Status.CACHED}
    assert statuses & {Status.WITHHELD, Status.SNAPPED}
    for first in range(0, len(requests), 7):
        found[first : first + 7] = some.history.release_all(
            requests[first : first + 7], DEFINED, COHORT, lambda _, groups: some.answer(groups)
        )
        some.again()
    assert found == expected
    states = [node.history.opened(SCOPE)[0] for node in (one, together, some)]
    for node, state in zip((one, together, some), states, strict=True):
        assert state.released == states[0].released
        assert state.settled == states[0].settled
        assert np.array_equal(state.leverage.factor.lower, states[0].leverage.factor.lower)
        assert np.allclose(state.leverage.h, states[0].leverage.h, rtol=0, atol=1e-12)
        assert node.history.verify() == 1


def test_a_list_is_on_disk_before_any_of_it_is_answered(node: Node) -> None:
    asked: list[int] = []

    def fails(place: int, groups: tuple[tuple[int, ...], ...]) -> tuple[str, ...]:
        with closing(sqlite3.connect(node.path)) as connection:
            found = connection.execute("SELECT kind FROM event ORDER BY number").fetchall()
        assert [row[0] for row in found] == ["open", "table", "table", "table"]
        asked.append(place)
        if place:
            raise InterruptedError(str(groups))
        return ("first",)

    ages = (range(18, 40), range(30, 60), range(50, 90))
    requests = [PEOPLE.table(where(age=each)) for each in ages]
    with pytest.raises(InterruptedError):
        node.history.release_all(requests, DEFINED, COHORT, fails)
    assert asked == [0, 1]
    # No text of the list was given, so that none is kept.
    assert node.history.known(SCOPE) == {}
    assert node.ask(where(age=ages[0])).values == ("1:0",)


def test_a_list_of_which_one_does_not_fit_is_not_answered(node: Node) -> None:
    def requests() -> Iterator[Request]:
        yield PEOPLE.table(where(age=range(18, 40)))
        raise LookupError

    def texts(_: int, groups: tuple[tuple[int, ...], ...]) -> tuple[str, ...]:
        return ("",) * len(groups)

    with pytest.raises(LookupError):
        node.history.release_all(requests(), DEFINED, COHORT, texts)
    assert node.history.release_all([], DEFINED, COHORT, texts) == []
    mixed = [PEOPLE.table(where(), month=month) for month in ("2026-11", "2026-12")]
    with pytest.raises(InputInvalid):
        node.history.release_all(mixed, DEFINED, COHORT, texts)
    with closing(sqlite3.connect(node.path)) as connection:
        assert connection.execute("SELECT count(*) FROM event").fetchone() == (0,)


def test_a_list_lets_others_write_in_between(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "_HELD_SECONDS", -1.0)
    other = Node(node.path.parent)

    def requests() -> Iterator[Request]:
        for low in (18, 30, 42):
            yield PEOPLE.table(where(age=range(low, low + 30)))
            if low == 18:
                # The other one's cell comes to be between the first and the second.
                assert other.ask(where(sex="f")).query == "Q-2"

    made = node.history.release_all(
        requests(), DEFINED, COHORT, lambda _, groups: ("text",) * len(groups)
    )
    assert [each.query for each in made] == ["Q-1", "Q-3", "Q-4"]
    assert [each.values for each in made] == [("text",)] * 3
    assert node.history.meter(SCOPE).cells == 4
    assert node.history.verify() == 1
