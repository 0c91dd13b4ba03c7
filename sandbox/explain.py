"""What a compiled statement does, in values that a program or a page can show.

Nothing of it depends on data: it says what would be counted, under which conditions, about which
sensitive columns, and what each result is rounded by.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sandbox.policy import Release
    from sandbox.query import Compiled
    from sandbox.relations import Statistic


def explain(compiled: Compiled) -> dict[str, Any]:
    """Return what a statement asks of the owner's tables, and by which rules it is answered."""
    release = compiled.policy.release
    cores = [
        {
            "keys": list(core.key_texts),
            "conditions": list(core.predicate),
            "about": list(core.family),
            "statistics": [_spelt(each, release) for each in core.statistics],
        }
        for core in compiled.cores
    ]
    return {
        "policy": compiled.policy.digest,
        "notes": [message for message, _hint in compiled.notes],
        "columns": [each.name for each in compiled.plan.result.outputs],
        "cores": cores,
        "sql": [query.sql for query in compiled.asked.queries],
    }


def _spelt(of: Statistic, release: Release) -> str:
    if of.kind in {"entities", "count"}:
        return f"{of.kind}, rounded to {release.base}"
    if of.kind == "quantile":
        rounding = f"rounded to {of.bin / 10 ** of.scale[0]:g}" if of.bin else "not rounded"
        return f"quantile {of.fraction / 10_000:g}, {rounding}"
    if release.sums == "none":
        return f"{of.kind}, not rounded"
    return f"{of.kind}, rounded by its largest contributions"
