"""What a run consists of at the hub: the study, the terms, the parties, memory, time, a voice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from federated.cohort import Cohort
    from federated.models.registry import Model
    from federated.notary import Notary
    from federated.protocols.secure_sum import JobTerms
    from federated.study import Study
    from fusion.crypto.signing import SigningKey
    from fusion.ledger.entry import Entry
    from fusion.ports import Clock, RunJournal
    from fusion.types import OrgId


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a study at the hub.

    Attributes:
        study: The study.
        terms: What all parties agree to; the hub makes it the same way they do.
        model: The study's model.
        authority: The hub's signing key.
        cohort: The parties.
        journal: What survives a crash.
        clock: Time.
        notary: The hub's log, and what shows the holders that a round is in it.
        emit: Takes events without their time; see ``docs/map.md`` for the fields.
        pause: Waits some seconds.
        stopping: Whether the run's operator wants it to end; asked before each round.
        order: The operator's order, as the parties are shown it; None if no operator is named.
        place: Returns where in the study's file a key stands (``study.toml:12``), or nothing.
    """

    study: Study
    terms: JobTerms
    model: Model
    authority: SigningKey
    cohort: Cohort
    journal: RunJournal
    clock: Clock
    notary: Notary
    emit: Callable[[Mapping[str, Any]], None]
    pause: Callable[[float], None]
    stopping: Callable[[], bool] = lambda: False
    order: bytes | None = None
    place: Callable[[str], str] = lambda _key: ""

    def log(self, key: str, entry: Entry) -> None:
        """Write an entry to the hub's log, once for its key."""
        self.notary.log(key, entry)

    def now(self) -> str:
        """Return the time as RFC 3339 in UTC, to the second."""
        return self.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")

    def phase(
        self, phase: str, number: int, waiting: Sequence[OrgId], answered: Sequence[OrgId]
    ) -> None:
        """Report who is waited for."""
        self.emit(
            {
                "event": "phase",
                "round": number,
                "phase": phase,
                "waiting_for": list(waiting),
                "answered": list(answered),
            }
        )
