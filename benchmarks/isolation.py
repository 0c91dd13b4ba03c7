"""What confining costs: ``python -m benchmarks.isolation [--count 30] [--rows 100000] [--json]``.

One script reads a Parquet file, groups it and hands over a table. It runs in this process, and in a
worker of each isolation that this machine has. ``start`` is the time of a call that does nothing
and finds no worker ready: the pool starts them ahead. ``work`` is the whole call with a worker that
was ready, and ``overhead`` that minus the median of the same work in this process.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet

from fusion.wire import canonical
from sandbox import choice, python_job, service_user
from sandbox.isolate import Isolation, Settings
from sandbox.jobs import ENTRY
from sandbox.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandbox.process import Kind

_SCRIPT: Final = """
import banyan
groups = banyan.table("visits").group_by("region").aggregate([("minutes", "sum")])
banyan.result({"region": groups["region"], "minutes": groups["minutes_sum"]})
"""
_LIMITS: Final = Limits(wall_seconds=60)
_REQUEST: Final = canonical.encode({"schema": python_job.REQUEST_SCHEMA, "script": _SCRIPT})


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--count", type=int, default=30)
    parser.add_argument("--rows", type=int, default=100_000)
    # Until the next worker has done its imports.
    parser.add_argument("--settle", type=float, default=1.0)
    parser.add_argument("--json", action="store_true", dest="as_json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="banyan-bench-") as folder:
        table = _table(Path(folder), options.rows)
        results = _measure(table, options.count, options.settle)
    if options.as_json:
        content = {"schema": "fusion.bench-isolation/1", "rows": options.rows, "results": results}
        sys.stdout.write(json.dumps(content) + "\n")
        return
    print(f"{options.rows:,} rows, {options.count} calls; seconds")
    print(f"{'isolation':<12} {'what':<9} {'p50':>8} {'p95':>8}")
    for row in results:
        print(f"{row['isolation']:<12} {row['what']:<9} {row['p50_s']:8.4f} {row['p95_s']:8.4f}")


def _table(folder: Path, rows: int) -> Path:
    folder.chmod(0o755)
    path = folder / "visits.parquet"
    columns = {
        "region": [f"region {n % 20}" for n in range(rows)],
        "minutes": [n * 7919 % 90 for n in range(rows)],
    }
    pyarrow.parquet.write_table(pa.table(columns), path)
    path.chmod(0o644)
    return path


def _measure(table: Path, count: int, settle: float) -> list[dict[str, Any]]:
    inputs = {"visits": table}
    plain = _times(lambda: python_job.execute(_REQUEST, inputs), count, 0)
    results = [_row("none", "work", plain)]
    usual = statistics.median(plain)
    for kind in choice.KINDS:
        verdict = choice.examine(kind, service_user.DEFAULT)
        if verdict.reason:
            print(f"{kind}: left out, {verdict.reason}", file=sys.stderr)
            continue
        results.append(_row(kind, "start", _starts(kind, inputs, count)))
        with Isolation.open(Settings(kind=kind, running=1, spares=1)) as isolation:

            def work(isolation: Isolation = isolation) -> bytes:
                return isolation.run(ENTRY, _REQUEST, inputs, _LIMITS)

            work()
            confined = _times(work, count, settle)
        results += [
            _row(kind, "work", confined),
            _row(kind, "overhead", [value - usual for value in confined]),
        ]
    return results


def _starts(kind: Kind, inputs: dict[str, Path], count: int) -> list[float]:
    """Time calls that do next to nothing and find no worker ready."""
    with Isolation.open(Settings(kind=kind, running=1, spares=0)) as isolation:
        return _times(
            lambda: isolation.run("sandbox.probe:execute", b"", inputs, _LIMITS), count, 0
        )


def _times(work: Callable[[], object], count: int, settle: float) -> list[float]:
    found = []
    for _ in range(count):
        time.sleep(settle)
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return found


def _row(isolation: str, what: str, seconds: list[float]) -> dict[str, Any]:
    ordered = sorted(seconds)
    return {
        "isolation": isolation,
        "what": what,
        "p50_s": round(statistics.median(ordered), 4),
        "p95_s": round(ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))], 4),
    }


if __name__ == "__main__":
    main()
