"""How often attacks guess a fair bit, with and without the guard, with exact and noisy answers.

``python -m benchmarks.history_attacks [--targets 2000] [--groups 16] [--json]``

``done`` is the share of attacks whose every question was answered with a number of its own.
"""

from __future__ import annotations

import argparse
import json

from tests.sandbox.history_attacks import ATTACKS, run, subsets
from tests.sandbox.history_world import NOISE


def main() -> None:
    """Measure and print, a line at a time."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--targets", type=int, default=2000)
    parser.add_argument("--groups", type=int, default=16)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = []
    for noise in (0.0, NOISE):
        for guarded in (True, False):
            setting = {"noise": noise, "guarded": guarded}
            for name, attack in ATTACKS.items():
                success, done = run(attack, options.targets, noise, guarded=guarded)
                results.append({"attack": name, "targets": options.targets, **setting})
                results[-1] |= {"success": float(success), "done": float(done)}
                _show(results[-1], quiet=options.json)
            for queries in (256, 1024):
                success, done = subsets(queries, options.groups, noise, guarded=guarded)
                name = f"{queries} subset sums"
                results.append({"attack": name, "targets": 128 * options.groups, **setting})
                results[-1] |= {"success": float(success), "done": float(done)}
                _show(results[-1], quiet=options.json)
    if options.json:
        print(json.dumps({"schema": "fusion.bench-history-attacks/1", "results": results}))


def _show(result: dict[str, object], *, quiet: bool) -> None:
    if not quiet:
        guard = "guarded" if result["guarded"] else "unguarded"
        print(
            f"{result['attack']!s:20}{guard:>12}  noise {result['noise']!s:>5}"
            f"  success {result['success']:.3f}  done {result['done']:.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
