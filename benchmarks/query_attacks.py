"""How often attacks on one person's bit succeed against the whole way of a query.

``python -m benchmarks.query_attacks [--targets 2000] [--attack NAME ...] [--json]``

``done`` is the share of targets about whom there was an estimate; a coin decides about the others.
A bound is broken where so many hits have a chance of less than a millionth if it is true.
"""

from __future__ import annotations

import argparse
import json

from tests.attacks.harness import CASES, Arena
from tests.attacks.pipeline import owner


def main() -> None:
    """Attack and print, a line at a time."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--targets", type=int, default=2000)
    parser.add_argument("--attack", action="append", default=[], metavar="NAME")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = []
    if not options.json:
        print(f"{'attack':34}{'release':9}{'targets':>8}{'queries':>8}{'done':>7}"
              f"{'success':>9}{'bound':>7}  verdict")  # fmt: skip
    with owner() as node:
        arena = Arena(node)
        for case in CASES:
            if options.attack and case.name not in options.attack:
                continue
            found = arena.run(case, options.targets).document()
            results.append(found)
            if not options.json:
                bound = "-" if found["bound"] is None else f"{found['bound']:.3f}"
                print(f"{found['attack']:34}{found['release']:9}{found['targets']:>8}"
                      f"{found['queries']:>8}{found['done']:>7.3f}{found['success']:>9.3f}"
                      f"{bound:>7}  {found['verdict']}", flush=True)  # fmt: skip
    if options.json:
        print(json.dumps({"schema": "fusion.bench-query-attacks/1", "results": results}))


if __name__ == "__main__":
    main()
