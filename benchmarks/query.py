"""What guarding a query costs beside the raw one, on the same rows, in one run.

``python -m benchmarks.query [--rows 1000000] [--repeats 3] [--whole] [--json]``

Raw is the statement as it was written, over the Parquet files, in a DuckDB that knows no policy,
with two threads. Guarded is analysis, core, release and the rest on released cells, over the store
that attaching the policy makes of the same files, in a process that keeps freed memory, as workers
do, and an engine for released cells, as a node does. ``--whole`` also asks everything that a node
does with a permitted query: a worker, sets, and the history of releases, which is new at the first
query and has the cells of the earlier ones at each later one.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import duckdb

from examples.restricted_query.make_data import make
from sandbox import arrays, memory, runner, storing
from sandbox.attached import PEOPLE, Attached, freeze
from sandbox.disclosure import Rules
from sandbox.history.guard import History
from sandbox.history.thresholds import Policy as Bounds
from sandbox.isolate import Isolation
from sandbox.limits import Limits as Bounded
from sandbox.members import read
from sandbox.partials import Limits, reply_of
from sandbox.query import compile_statement, finish_rows
from sandbox.reading import parse_policy
from sandbox.scans import Steps
from sandbox.sets import COHORT
from sandbox.sources.files import STORE_ENTRY, Files
from sandbox.store import FILE

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandbox.partials import Asked
    from sandbox.query import Compiled

POLICY: Final = Path(__file__).parents[1] / "examples/restricted_query/policy.yaml"
QUERIES: Final = (
    "select dept, sum(cost) as s from visits group by dept",
    "select dept, count(*) as n, sum(cost) as s, avg(duration_min) as d from visits group by dept",
    "select dept, count(distinct person_id) as people, sum(cost) as s from visits group by dept",
    "select date_trunc('month', visit_date) as m, dept, count(*) as n from visits group by 1, 2",
    (
        "select p.region, count(distinct v.person_id) as n, sum(v.cost) as total from visits v "
        "join persons p on p.person_id = v.person_id group by p.region"
    ),
    (
        "select p.region, sum(v.cost) as total from visits v "
        "join persons p on p.person_id = v.person_id where p.sex = 'F' group by p.region"
    ),
    "select count(*) as n from visits where dept = 'onco' and visit_date >= date '2022-01-01'",
    (
        "select dept, stddev(duration_min) as sd, corr(duration_min, cost) as r from visits "
        "group by dept"
    ),
    "select dept, median(cost) as m from visits group by dept",
    "select region, avg(income) as m from persons group by region",
    "select count(*) as n from visits",
)
_ENGINE: Final = Limits(memory_mb=1024, threads=2)
_SECRET: Final = bytes(range(32))
_SMALL: Final = 5000
_CALLS: Final = 11


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    memory.keep_freed()  # as workers do
    with tempfile.TemporaryDirectory() as folder:
        # Workers may run under another account; nobody else knows the name.
        Path(folder).chmod(0o711)
        document = measure(Path(folder), options.rows, options.repeats, whole=options.whole)
    document["load"] = round(load, 1)
    if options.json:
        print(json.dumps(document, indent=2))
        return
    _show(document, options.rows)


def _show(document: dict[str, Any], rows: int) -> None:
    print(
        f"{'raw s':>8} {'guarded s':>10} {'ratio':>6} {'of CPU':>7} {'whole s':>8}   "
        f"query ({rows:,} rows)"
    )
    for each in document["results"]:
        whole = "" if each["whole_s"] is None else f"{each['whole_s']:.3f}"
        times = f"{each['raw_s']:>8.3f} {each['guarded_s']:>10.3f} {each['ratio']:>6.2f}"
        print(f"{times} {each['cpu_ratio']:>7.2f} {whole:>8}   {each['query'][:90]}")
    print(f"median ratio: {document['median_ratio']}, of CPU {document['median_cpu_ratio']}")
    print(f"compile: {document['compile_ms']} ms in the median")
    print(f"freezing the tables: {document['freeze_s']} s")
    if document["worker_ms"] is not None:
        print(f"a warm worker adds {document['worker_ms']} ms in the median ({_SMALL:,} rows)")
    print(f"load before: {document['load']}; DuckDB {document['duckdb']}")


class World(NamedTuple):
    """Files, and what was frozen of them."""

    files: dict[str, Path]
    attached: Attached


def world(folder: Path, rows: int) -> World:
    """Make data up, and freeze it as attaching a policy does."""
    source, frozen = folder / "source", folder / "frozen"
    make(source, max(100, rows // 10), rows)
    files = {name: source / f"{name}.parquet" for name in ("persons", "visits", "regions")}
    policy = parse_policy(POLICY.read_text("utf-8"), POLICY.name)
    frozen.mkdir()
    made = freeze(policy, files, frozen)
    inputs = {name: frozen / f"{name}.parquet" for name in files} | {COHORT: frozen / PEOPLE}
    attached = Attached(
        owner="owner", dataset="visits", revision=1, policy=policy, inputs=inputs,
        people=made.people, people_digest="0" * 64, schema_digest="0" * 64, columns=(),
        digests=made.digests, store=frozen / FILE, arrays=frozen / arrays.FILE,
        coded=frozenset(made.coded), public=made.public,
    )  # fmt: skip
    return World(files, attached)


def measure(folder: Path, rows: int, repeats: int, *, whole: bool = False) -> dict[str, Any]:
    """Return the document ``fusion.bench-query/1``."""
    _say("making data and freezing it")
    began = time.perf_counter()
    made = world(folder / "large", rows)
    freezing = time.perf_counter() - began
    plain = duckdb.connect()
    plain.execute("set threads = 2")
    for name, path in made.files.items():
        plain.execute(f"create view {name} as select * from '{path}'")  # noqa: S608 - our own file
    results: list[dict[str, Any]] = []
    for query in QUERIES:
        _say(query)
        # In turn, so that what else the machine does falls on both.
        raws, guardeds = [], []
        for _ in range(repeats):
            raws.append(_timed(partial(_fetch, plain, query)))
            guardeds.append(_timed(partial(_guarded, query, made.attached)))
        raw, guarded = (min(wall for wall, _ in each) for each in (raws, guardeds))
        cpu = min(own for _, own in guardeds) / max(1e-4, min(own for _, own in raws))
        results.append(
            {"query": query, "rows": rows, "raw_s": round(raw, 4), "guarded_s": round(guarded, 4),
             "ratio": round(guarded / raw, 2), "cpu_ratio": round(cpu, 2), "whole_s": None}
        )  # fmt: skip
    plain.close()
    worker = None
    if whole:
        with Isolation.open() as isolation:
            _wholes(folder, made.attached, isolation, results)
            worker = _worker_ms(world(folder / "small", _SMALL).attached, isolation)
    compiled = [
        _timed(partial(_compiled, query, made.attached))[0] for query in QUERIES for _ in "12345"
    ]
    return {
        "schema": "fusion.bench-query/1",
        "results": results,
        "median_ratio": statistics.median(each["ratio"] for each in results),
        "median_cpu_ratio": statistics.median(each["cpu_ratio"] for each in results),
        "compile_ms": round(1000 * statistics.median(compiled), 2),
        "worker_ms": worker,
        "freeze_s": round(freezing, 1),
        "duckdb": duckdb.__version__,
    }


def _say(text: str) -> None:
    print(f"benchmark: {text[:90]}", file=sys.stderr)


def _fetch(connection: duckdb.DuckDBPyConnection, query: str) -> list[Any]:
    return connection.execute(query).fetchall()


def _compiled(query: str, attached: Attached) -> Compiled:
    return compile_statement(query, attached.policy, coded=attached.coded, public=attached.public)


def _asked(query: str, attached: Attached) -> tuple[Compiled, Asked]:
    compiled = _compiled(query, attached)
    steps = Steps(attached.policy, attached.coded, attached.people)
    steps.statement(compiled)
    return compiled, steps.asked(_ENGINE, cells=0, members=0)


def _guarded(query: str, attached: Attached) -> list[list[Any]]:
    compiled, asked = _asked(query, attached)
    data = storing.execute(asked.request, attached.opened())
    reply, _ = read(data, 0, attached.people, cells=0, several=0)
    return finish_rows(compiled, reply_of(reply, asked), Rules(attached.policy.release)).rows


def _wholes(
    folder: Path, attached: Attached, isolation: Isolation, results: list[dict[str, Any]]
) -> None:
    """Time the way of a permitted query, once each, from a warm worker on."""
    k = attached.policy.release.k
    history = History(folder / "history.sqlite", _SECRET, Bounds(k=k, h_max=1 / k))
    for each in results:
        _say(f"whole: {each['query']}")
        _warm(isolation, attached)
        each["whole_s"] = round(
            _timed(partial(_whole, each["query"], attached, isolation, history))[0], 4
        )
    history.close()


def _whole(query: str, attached: Attached, isolation: Isolation, history: History) -> None:
    prepared = runner.prepare(query, attached, _SECRET)
    source = Files(attached, isolation)
    found = runner.executed(prepared, source, "bank", threading.Event(), 300)
    held = runner.Held(history, attached, "bank", "2026-01")
    runner._released(prepared, found, held, _SECRET, 10_000)  # noqa: SLF001 - as above


def _warm(isolation: Isolation, attached: Attached) -> None:
    """Wait for an idle worker that has done its imports."""
    isolation.prepare(STORE_ENTRY, attached.opened())
    time.sleep(4)


def _worker_ms(attached: Attached, isolation: Isolation) -> float:
    """Return what a warm worker takes beyond what it does, in the median."""
    _, asked = _asked(QUERIES[0], attached)
    inputs, bounds = attached.opened(), Bounded(memory_bytes=1 << 31)
    run = partial(isolation.run, STORE_ENTRY, asked.request, inputs, bounds)
    run()
    added = []
    for _ in range(_CALLS):
        _warm(isolation, attached)
        inside = _timed(partial(storing.execute, asked.request, inputs))[0]
        added.append(_timed(run)[0] - inside)
    return round(1000 * statistics.median(added), 1)


def _timed(run: Callable[[], object]) -> tuple[float, float]:
    """Return seconds by the clock and of CPU."""
    cpu, begun = time.process_time(), time.perf_counter()
    run()
    return time.perf_counter() - begun, time.process_time() - cpu


if __name__ == "__main__":
    main()
