"""What guarding a query costs beside the raw one, on the same file, in one run.

``python -m benchmarks.query [--rows 1000000] [--repeats 3] [--json]``

Raw is the statement as it was written, in a DuckDB that knows no policy; guarded is everything that
a node does but the process around the engine: analysis, core, release, the rest on released cells.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import duckdb

from examples.restricted_query.make_data import make
from sandbox.disclosure import Rules
from sandbox.engine import execute
from sandbox.query import compile_statement, finish
from sandbox.reading import parse_policy

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandbox.policy import Policy

POLICY: Final = Path(__file__).parents[1] / "examples/restricted_query/policy.yaml"
QUERIES: Final = (
    "select dept, count(*) as n, sum(cost) as s, avg(duration_min) as d from visits group by dept",
    "select dept, count(distinct person_id) as people, sum(cost) as s from visits group by dept",
    "select date_trunc('month', visit_date) as m, dept, count(*) as n from visits group by 1, 2",
    (
        "select p.region, count(distinct v.person_id) as n, sum(v.cost) as total from visits v "
        "join persons p on p.person_id = v.person_id group by p.region"
    ),
    "select count(*) as n from visits where dept = 'onco' and visit_date >= date '2022-01-01'",
)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        document = measure(Path(folder), options.rows, options.repeats)
    if options.json:
        print(json.dumps(document, indent=2))
        return
    print(f"{'raw s':>8} {'guarded s':>10} {'ratio':>6}   query ({options.rows} rows)")
    for each in document["results"]:
        times = f"{each['raw_s']:>8.3f} {each['guarded_s']:>10.3f} {each['ratio']:>6.2f}"
        print(f"{times}   {each['query'][:90]}")
    print(f"compile: {document['compile_ms']} ms in the median")


def measure(folder: Path, rows: int, repeats: int) -> dict[str, Any]:
    """Return the document ``fusion.bench-query/1``."""
    make(folder, max(100, rows // 10), rows)
    inputs = {name: folder / f"{name}.parquet" for name in ("persons", "visits", "regions")}
    policy = parse_policy(POLICY.read_text("utf-8"), POLICY.name)
    plain = duckdb.connect()
    plain.execute("set threads = 2")
    for name, path in inputs.items():
        plain.execute(f"create view {name} as select * from '{path}'")  # noqa: S608 - our own file
    results = []
    for query in QUERIES:
        raw = _least(partial(_fetch, plain, query), repeats)
        guarded = _least(partial(_guarded, query, policy, inputs), repeats)
        results.append(
            {"query": query, "rows": rows, "raw_s": round(raw, 4), "guarded_s": round(guarded, 4),
             "ratio": round(guarded / raw, 2)}
        )  # fmt: skip
    compiled = [_least(partial(compile_statement, query, policy), 1) for query in QUERIES * 5]
    median = round(1000 * statistics.median(compiled), 2)
    return {"schema": "fusion.bench-query/1", "results": results, "compile_ms": median}


def _fetch(connection: duckdb.DuckDBPyConnection, query: str) -> list[Any]:
    return connection.execute(query).fetchall()


def _guarded(query: str, policy: Policy, inputs: dict[str, Path]) -> list[list[Any]]:
    compiled = compile_statement(query, policy)
    return finish(compiled, execute(compiled.asked.request, inputs), Rules(policy.release)).rows


def _least(run: Callable[[], object], repeats: int) -> float:
    found = []
    for _ in range(repeats):
        begun = time.perf_counter()
        run()
        found.append(time.perf_counter() - begun)
    return min(found)


if __name__ == "__main__":
    main()
