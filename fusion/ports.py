"""What the core needs from outside, as protocols: a clock, a memory that survives, an engine.

Adapters live in :mod:`fusion.stores`, :mod:`fusion.services` and :mod:`federated`; each has an
in-memory counterpart, so that every rule can be tested without a disk or a network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    Event = Mapping[str, Any]
    """One line of a run's event log: ``event``, ``at`` and what the event carries."""


class Clock(Protocol):
    """Time as the code is allowed to see it."""

    def now(self) -> datetime:
        """Return the current time, timezone-aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        ...


class Stop(Protocol):
    """What says that it is time to stop; a :class:`threading.Event` is one."""

    def is_set(self) -> bool:
        """Return whether it is time."""
        ...

    def wait(self, timeout: float | None = None) -> bool:
        """Return whether it is time, after waiting for it."""
        ...


class ContributionLog(Protocol):
    """What a contributor must never forget: what it committed to and which list it released for."""

    def commitment(
        self, job: str, round_number: int, attempt: int
    ) -> tuple[bytes, bytes, bytes] | None:
        """Return ``(manifest digest, nonce, vector)`` of an earlier commitment, if there is one."""
        ...

    def remember_commitment(
        self,
        job: str,
        round_number: int,
        attempt: int,
        kept: tuple[bytes, bytes, bytes],
        secret: bytes,
    ) -> None:
        """Store ``(manifest digest, nonce, vector)`` durably, before the commitment leaves.

        Commitments to earlier rounds of the job are dropped, with what they were made from.

        Args:
            job: The job.
            round_number: The round.
            attempt: The attempt.
            kept: What :meth:`commitment` returns.
            secret: What the vector was made from, to prove it; see :meth:`secret`.

        Raises:
            fusion.errors.ContributionRefused: The attempt was committed to before.
        """
        ...

    def secret(self, job: str, round_number: int, attempt: int) -> bytes | None:
        """Return what the vector of an attempt was made from, while it is kept."""
        ...

    def forget_secret(self, job: str, round_number: int, attempt: int) -> None:
        """Drop what the vector of an attempt was made from: nothing is to be proved of it again."""
        ...

    def submission(self, job: str, round_number: int, attempt: int) -> tuple[bytes, bytes] | None:
        """Return ``(list digest, proof)`` of a submission already claimed, if there is one."""
        ...

    def claim_submission(
        self, job: str, round_number: int, attempt: int, listing: bytes, proof: bytes
    ) -> bytes:
        """Bind this attempt to one list and one proof, durably; the same list again is fine.

        Returns:
            The proof that was claimed first: the only one that may ever leave.

        Raises:
            fusion.errors.ContributionRefused: The attempt is bound to another list.
        """
        ...

    def forget_job(self, job: str) -> None:
        """Drop the vectors, secrets and proofs of a finished job; what was bound stays bound."""
        ...


class OpeningLog(Protocol):
    """What a key holder must never forget: which rounds and contributions it has opened."""

    def consume(
        self, job: str, round_number: int, opening: bytes, contributions: Sequence[bytes]
    ) -> None:
        """Record an opening durably, before the partial decryption leaves.

        Args:
            job: The job.
            round_number: The round; at most one opening each, whatever the attempt.
            opening: Digest of manifest and list: the same opening again is fine.
            contributions: Digests of the vectors; each is opened at most once.

        Raises:
            fusion.errors.GateRefused: The round was opened with another list, or a contribution
                was opened before.
        """
        ...


class RunJournal(Protocol):
    """What the hub must remember of a run in order to go on after a crash."""

    def next_attempt(self, round_number: int) -> int:
        """Return the next unused attempt of a round, durably: 1, 2, ..."""
        ...

    def keep_opening(self, round_number: int, opening: Mapping[str, Any]) -> None:
        """Store what is about to be opened, so that a restart asks for exactly the same."""
        ...

    def opening(self, round_number: int) -> Mapping[str, Any] | None:
        """Return what was about to be opened in a round, if anything."""
        ...

    def keep_round(self, round_number: int, state: Mapping[str, Any]) -> None:
        """Store the state after a round; values are JSON values or bytes."""
        ...

    def keep_absences(self, since: Mapping[str, str]) -> None:
        """Store who is out, and since when, in place of what was stored before."""
        ...

    def absences(self) -> Mapping[str, str]:
        """Return who was out, and since when."""
        ...

    def last_round(self) -> tuple[int, Mapping[str, Any]] | None:
        """Return the newest state, if any."""
        ...


class TrainingEngine(Protocol):
    """What the verbs need from ``federated``, found through the entry point ``fusion.engines``."""

    def hub_up(self, hub: Any, *, stop: Stop, say: Callable[[str], None]) -> int:  # noqa: ANN401 - a HubHome; services are above
        """Serve the federation until ``stop``; return the exit code."""
        ...

    def node_up(self, node: Any, *, stop: Stop, say: Callable[[str], None]) -> int:  # noqa: ANN401 - a NodeHome
        """Serve the hub's requests until ``stop``; return the exit code."""
        ...

    def train(self, hub: Any, study_text: str, origin: str) -> str:  # noqa: ANN401 - a HubHome
        """Check a study and hand it to the running hub; return the job's identifier."""
        ...

    def check(self, study_text: str, origin: str) -> None:
        """Check a study by itself, without a federation."""
        ...

    def follow(
        self,
        hub: Any,  # noqa: ANN401 - a HubHome
        job: str,
        *,
        stop: Stop,
        on_quiet: Callable[[float], None] = ...,
    ) -> Iterator[Event]:
        """Yield the job's events, past and coming, up to its end.

        ``on_quiet`` is told, now and then, for how many seconds nothing has come.
        """
        ...

    def result(self, hub: Any, job: str) -> dict[str, Any]:  # noqa: ANN401 - a HubHome
        """Return the job's record so far."""
        ...

    def jobs(self, hub: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - a HubHome
        """Return each job's ``job``, ``status`` and, if it has ended badly, ``message``."""
        ...

    def stop(self, hub: Any, job: str) -> None:  # noqa: ANN401 - a HubHome
        """Ask for a run to end before its next round."""
        ...

    def key_terms(self, study_text: str, origin: str) -> dict[str, Any]:
        """Return what a study asks of a key: ``bits``, ``threshold`` and ``holders``."""
        ...

    def simulate(
        self,
        study_text: str,
        origin: str,
        parties: Sequence[tuple[str, Path]],
        *,
        label: str | None,
        on_event: Callable[[Event], None],
    ) -> dict[str, Any]:
        """Run a study with all parties in this process; return its record, however it ended."""
        ...

    def baselines(
        self, study_text: str, tables: Mapping[str, Path], rounds_log: Path
    ) -> dict[str, Any]:
        """Compare a run with each party alone and with pooled data; all tables are at hand."""
        ...

    def demo_files(self) -> Mapping[str, Any]:
        """Return ``{"study", "study-mlp": Path, "tables": {organisation: Path}}``."""
        ...
