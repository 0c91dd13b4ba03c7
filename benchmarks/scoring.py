"""What a joint score costs: publishing answers, scoring a file, single records at the socket.

A hub, a label party and feature parties, each with a table of its own, on this machine and in one
process: what a network between them adds is not in the figures, what they take from each other is.

    python -m benchmarks.scoring [--rows 20000] [--records 2000] [--calls 200] [--json]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fusion.services import score_server
from tests.models.local import Local
from tests.models.world import FIRST, LABEL, SECOND, identifier, served
from tests.vertical import trained

if TYPE_CHECKING:
    from collections.abc import Sequence

NAMES: Final = (LABEL, FIRST, SECOND)


def measure(kind: str, rows: int, records: int, calls: int, folder: Path) -> dict[str, Any]:
    """Train a small model, put it to work, and return seconds and milliseconds."""
    names = NAMES if kind == "logistic" else NAMES[:2]
    widths = [4] * len(names)
    model = (
        trained.linear("logistic", names, widths, rows)
        if kind == "logistic"
        else trained.boosting(names, widths, rows)
    )
    found: dict[str, Any] = {"kind": kind, "parties": len(names), "rows": rows}
    with served(folder, model, kind, {}, chunk=2048) as world, world.scorer() as scorer:
        began, cpu = time.perf_counter(), time.process_time()
        scorer.prepare()
        found["publish_s"] = time.perf_counter() - began
        found["publish_cpu_s"] = time.process_time() - cpu
        began = time.perf_counter()
        got = scorer.score([identifier(i) for i in range(records)])
        found["batch_s"] = time.perf_counter() - began
        if any(row.scored is None for row in got):
            raise SystemExit("a record of a file was not scored")
        path = folder / "s.sock"
        with (
            score_server.serving(path, scorer, {}),
            contextlib.closing(Local(path)) as local,
        ):
            milliseconds = []
            for i in range(calls):
                began = time.perf_counter()
                status, _ = local.call("POST", "/v1/score", {"id": identifier(i)})
                milliseconds.append(1000 * (time.perf_counter() - began))
                if status != 200:
                    raise SystemExit("a single record was not scored")
    milliseconds.sort()
    found["records"], found["calls"] = records, calls
    found["single_p50_ms"] = statistics.median(milliseconds)
    found["single_p95_ms"] = milliseconds[int(0.95 * len(milliseconds))]
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure both kinds of model and print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--records", type=int, default=2000)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    found = []
    for kind in ("boosting", "logistic"):
        with tempfile.TemporaryDirectory() as folder:
            found.append(measure(kind, given.rows, given.records, given.calls, Path(folder)))
    if given.json:
        json.dump({"schema": "fusion.bench-scoring/1", "models": found}, sys.stdout, indent=2)
        print()
        return
    for each in found:
        print(f"{each['kind']}: {each['parties']} parties, {each['rows']:,} rows each")
        print(f"  answers published in {each['publish_s']:.2f} s ({each['publish_cpu_s']:.2f} CPU)")
        print(f"  {each['records']:,} records of a file in {each['batch_s']:.2f} s")
        p50, p95 = each["single_p50_ms"], each["single_p95_ms"]
        print(f"  single records: p50 {p50:.1f} ms, p95 {p95:.1f} ms ({each['calls']} calls)")


if __name__ == "__main__":
    main()
