"""A process that asks one table after the other and says what it was given; killed at any moment.

``python history_writer.py FILE NAME TABLES`` prints ``up``, then a JSON document a table.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sandbox.history.epoch import Cohort
from sandbox.history.guard import History
from sandbox.history.thresholds import Policy
from tests.sandbox.history_people import DEFINED, SECRET, People, by, where

if TYPE_CHECKING:
    from sandbox.history.predicates import Predicate

PEOPLE = 3000
POLICY = Policy(refusals=10**6, h_max=0.5)
COHORT = Cohort(PEOPLE, "ab")


def table(draw: np.random.Generator) -> list[Predicate]:
    """Return some table."""
    low = int(draw.integers(18, 60))
    also = {"age": range(low, low + int(draw.integers(10, 30)))}
    if draw.random() < 0.5:
        return by("sex", "f", "m", **also)
    names = draw.permutation(24)[: int(draw.integers(1, 6))]
    return [
        *by("district", *(f"d{number:02}" for number in names), **also),
        where(age=range(18, low)),
    ][: len(names)]


def _texts(name: str, place: int, groups: tuple[tuple[int, ...], ...]) -> tuple[str, ...]:
    return (f"{name}-{place}",) * len(groups)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(path: Path, name: str, tables: int) -> None:
    """Ask, and say what was given once it is given."""
    people = People(PEOPLE)
    history = History(path, SECRET, POLICY)
    draw = np.random.default_rng(list(name.encode()))
    _say("up")
    number = 0
    while number < tables:
        # One table, or several that are decided together.
        count = min(int(draw.integers(1, 4)), tables - number)
        requests = [people.table(*table(draw)) for _ in range(count)]
        texts = partial(_texts, f"{name}-{number}")
        for release in history.release_all(requests, DEFINED, COHORT, texts):
            sources = [outcome.source for outcome in release.decision.outcomes]
            given = {
                source: value
                for source, value in zip(sources, release.values, strict=True)
                if value is not None
            }
            _say(json.dumps([release.query, given]))
        number += count


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
