"""The corpora on Spark: how many statements are accepted and equal DuckDB's answers.

``./dev spark`` installs PySpark beside the environment and runs this; Java 17 or newer is needed.
What is compared: the table with a release that changes nothing, up to the last bits of a
floating-point number, and the table under the example's rules.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from examples.restricted_query.make_data import make
from fusion.errors import FusionError
from sandbox import spark
from sandbox.disclosure import Rules
from sandbox.engine import execute
from sandbox.policy import Quantiles, Release
from sandbox.public_rows import count
from sandbox.query import compile_statement, finish
from sandbox.reading import parse_policy
from sandbox.trying import statements

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandbox.fanout import PublicRows
    from sandbox.policy import Policy
    from sandbox.query import Execute

ROOT = Path(__file__).parents[1]
POLICY = ROOT / "examples/restricted_query/policy.yaml"
CORPORA = [ROOT / "tests/corpora/sql" / name for name in ("legit.txt", "analysts.txt")]
SMALL = {"spark.sql.shuffle.partitions": "1", "spark.ui.showConsoleProgress": "false"}
"""The tables are small: most of the time would go into beginning and ending tasks."""

EXACT = Release(
    k=1,
    dominance=None,
    p_percent=None,
    freedom=0,
    base=1,
    sums="none",
    quantiles=Quantiles(low_percent=1, high_percent=99, rounding="none"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the corpora; return 0 if at least 95 in 100 are accepted and equal."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.spark_corpus", description=__doc__)
    parser.add_argument("--file", type=Path, action="append", help="statements, one a line")
    parser.add_argument("--persons", type=int, default=2000)
    parser.add_argument("--visits", type=int, default=15_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    files = options.file or CORPORA
    texts = list(
        dict.fromkeys(each.sql for file in files for each in statements(file.read_text("utf-8")))
    )
    policy = parse_policy(POLICY.read_text("utf-8"), POLICY.name)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, spark.session(SMALL) as session:
        make(Path(folder), options.persons, options.visits)
        inputs = {name: Path(folder) / f"{name}.parquet" for name in policy.tables}
        run = partial(spark.execute, session=session, inputs=inputs)
        reference = partial(execute, inputs=inputs)
        public = count(policy, reference, "duckdb")
        found: list[dict[str, str]] = []
        for place, sql in enumerate(texts, 1):
            found.append({"sql": sql, "verdict": _verdict(sql, policy, run, reference, public)})
            print(f"{place}/{len(texts)} {found[-1]['verdict'][:60]}", file=sys.stderr)
    equal = sum(each["verdict"] == "equal" for each in found)
    others = [each for each in found if each["verdict"] != "equal"]
    document = {
        "schema": "fusion.bench-spark-corpus/1",
        "statements": len(found),
        "accepted": sum(each["verdict"] != "refused" for each in found),
        "equal": equal,
        "seconds": round(time.monotonic() - began, 1),
        "others": others,
    }
    if options.json:
        print(json.dumps(document))
    else:
        for each in others:
            print(f"{each['verdict']}: {each['sql']}")
        print(
            f"{document['statements']} statements, {document['accepted']} accepted, {equal} equal "
            f"to DuckDB ({100 * equal / len(found):.1f} %), {document['seconds']} s"
        )
    return 0 if equal >= 0.95 * len(found) else 1


def _verdict(sql: str, policy: Policy, run: Execute, reference: Execute, public: PublicRows) -> str:
    """Return ``equal``, ``different``, ``refused``, or why it failed."""
    try:
        own = compile_statement(sql, policy, dialect="spark", public=public)
        theirs = compile_statement(sql, policy, public=public)
    except FusionError:
        return "refused"
    try:
        reply = run(own.asked.request)
    except FusionError as error:
        return f"failed ({' '.join(getattr(error, '__notes__', []))[:300]})"
    wanted = reference(theirs.asked.request)
    for release in (EXACT, policy.release):
        rules = Rules(release)
        if not same(finish(own, reply, rules).rows, finish(theirs, wanted, rules).rows):
            return "different"
    return "equal"


def same(own: Sequence[Sequence[Any]], theirs: Sequence[Sequence[Any]]) -> bool:
    """Return whether two tables are equal, in any order, up to last bits."""
    left, right = (sorted(([_plain(cell) for cell in row] for row in rows), key=repr)
                   for rows in (own, theirs))  # fmt: skip
    return len(left) == len(right) and all(
        len(one) == len(other) and all(map(_alike, one, other))
        for one, other in zip(left, right, strict=True)
    )


def _plain(cell: Any) -> Any:  # noqa: ANN401 - a cell
    if cell is None or isinstance(cell, str | bool):
        return cell
    return round(float(cell), 6)


def _alike(one: Any, other: Any) -> bool:  # noqa: ANN401 - cells
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-8, abs_tol=2e-6)
    return bool(one == other)


if __name__ == "__main__":
    sys.exit(main())
