"""Alignments by RR22 between two nodes, from the order to what each has of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from fusion.services import align_results
from tests.aligning.world import BANK, COMMON, GOV, KEYS
from tests.rr22.offering import rr22_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.aligning.world import World

BOTH = [f"k{n:05}" for n in range(20, 60)]


@pytest.fixture(scope="module")
def up(world: World) -> Iterator[World]:
    """Both nodes serve."""
    with world.serving(BANK, GOV):
        yield world


def rows(world: World, name: str, job: str) -> list[int] | None:
    """Return the common rows that a party has of a job."""
    path = align_results.path_of(world.nodes[name], job) / "rows.json"
    if not path.exists():
        return None
    found: list[int] = json.loads(path.read_bytes())["rows"]
    return found


def test_both_learn_the_rows_that_are_common(up: World) -> None:
    job = up.job(rr22_text())
    found = align_results.sizes_of(up.nodes[BANK], up.work(job))
    assert (found["common"], found["attempts"]) == (COMMON, 1)
    for name in (BANK, GOV):
        assert rows(up, name, job.name) == [KEYS[name].index(key) for key in BOTH]
        assert not (up.nodes[name].path / "jobs" / job.name).exists()


def test_with_one_the_second_party_learns_nothing(up: World) -> None:
    job = up.job(rr22_text(outcome="one"))
    found = align_results.sizes_of(up.nodes[BANK], up.work(job))
    assert found["common"] == COMMON
    assert rows(up, GOV, job.name) is None
    assert rows(up, BANK, job.name) == [KEYS[BANK].index(key) for key in BOTH]


@pytest.mark.parametrize("outcome", ["one", "both"])
def test_what_is_too_small_is_not_released(up: World, outcome: str) -> None:
    job = up.job(rr22_text(outcome=outcome, minimum_intersection=COMMON + 1))
    found = up.work(job)
    assert (found["status"], found["code"]) == ("failed", "A-14")
    assert rows(up, BANK, job.name) is None
    assert rows(up, GOV, job.name) is None
