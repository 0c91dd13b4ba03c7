"""What the events of a run add up to, and each event as one line of text.

The live table and the plain log both read from here; nothing here knows a terminal.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from fusion.cli.output import clean
from fusion.cli.vertical_lines import LINES as VERTICAL_LINES
from fusion.cli.vertical_lines import quality_words, start_words
from fusion.reports.privacy import micro

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Event = Mapping[str, Any]

SPENT: Final = ("train", "encrypt", "wait", "aggregate", "decrypt", "combine")


@dataclass(slots=True)
class Party:
    """One organisation as the last events left it.

    Attributes:
        state: ready, waiting, answered, absent, refused, or empty before the first news.
        note: Since when and why, or which phase.
        rounds: Sums it contributed to.
    """

    state: str = ""
    note: str = ""
    rounds: int = 0


@dataclass(slots=True)
class Progress:
    """A run so far.

    Attributes:
        study: Name of the study.
        job: The job's identifier.
        rounds: Rounds of training to come in all.
        key: ``bits``, ``holders``, ``threshold``.
        backend: How columns of a vertical run stay apart; empty for any other run.
        aligns: Whether records are aligned, and nothing is trained.
        round: The last finished round of training.
        phase: What is going on, with the round it belongs to.
        parties: By organisation, in the study's order.
        metrics: The newest metrics event, or of a vertical run what its model was judged.
        seconds: Sums over the finished rounds.
        bytes: Sum over the finished rounds.
        status: Empty while the run goes on.
        message: How it ended.
        exit_code: What the run's end asks for.
    """

    study: str = ""
    job: str = ""
    rounds: int = 0
    key: Mapping[str, Any] = field(default_factory=dict)
    backend: str = ""
    aligns: bool = False
    round: int = 0
    phase: str = ""
    parties: dict[str, Party] = field(default_factory=dict)
    metrics: Event = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(SPENT, 0.0))
    bytes: int = 0
    status: str = ""
    message: str = ""
    exit_code: int = 0

    def apply(self, event: Event) -> None:
        """Take one event into account; an event of another kind changes nothing."""
        handler = _HANDLERS.get(str(event.get("event")))
        if handler is not None:
            handler(self, event)

    def party(self, name: str) -> Party:
        """Return the organisation's row, made on first mention."""
        return self.parties.setdefault(name, Party())


def _start(run: Progress, event: Event) -> None:
    run.study, run.job = str(event.get("study", "")), str(event.get("job", ""))
    run.rounds = int(event.get("rounds", event.get("steps", 0)))
    run.key, run.backend = event.get("key") or {}, str(event.get("backend", ""))
    run.aligns = event.get("kind") == "alignment"
    for name in event.get("organisations", []):
        run.party(str(name))


def _setup(run: Progress, event: Event) -> None:
    party = run.party(str(event.get("organisation")))
    party.state, party.note = str(event.get("status", "")), str(event.get("message") or "")


def _phase(run: Progress, event: Event) -> None:
    run.phase = f"round {event.get('round')}: {event.get('phase')}"
    for state, key in (("waiting", "waiting_for"), ("answered", "answered")):
        for name in event.get(key, []):
            party = run.party(str(name))
            party.state, party.note = state, str(event.get("phase"))


def _round(run: Progress, event: Event) -> None:
    run.round = min(int(event.get("round", 0)), run.rounds)
    for name in event.get("contributors", []):
        party = run.party(str(name))
        party.state, party.note = "answered", ""
        party.rounds += 1
    for gone in event.get("absent", []):
        party = run.party(str(gone.get("organisation")))
        party.state = "absent"
        party.note = f"since {gone.get('since')}: {gone.get('reason')}"
    run.bytes += int(event.get("bytes") or 0)
    for key in SPENT:
        run.seconds[key] += float((event.get("seconds") or {}).get(key) or 0.0)


def _metrics(run: Progress, event: Event) -> None:
    run.metrics = event


def _aligned(run: Progress, event: Event) -> None:
    run.phase = f"training on {event.get('training')} common records"


def _attempt(run: Progress, event: Event) -> None:
    run.phase = f"attempt {event.get('number')}"
    run.round = int(event.get("step", 0))
    for party in run.parties.values():
        party.state = "answered"


def _step(run: Progress, event: Event) -> None:
    run.round = min(int(event.get("step", 0)), run.rounds)
    run.bytes = int(event.get("bytes") or 0)
    for party in run.parties.values():
        party.rounds = run.round


def _sent(run: Progress, event: Event) -> None:
    run.bytes = int(event.get("bytes") or 0)


def _refusal(run: Progress, event: Event) -> None:
    party = run.party(str(event.get("organisation")))
    party.state, party.note = "refused", f"{event.get('code')} {event.get('message')}"


def _end(run: Progress, event: Event) -> None:
    run.status, run.message = str(event.get("status", "")), str(event.get("message") or "")
    run.exit_code, run.phase = int(event.get("exit_code", 0)), ""


_HANDLERS: Final[Mapping[str, Callable[[Progress, Event], None]]] = {
    "start": _start,
    "setup": _setup,
    "phase": _phase,
    "round": _round,
    "metrics": _metrics,
    "aligned": _aligned,
    "attempt": _attempt,
    "step": _step,
    "sent": _sent,
    "quality": _metrics,
    "refusal": _refusal,
    "end": _end,
}


def privacy_facts(record: Mapping[str, Any]) -> list[tuple[str, object]]:
    """Return the closing line about epsilon; none for a run that is not private."""
    privacy = record.get("privacy")
    if not privacy:
        return []
    asked, spent = micro(privacy["epsilon_micro"]), micro(privacy["spent_micro"])
    words = f"epsilon {spent} of {asked} at delta {privacy['delta']:g}, for each row"
    return [("privacy", words)]


# ------------------------------------------------------------------------------ one line


def line(event: Event) -> str | None:
    """Return an event as one line, or None for a phase: it matters only while it lasts."""
    writer = _LINES.get(str(event.get("event")))
    if writer is None:
        return None
    at = str(event.get("at", ""))[11:19]
    return clean(f"{at}  {writer(event)}".strip())


def key_words(key: Mapping[str, Any]) -> str:
    """Return a key as ``3072 bits, 3 of 4``."""
    holders = key.get("holders", [])
    count = len(holders) if isinstance(holders, list | tuple) else holders
    return f"{key.get('bits')} bits, {key.get('threshold')} of {count}" if key else "unknown"


def size_words(size: float) -> str:
    """Return a number of bytes for reading."""
    for unit, divisor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= divisor:
            return f"{size / divisor:.1f} {unit}"
    return f"{size:.0f} B"


def metric_words(event: Event) -> str:
    """Return loss, AUC and KS, or what a vertical model was judged."""
    if "metric" in event:
        return quality_words(event)
    names = (("loss", "loss"), ("AUC", "auc"), ("KS", "ks"))
    return "  ".join(
        f"{name} {float(event[key]):.4f}" for name, key in names if event.get(key) is not None
    )


def _start_line(event: Event) -> str:
    names = ", ".join(str(name) for name in event.get("organisations", []))
    head = f"start    {event.get('study')} ({event.get('job')}): {names}; "
    if event.get("kind") in {"vertical", "alignment"}:
        return head + start_words(event)
    return f"{head}{event.get('rounds')} rounds; key {key_words(event.get('key') or {})}"


def _setup_line(event: Event) -> str:
    message = f": {event['message']}" if event.get("message") else ""
    return f"set-up   {event.get('organisation')} {event.get('status')}{message}"


_SUMS: Final = {"moments": "moments", "evaluate": "judging"}
"""Sums that are no rounds of training: of the inputs' moments, and of the last model's scores."""


def _round_line(event: Event) -> str:
    absent = ", ".join(
        f"{gone.get('organisation')} since {gone.get('since')} ({gone.get('reason')})"
        for gone in event.get("absent", [])
    )
    total = float((event.get("seconds") or {}).get("total") or 0.0)
    clipped = f", {event['clipped']} clipped" if event.get("clipped") else ""
    count = len(event.get("contributors", []))
    name = _SUMS.get(str(event.get("purpose")), f"round {event.get('round'):>2}")
    return (
        f"{name:<8}  {count} contributed{clipped}, {total:.1f} s, "
        f"{size_words(float(event.get('bytes') or 0))}" + (f"; absent: {absent}" if absent else "")
    )


def _metrics_line(event: Event) -> str:
    return f"model {event.get('round'):>2}  {metric_words(event)}"


def _notice_line(event: Event) -> str:
    return f"note     {event.get('message')}"


def _refusal_line(event: Event) -> str:
    return f"refusal  {event.get('organisation')} {event.get('code')}: {event.get('message')}"


def _end_line(event: Event) -> str:
    return f"end      {event.get('status')} {event.get('message') or ''}"


_LINES: Final[Mapping[str, Callable[[Event], str]]] = {
    "start": _start_line,
    "setup": _setup_line,
    "round": _round_line,
    "metrics": _metrics_line,
    "notice": _notice_line,
    "refusal": _refusal_line,
    "end": _end_line,
    **VERTICAL_LINES,
}
