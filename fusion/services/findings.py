"""What an examination finds: one line a check, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Status = Literal["ok", "warning", "problem"]

ORDER: Final[tuple[Status, ...]] = ("ok", "warning", "problem")
"""From good to bad."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Attributes:
        check: Which, stable for scripts; several findings may be of one check.
        status: ``problem`` keeps something from working, ``warning`` will, or costs something.
        message: What was found.
        todo: What to do about it; empty if all is well.
    """

    check: str
    status: Status
    message: str
    todo: str = ""


def ok(check: str, message: str) -> Finding:
    """Return a finding that needs nothing done."""
    return Finding(check, "ok", message)


def warning(check: str, message: str, todo: str) -> Finding:
    """Return a finding of what works for now."""
    return Finding(check, "warning", message, todo)


def problem(check: str, message: str, todo: str) -> Finding:
    """Return a finding of what does not work."""
    return Finding(check, "problem", message, todo)


def worst(findings: list[Finding]) -> Status:
    """Return the worst status there is; nothing found is fine."""
    return max((finding.status for finding in findings), key=ORDER.index, default="ok")
