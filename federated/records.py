"""A run's record: what its events add up to. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from federated.vertical.records import alignment_record, vertical_record

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_HEAD = frozenset({"event", "at"})
_OF_KIND = {"vertical": vertical_record, "alignment": alignment_record}
_PARTS = ("train", "encrypt", "wait", "aggregate", "decrypt", "combine", "total")


def record(events: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Sum a run's events up.

    Returns:
        ``job``, ``study``, ``status``, ``message``, ``organisations``, ``key``,
        ``bytes_per_parameter``, ``parameters``, ``rounds`` and ``metrics`` (their events, the
        newest of each round), ``refusals``, ``setup`` and ``seconds`` (summed over all rounds).
        Of a private run also ``privacy``: what was asked for, and the epsilon spent. Of a vertical
        run also ``attempts``, ``rows``, ``steps_done`` (events), ``quality`` and ``model_kept``; of
        an alignment ``attempts``, ``sent`` (bytes) and ``told`` (sealed to the operator).
    """
    summary: dict[str, Any] = {"status": "running", "message": "", "exit_code": None}
    rounds: dict[int, Mapping[str, Any]] = {}
    metrics: dict[int, Mapping[str, Any]] = {}
    refusals: list[Mapping[str, Any]] = []
    setup: dict[str, Mapping[str, Any]] = {}
    told = list(events)
    for event in told:
        match event["event"]:
            case "start":
                summary |= {k: v for k, v in event.items() if k not in _HEAD}
                summary.setdefault("started", event["at"])
            case "setup":
                setup[event["organisation"]] = event
            case "round":
                rounds[event["round"]] = event
            case "metrics":
                metrics[event["round"]] = event
            case "refusal":
                refusals.append(event)
            case "end":
                summary |= {k: event[k] for k in ("status", "message", "exit_code")}
                summary["ended"] = event["at"]
            case _:
                pass  # phases are for watching
    done = [rounds[number] for number in sorted(rounds)]
    if "privacy" in summary:
        spent = max((event.get("epsilon_micro", 0) for event in done), default=0)
        summary["privacy"] = {**summary["privacy"], "spent_micro": spent}
    of_kind = _OF_KIND.get(str(summary.get("kind")))
    if of_kind is not None:
        summary |= of_kind(told)
    return {
        **summary,
        "setup": list(setup.values()),
        "rounds": done,
        "metrics": [metrics[number] for number in sorted(metrics)],
        "refusals": refusals,
        "bytes": sum(event["bytes"] for event in done),
        "seconds": {part: sum(event["seconds"][part] for event in done) for part in _PARTS},
    }
