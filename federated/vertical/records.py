"""What the events of a vertical run add up to, beside what every run has. Pure."""

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
