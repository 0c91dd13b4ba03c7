"""Asking the parties of a sum: what it takes, who answered, who is left out and why.

Every refusal and every silence ends here, with a name, a time and a reason.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fusion.errors import MessageInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from federated.attendance import Attendance
    from federated.cohort import Reply, Request
    from federated.run import Run
    from fusion.errors import FusionError
    from fusion.types import OrgId


@dataclass(slots=True)
class Meter:
    """Seconds and bytes of one sum, attempt after attempt."""

    seconds: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(
            ("train", "encrypt", "wait", "aggregate", "decrypt", "combine", "total"), 0.0
        )
    )
    bytes: int = 0

    def add(self, what: str, seconds: float) -> None:
        """Add time to one of the parts."""
        self.seconds[what] += seconds


class Asker:
    """Asks on behalf of one run."""

    def __init__(self, run: Run, attendance: Attendance) -> None:
        """Take the run and who is there."""
        self._run = run
        self._attendance = attendance

    def ask(
        self,
        phase: str,
        number: int,
        request: Request,
        whom: Sequence[OrgId],
        meter: Meter,
        *,
        stop_at: int | None = None,
        leave: bool = True,
    ) -> dict[OrgId, Reply]:
        """Ask, report as answers come, and return the good ones; others are left out by name.

        Args:
            phase: What the events call it; decides on the deadline.
            number: The round.
            request: The same for all.
            whom: In the order in which they are named.
            meter: Counts the bytes.
            stop_at: Enough good answers.
            leave: Leave out who is silent even if there are enough.
        """
        run = self._run
        limits = run.study.deadlines
        seconds = {
            "join": limits.submit,
            "submit": limits.submit,
            "witness": limits.submit,
            "decrypt": limits.decrypt,
            "dispute": limits.decrypt,
        }.get(phase, limits.train)
        good: dict[OrgId, Reply] = {}

        def note(reply: Reply) -> None:
            meter.bytes += reply.size
            if reply.failure is None:
                good[reply.organisation] = reply
            waiting = tuple(org for org in whom if org not in good)
            run.phase(phase, number, waiting, tuple(good))

        run.phase(phase, number, whom, ())
        meter.bytes += request.size * len(whom)
        replies = run.cohort.ask(
            dict.fromkeys(whom, request),
            seconds=seconds,
            enough=None if stop_at is None else lambda _: len(good) >= stop_at,
            on_reply=note,
        )
        for organisation in whom:
            reply = replies.get(organisation)
            if reply is not None and reply.failure is not None:
                failure = reply.failure
                self._leave(organisation, f"refused {phase}: {failure.message}")
                self._refused(organisation, failure.code, failure.message)
            elif reply is None and (leave or len(good) < (stop_at or 0)):
                self._leave(organisation, f"did not answer {phase} within {seconds:g} s")
        return good

    def leave_out(self, organisation: OrgId, reason: str, error: FusionError) -> None:
        """Leave a party out for what it sent."""
        self._leave(organisation, reason)
        self.refusal(organisation, error)

    def refusal(self, organisation: OrgId, error: FusionError) -> None:
        """Name a party in the run's events."""
        self._refused(organisation, error.code, error.message)

    def _leave(self, organisation: OrgId, reason: str) -> None:
        self._attendance.leave(organisation, since=self._run.now(), reason=reason)

    def _refused(self, organisation: OrgId, code: str, message: str) -> None:
        self._run.emit(
            {"event": "refusal", "organisation": organisation, "code": code, "message": message}
        )


def text_of(reply: Reply, name: str) -> bytes:
    """Read a text from a reply's head.

    Raises:
        MessageInvalid: It is missing or no text.
    """
    value = reply.head.get(name)
    if not isinstance(value, str):
        msg = f"The reply of {reply.organisation} lacks {name!r}."
        raise MessageInvalid(msg)
    return value.encode()


def seconds_of(head: Mapping[str, object], what: str) -> float:
    """Read how long a party says a step took; it only informs, so nonsense counts as nothing."""
    seconds = head.get("seconds")
    value = seconds.get(what) if isinstance(seconds, dict) else None
    return float(value) if isinstance(value, int | float) and 0 <= value < 1e6 else 0.0
