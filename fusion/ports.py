"""What the core needs from outside, as protocols: a clock, a bell, a memory that survives.

Adapters live in :mod:`fusion.stores` and :mod:`fusion.services`; each has an in-memory counterpart,
so that every rule can be tested without a disk or a network. What it needs from the engines is in
:mod:`fusion.engine_ports`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

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


class Rings(Protocol):
    """A bell: :class:`fusion.link.rings.Rings` within a process, ``fusion.link.bell`` between."""

    def rings(self) -> int:
        """Return how often it has rung."""
        ...

    def wait(self, heard: int, seconds: float) -> int:
        """Return the number of rings once it is another than ``heard``, or time is up."""
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
        self,
        job: str,
        round_number: int,
        attempt: int,
        listing: bytes,
        proof: bytes,
        entry: bytes | None = None,
    ) -> bytes:
        """Bind this attempt to one list and one proof, durably; the same list again is fine.

        Returns:
            The proof that was claimed first: the only one that may ever leave.

        Args:
            job: The job.
            round_number: The round.
            attempt: The attempt.
            listing: Digest of the list.
            proof: Of what is in the vector.
            entry: Goes to the log in the same transaction, the first time.

        Raises:
            fusion.errors.ContributionRefused: The attempt is bound to another list.
        """
        ...

    def forget_job(self, job: str, entry: bytes | None = None) -> None:
        """Drop the vectors, secrets and proofs of a finished job; what was bound stays bound.

        Args:
            job: The job.
            entry: Goes to the log in the same transaction, if the job was known.
        """
        ...


class OpeningLog(Protocol):
    """What a key holder must never forget: which rounds and contributions it has opened."""

    def consume(
        self,
        job: str,
        round_number: int,
        opening: bytes,
        contributions: Sequence[bytes],
        entry: bytes | None = None,
    ) -> None:
        """Record an opening durably, before the partial decryption leaves.

        Args:
            job: The job.
            round_number: The round; at most one opening each, whatever the attempt.
            opening: Digest of manifest and list: the same opening again is fine.
            contributions: Digests of the vectors; each is opened at most once.
            entry: Goes to the log in the same transaction, the first time.

        Raises:
            fusion.errors.GateRefused: The round was opened with another list, or a contribution
                was opened before.
        """
        ...


class Ledger(Protocol):
    """An append-only log (RFC 6962) and what is kept with it; entries are never changed or dropped.

    Whoever stores what an entry is about does so in the transaction that appends it: see the
    ``entry`` of :class:`ContributionLog` and :class:`OpeningLog`.
    """

    def size(self) -> int:
        """Return the number of entries."""
        ...

    def append(self, entries: Sequence[bytes]) -> int:
        """Append entries durably, all or none; return the number of the first."""
        ...

    def append_once(
        self, key: str, entry: bytes, papers: Mapping[str, bytes] | None = None
    ) -> bool:
        """Append an entry durably unless one was under this key; say whether it was new.

        Args:
            key: Names the occasion.
            entry: The entry.
            papers: Documents it speaks of, kept under their names in the same transaction.
        """
        ...

    def has(self, key: str) -> bool:
        """Return whether an entry is under this key."""
        ...

    def number_of(self, key: str) -> int | None:
        """Return the number of the entry under this key, if there is one."""
        ...

    def entries(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield the entries from ``start`` below ``stop``."""
        ...

    def leaves(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield the hashes of these entries, as they were when they were appended."""
        ...

    def root(self, size: int) -> bytes:
        """Return the root of the first ``size`` entries."""
        ...

    def inclusion_proof(self, index: int, size: int) -> list[bytes]:
        """Return the proof that entry ``index`` is in the log of ``size``.

        Raises:
            ValueError: There is no such entry.
        """
        ...

    def consistency_proof(self, old: int, new: int) -> list[bytes]:
        """Return the proof that the log of ``new`` extends that of ``old``.

        Raises:
            ValueError: Not ``old <= new``.
        """
        ...

    def papers(self, prefix: str) -> dict[str, bytes]:
        """Return the documents whose names begin so."""
        ...

    def keep_head(self, size: int, note: bytes) -> None:
        """Store the own signed checkpoint of this size, in place of an earlier copy."""
        ...

    def heads(self, most: int = 256) -> dict[int, bytes]:
        """Return the newest own checkpoints by size, smallest first."""
        ...

    def witnessed(self) -> dict[str, tuple[int, bytes, bytes]]:
        """Return ``(size, root, cosigned note)`` last cosigned of each other log."""
        ...

    def witness(
        self, log: str, before: tuple[int, bytes] | None, size: int, root: bytes, note: bytes
    ) -> None:
        """Remember durably what is about to be cosigned, before the cosignature leaves.

        Args:
            log: Names the log and its key.
            before: ``(size, root)`` that the new one was checked against, None for the first.
            size: Size cosigned.
            root: Root cosigned.
            note: The checkpoint with the cosignature.

        Raises:
            fusion.errors.VerificationFailed: Something else was cosigned in the meantime.
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
