"""What a look at the history costs, and how often it stands in the way of ordinary work.

``python -m benchmarks.history [--entities 1000000] [--cells 500] [--tables 40] [--noise 24]
[--json]``

Fills a ledger on disk with an analyst's tables until so many cells are released, then times the
decision about further tables against just these, none of which is added. ``rehearsal`` is what a
result that may be too large costs beside its decision (:meth:`History.rehearsal`): the decision on
disk, taken back, until the ledger is ready for the next. ``touched`` counts tables
of the filling of which a cell was held back for another reason than its size, ``charged`` those
of them that count against the refusals of a month.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from benchmarks.history_workload import DEFINED, SCOPE, Population, queries
from sandbox.history.decide import Rules, decide
from sandbox.history.epoch import Cohort
from sandbox.history.guard import History
from sandbox.history.request import Reason, Status
from sandbox.history.thresholds import Policy

if TYPE_CHECKING:
    from sandbox.history.guard import Release

SECRET: Final = bytes(range(32))
UNLIMITED: Final = 10**6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--entities", type=int, default=1_000_000)
    parser.add_argument("--cells", type=int, default=500)
    parser.add_argument("--tables", type=int, default=40)
    parser.add_argument("--noise", type=float, default=24.0)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder), options)
    if options.json:
        print(json.dumps({"schema": "fusion.bench-history/1", "results": [result]}))
        return
    for name, value in result.items():
        print(f"{name:24}{value:>16,}")


def measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return one result."""
    people = Population.make(options.entities, options.seed)
    # Tables are refused as they would be; the month does not end the benchmark.
    history = History(folder / "history.sqlite", SECRET, Policy(refusals=UNLIMITED))
    asked = queries(options.seed)
    cohort = Cohort(options.entities, "0" * 64)
    seconds, touched, charged, withheld, cells, tables = [], 0, 0, 0, 0, 0
    while history_rows(history, tables) < options.cells:
        request = people.request(next(asked), options.noise)
        began = time.perf_counter()
        release = history.release(request, DEFINED, cohort, _answer)
        seconds.append(time.perf_counter() - began)
        held = _held(release)
        tables, cells = tables + 1, cells + len(request.predicates)
        touched, withheld = touched + (held > 0), withheld + held
        charged += release.decision.charged
    state, draws = history.opened(SCOPE)
    rules = Rules(Policy(refusals=UNLIMITED), draws, DEFINED)
    looks, work = [], []
    for query in islice(asked, options.tables):
        request = people.request(query, options.noise)
        began, busy = time.perf_counter(), time.process_time()
        decide(state, request, rules, 0)
        looks.append(time.perf_counter() - began)
        work.append(time.process_time() - busy)
    rehearsals = []
    for query in islice(asked, options.tables):
        request = people.request(query, options.noise)
        began = time.perf_counter()
        with history.rehearsal(SCOPE):
            history.release(request, DEFINED, cohort, _answer)
        history.opened(SCOPE)
        rehearsals.append(time.perf_counter() - began)
    meter = history.meter(SCOPE)
    history.close()
    return {
        "entities": options.entities,
        "cells": meter.cells,
        "noise": options.noise,
        "decision_p50_s": round(float(np.percentile(looks, 50)), 4),
        "decision_p95_s": round(float(np.percentile(looks, 95)), 4),
        "decision_cpu_p50_s": round(float(np.percentile(work, 50)), 4),
        "decision_cpu_p95_s": round(float(np.percentile(work, 95)), 4),
        "rehearsal_p50_s": round(float(np.percentile(rehearsals, 50)), 4),
        "rehearsal_p95_s": round(float(np.percentile(rehearsals, 95)), 4),
        "release_p50_s": round(float(np.percentile(seconds, 50)), 4),
        "release_p95_s": round(float(np.percentile(seconds, 95)), 4),
        "tables": tables,
        "touched": touched,
        "charged": charged,
        "cells_asked": cells,
        "cells_held": withheld,
        "largest_leverage": round(meter.largest, 4),
        "used": round(meter.used, 4),
        "appearances_p50": meter.appearances[0],
        "appearances_max": meter.appearances[2],
        "file_bytes": (folder / "history.sqlite").stat().st_size,
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def history_rows(history: History, tables: int) -> int:
    """Return how many cells are released."""
    return history.opened(SCOPE)[0].leverage.rows if tables else 0


def _answer(groups: tuple[tuple[int, ...], ...]) -> tuple[str, ...]:
    return ("0",) * len(groups)


def _held(release: Release) -> int:
    """Return how many cells were held back, but for those that are too small."""
    return sum(
        outcome.status in {Status.WITHHELD, Status.MERGED, Status.SNAPPED}
        and outcome.reason is not Reason.SMALL
        for outcome in release.decision.outcomes
    )


if __name__ == "__main__":
    main()
