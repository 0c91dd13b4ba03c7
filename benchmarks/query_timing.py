"""Whether the time of an answer tells if one person is in the data, with the whole service.

``python -m benchmarks.query_timing [--pairs 500] [--visits 500] [--json]``

Two datasets that differ in one person with so many rows; the statement multiplies her rows by
themselves as often as is allowed, and asks about her alone. A threshold is chosen on the first half
of the pairs and used on the second: ``padded`` on the time until the answer is there, ``bare`` on
that without the steps in which answers leave.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

import sandbox.service
from fusion.services.query_messages import Asked, reply_of, to_bytes
from sandbox import timing
from sandbox.attached import Origin, attach
from tests.queries.world import ANALYST, PURPOSE, make_world
from tests.sandbox.asking import write

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tests.attacks.pipeline import Columns

HER: Final = 5000
PRESENT, ABSENT = "bare", "typed"
POLICY: Final = """\
schema: fusion.policy/1
title: People and their visits
tables:
  persons:
    entity: person_id
    rows: 1
    columns:
      person_id: {class: key, type: integer}
      born: {class: dimension, type: integer, low: 0, high: 9999, complete: true}
      income: {class: number, low: 0, high: 200000}
  visits:
    entity: person_id
    rows: 500
    columns:
      person_id: {class: key, type: integer}
      dept: {class: dimension, values: [er, gp, card], complete: true}
      cost: {class: number, low: 0, high: 1000}
"""
STATEMENT: Final = (
    "select count(*) as n, sum(a.cost + b.cost) as s from visits a join visits b using (person_id)"
    " join persons p using (person_id)"
    " where p.born = 5000 and a.cost * b.cost + a.cost - b.cost >= 0"
)


class Timed:
    """Notes how long a query took before it waits for the end of a step."""

    def __init__(self) -> None:
        """Stand in the way of the wait, which comes after it all the same."""
        self.passed = 0.0
        self._waits = timing.pad
        setattr(sandbox.service, "pad", self._noted)  # noqa: B010 - it is no public name there

    def _noted(self, began: float, closing: threading.Event) -> None:
        self.passed = time.monotonic() - began
        self._waits(began, closing)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--pairs", type=int, default=500)
    parser.add_argument("--visits", type=int, default=500)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), options.pairs, options.visits)
    if options.json:
        print(json.dumps(found))
        return
    for name in ("padded", "bare"):
        each = found[name]
        print(f"{name:8} told apart {each['success']:.3f}   present {each['present_s']:.3f} s,"
              f" absent {each['absent_s']:.3f} s in the median")  # fmt: skip


def measure(folder: Path, pairs: int, visits: int) -> dict[str, Any]:
    """Return the document ``fusion.bench-query-timing/1``."""
    world = make_world(folder / "world", ())
    for name, there in ((PRESENT, True), (ABSENT, False)):
        data = folder / name
        data.mkdir()
        write(data, _tables(visits if there else 0))
        found = attach(world.owner, POLICY, "policy.yaml", name, Origin(data))
        world.attached = {"columns": list(found.columns), "schema_digest": found.schema_digest}
        for number in range(1 + pairs // 900):  # a grant has room for a thousand of them
            world.grant(name, runs=10**6, rows=10**6, title=f"{name}, {number + 1}")
    noted, service = Timed(), sandbox.service.Service(world.owner, lambda _: None)
    try:
        for name in (PRESENT, ABSENT) * 2:
            _ask(service, noted, name)
        draw = np.random.default_rng(3)
        times = np.zeros((pairs, 2, 2))
        for pair in range(pairs):
            for place in draw.permutation(2):
                times[pair, place] = _ask(service, noted, (ABSENT, PRESENT)[place])
            if pair % 20 == 19:
                print(f"{pair + 1} of {pairs} pairs: {_told(times[: pair + 1, :, 0])}",
                      f"{_told(times[: pair + 1, :, 1])}", file=sys.stderr, flush=True)  # fmt: skip
    finally:
        service.close()
    return {
        "schema": "fusion.bench-query-timing/1",
        "pairs": pairs,
        "visits": visits,
        "padded": _told(times[:, :, 0]),
        "bare": _told(times[:, :, 1]),
    }


def _tables(hers: int) -> dict[str, Columns]:
    draw = np.random.default_rng(5)
    persons = [*range(1200), *([HER] if hers else [])]
    who = [*(int(n) for n in draw.integers(0, 1200, 5000)), *([HER] * hers)]
    return {
        "persons": {
            "person_id": persons,
            "born": persons,
            "income": [20_000 + 10 * (n % 977) for n in persons],
        },
        "visits": {
            "person_id": who,
            "dept": [("er", "gp", "card")[n % 3] for n in range(len(who))],
            "cost": [1 + n % 900 for n in range(len(who))],
        },
    }


def _ask(service: sandbox.service.Service, noted: Timed, dataset: str) -> tuple[float, float]:
    asked = Asked(
        kind="query", dataset=dataset, statement=STATEMENT, purpose=PURPOSE, rows=1, seconds=60
    )
    began = time.monotonic()
    data = service.reply(ANALYST, to_bytes(asked), threading.Event())
    took = time.monotonic() - began
    reply = reply_of(data)
    if reply.table is None or reply.table.rows != [[None, None]]:
        message = f"not what was expected: {reply}"
        raise AssertionError(message)
    return took, noted.passed


def _told(times: NDArray[np.float64]) -> dict[str, float]:
    """Return how often a threshold tells present from absent, pairs × (absent, present)."""
    half = len(times) // 2
    first, second = times[:half], times[half:]

    def right(of: NDArray[np.float64], border: float) -> float:
        return float(((of[:, 1] > border).mean() + (of[:, 0] <= border).mean()) / 2)

    border = max(np.unique(first), key=lambda each: right(first, float(each)))
    return {
        "success": round(right(second, float(border)), 4),
        "absent_s": round(float(np.median(times[:, 0])), 4),
        "present_s": round(float(np.median(times[:, 1])), 4),
    }


if __name__ == "__main__":
    main()
