"""What the events of a vertical run, or of an alignment, add up to beside what all have. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_HEAD = frozenset({"event", "at"})
_ONE = {"aligned": "rows", "quality": "quality", "model": "model_kept"}
_MANY = {"attempt": "attempts", "step": "steps_done"}


def vertical_record(events: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return attempts and steps as they came, common rows, quality and the model's name."""
    found: dict[str, Any] = {"attempts": [], "steps_done": [], "rows": None}
    for event in events:
        kind = event["event"]
        content = {key: value for key, value in event.items() if key not in _HEAD}
        if kind in _ONE:
            found[_ONE[kind]] = content
        elif kind in _MANY:
            found[_MANY[kind]].append(dict(event))
    return found


def alignment_record(events: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return attempts, bytes, what each party told, sealed to the operator, and why it failed."""
    told: dict[str, Mapping[str, Any]] = {}
    attempts, sent, code = [], 0, ""
    for event in events:
        match event["event"]:
            case "attempt":
                attempts.append(dict(event))
            case "sent":
                sent = int(event["bytes"])
            case "told":
                told[event["organisation"]] = {
                    "organisation": event["organisation"], "told": event["told"],
                }  # fmt: skip
            case "end":
                code = str(event.get("code", ""))
            case _:
                pass
    return {"attempts": attempts, "told": list(told.values()), "sent": sent, "code": code}
