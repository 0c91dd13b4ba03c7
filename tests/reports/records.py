"""A run's record and comparison, as the engine returns them, small and made up."""

from __future__ import annotations

from typing import Any

ORGANISATIONS = ("federal", "state", "local", "enterprise")
PARTS = ("train", "encrypt", "wait", "aggregate", "decrypt", "combine")


def round_event(number: int, *, absent: str | None = None) -> dict[str, Any]:
    """Return a round's event, with one organisation left out if named."""
    seconds = {part: 0.1 * (index + 1) for index, part in enumerate(PARTS)}
    gone = {
        "organisation": absent,
        "since": "2026-01-02T03:04:05Z",
        "reason": "did not submit in time",
    }
    return {
        "event": "round",
        "at": "2026-01-02T03:04:06.000+00:00",
        "round": number,
        "contributors": [name for name in ORGANISATIONS if name != absent],
        "absent": [gone] if absent else [],
        "clipped": 0,
        "bytes": 120_000,
        "seconds": {**seconds, "total": sum(seconds.values())},
    }


def metrics_event(number: int) -> dict[str, Any]:
    """Return the metrics after a round."""
    return {
        "event": "metrics",
        "at": "2026-01-02T03:04:07.000+00:00",
        "round": number,
        "loss": 0.69 - 0.03 * number,
        "auc": 0.5 + 0.04 * number,
        "ks": 0.05 * number,
        "ece": 0.02,
        "roc": [[0.0, 0.0], [0.2, 0.7], [1.0, 1.0]],
        "calibration": [[0.1, 0.12, 300], [0.8, 0.75, 90]],
    }


def record(*, rounds: int = 3, absent: str | None = None) -> dict[str, Any]:
    """Return a finished run's record."""
    return {
        "job": "job-0011aabb",
        "study": "adult",
        "status": "done",
        "message": "",
        "exit_code": 0,
        "organisations": list(ORGANISATIONS),
        "key": {"bits": 3072, "holders": list(ORGANISATIONS), "threshold": 3},
        "bytes_per_parameter": 8.5,
        "rounds": [round_event(n, absent=absent if n == 2 else None) for n in range(rounds + 1)],
        "metrics": [metrics_event(n) for n in range(rounds + 1)],
        "seconds": {},
    }


def comparison() -> dict[str, Any]:
    """Return a comparison with each organisation alone and with pooled data."""
    return {
        "organisations": [
            {"id": name, "rows": 1000 * (index + 1), "auc_alone": 0.55 + 0.01 * index}
            for index, name in enumerate(ORGANISATIONS)
        ],
        "auc": {"joint": 0.6204, "pooled": 0.6213},
        "max_abs_error_vs_plain": 2.5e-8,
    }


def events(*, rounds: int = 3, absent: str | None = None) -> list[dict[str, Any]]:
    """Return a run's events in order."""
    run = record(rounds=rounds, absent=absent)
    start = {key: run[key] for key in ("job", "study", "organisations", "key")}
    found: list[dict[str, Any]] = [
        {"event": "start", "at": "2026-01-02T03:04:00.000+00:00", "rounds": rounds, **start}
    ]
    found += [{"event": "setup", "organisation": n, "status": "ready"} for n in ORGANISATIONS]
    for done, judged in zip(run["rounds"], run["metrics"], strict=True):
        waiting = {"waiting_for": list(ORGANISATIONS[1:]), "answered": [ORGANISATIONS[0]]}
        found += [{"event": "phase", "round": done["round"], "phase": "train", **waiting}]
        found += [done, judged]
    found.append({"event": "end", "status": "done", "message": "", "exit_code": 0})
    return found
