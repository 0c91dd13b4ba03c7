"""In-memory counterparts of the stores: the same rules, gone with the process."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from fusion.errors import ContributionRefused, GateRefused
from fusion.grants.order import Code, refused
from fusion.stores.memory_ledger import MemoryLedger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from fusion.grants.budget import Evidence


def second_list(round_number: int, attempt: int) -> ContributionRefused:
    """Return the refusal of a second list for one attempt."""
    msg = f"Round {round_number}, attempt {attempt}, was submitted to another list."
    return ContributionRefused(msg, hint="One attempt has one list; start a new attempt.")


def second_commitment(round_number: int, attempt: int) -> ContributionRefused:
    """Return the refusal of a second commitment to one attempt."""
    msg = f"Round {round_number}, attempt {attempt}, was committed to before."
    return ContributionRefused(msg, hint="One attempt has one commitment; start a new attempt.")


def second_opening(round_number: int) -> GateRefused:
    """Return the refusal of a second opening of one round."""
    msg = f"Round {round_number} was opened with another list."
    return GateRefused(msg, hint="A round is opened once; go on with the next round.")


def opened_before(round_number: int) -> GateRefused:
    """Return the refusal of a contribution that was in an earlier sum."""
    msg = f"A contribution to round {round_number} was opened in an earlier sum."
    return GateRefused(msg, hint="Every contribution is opened at most once.")


class MemoryRoundLog:
    """:class:`fusion.ports.ContributionLog` and :class:`fusion.ports.OpeningLog` in memory."""

    def __init__(self) -> None:
        """Start empty, with a log that is empty too."""
        self.ledger = MemoryLedger()
        self._lock = threading.Lock()
        self._jobs: dict[str, tuple[bytes, str]] = {}
        self._ordered: dict[str, tuple[str, bytes]] = {}
        self._commitments: dict[tuple[str, int, int], tuple[bytes, bytes, bytes]] = {}
        self._secrets: dict[tuple[str, int, int], bytes] = {}
        self._proofs: dict[tuple[str, int, int], bytes] = {}
        self._submissions: dict[tuple[str, int, int], bytes] = {}
        self._openings: dict[tuple[str, int], bytes] = {}
        self._opened: dict[bytes, bytes] = {}

    def commitment(
        self, job: str, round_number: int, attempt: int
    ) -> tuple[bytes, bytes, bytes] | None:
        """Return what was remembered, if anything."""
        return self._commitments.get((job, round_number, attempt))

    def remember_commitment(
        self,
        job: str,
        round_number: int,
        attempt: int,
        kept: tuple[bytes, bytes, bytes],
        secret: bytes,
    ) -> None:
        """Store a commitment; those to other rounds of the job are dropped."""
        with self._lock:
            if (job, round_number, attempt) in self._commitments:
                raise second_commitment(round_number, attempt)
            self._drop(lambda key: key[0] == job and key[1] != round_number)
            self._commitments[job, round_number, attempt] = kept
            self._secrets[job, round_number, attempt] = secret

    def record(self, key: str, entry: bytes) -> None:
        """Append an entry about nothing that is stored here, once for this key."""
        self.ledger.append_once(key, entry)

    def _say(self, entry: bytes | None, *, new: bool) -> None:
        if entry is not None and new:
            self.ledger.append([entry])

    def _drop(self, which: Callable[[tuple[str, int, int]], bool]) -> None:
        """Drop the vectors, secrets and proofs of some attempts."""
        self._commitments = {k: v for k, v in self._commitments.items() if not which(k)}
        self._secrets = {k: v for k, v in self._secrets.items() if not which(k)}
        self._proofs = {k: v for k, v in self._proofs.items() if not which(k)}

    def secret(self, job: str, round_number: int, attempt: int) -> bytes | None:
        """Return what a vector was made from, while it is kept."""
        return self._secrets.get((job, round_number, attempt))

    def forget_secret(self, job: str, round_number: int, attempt: int) -> None:
        """Drop what a vector was made from."""
        with self._lock:
            self._secrets.pop((job, round_number, attempt), None)

    def submission(self, job: str, round_number: int, attempt: int) -> tuple[bytes, bytes] | None:
        """Return list and proof of a submission, if it was claimed."""
        with self._lock:
            name = (job, round_number, attempt)
            proof = self._proofs.get(name)
            return None if proof is None else (self._submissions[name], proof)

    def claim_submission(
        self,
        job: str,
        round_number: int,
        attempt: int,
        listing: bytes,
        proof: bytes,
        entry: bytes | None = None,
    ) -> bytes:
        """Bind an attempt to one list and one proof; return the proof claimed first."""
        with self._lock:
            new = (job, round_number, attempt) not in self._submissions
            if self._submissions.setdefault((job, round_number, attempt), listing) != listing:
                raise second_list(round_number, attempt)
            self._say(entry, new=new)
            return self._proofs.setdefault((job, round_number, attempt), proof)

    def keep_job(self, job: str, study: bytes, key: str, entry: bytes | None = None) -> None:
        """Store what was agreed to; what was agreed to first stays."""
        with self._lock:
            self._say(entry, new=job not in self._jobs)
            self._jobs.setdefault(job, (study, key))

    def job(self, job: str) -> tuple[bytes, str] | None:
        """Return what was agreed to, if anything."""
        return self._jobs.get(job)

    def bind_order(self, order: str, job: str, document: bytes, said: Evidence) -> None:
        """Bind an order and a job to each other, for good, and log it the first time."""
        with self._lock:
            if any((name == job) != (kept[0] == order) for name, kept in self._ordered.items()):
                raise refused(Code.USED)
            self._ordered.setdefault(job, (order, document))
            self.ledger.append_once(f"order:{order}", said.entries[0], said.papers)

    def order(self, job: str) -> bytes | None:
        """Return the order that a job is bound to, if it is to any."""
        with self._lock:
            return self._ordered.get(job, (None, None))[1]

    def forget_job(self, job: str, entry: bytes | None = None) -> None:
        """Drop vectors, secrets and proofs of a job; what was bound or opened stays so."""
        with self._lock:
            self._say(entry, new=self._jobs.pop(job, None) is not None)
            self._drop(lambda key: key[0] == job)

    def consume(
        self,
        job: str,
        round_number: int,
        opening: bytes,
        contributions: Sequence[bytes],
        entry: bytes | None = None,
    ) -> None:
        """Record an opening."""
        with self._lock:
            if self._openings.get((job, round_number), opening) != opening:
                raise second_opening(round_number)
            if any(self._opened.get(item, opening) != opening for item in contributions):
                raise opened_before(round_number)
            self._say(entry, new=(job, round_number) not in self._openings)
            self._openings[job, round_number] = opening
            self._opened.update(dict.fromkeys(contributions, opening))


class MemoryJournal:
    """:class:`fusion.ports.RunJournal` in memory."""

    def __init__(self) -> None:
        """Start empty."""
        self._attempts: dict[int, int] = {}
        self._openings: dict[int, Mapping[str, Any]] = {}
        self._absences: dict[str, str] = {}
        self._states: dict[int, Mapping[str, Any]] = {}

    def next_attempt(self, round_number: int) -> int:
        """Return the next unused attempt of a round."""
        self._attempts[round_number] = self._attempts.get(round_number, 0) + 1
        return self._attempts[round_number]

    def keep_opening(self, round_number: int, opening: Mapping[str, Any]) -> None:
        """Store what is about to be opened."""
        self._openings = {round_number: opening}

    def opening(self, round_number: int) -> Mapping[str, Any] | None:
        """Return what was about to be opened, if anything."""
        return self._openings.get(round_number)

    def keep_round(self, round_number: int, state: Mapping[str, Any]) -> None:
        """Store the state after a round."""
        self._states[round_number] = state

    def keep_absences(self, since: Mapping[str, str]) -> None:
        """Store who is out, and since when."""
        self._absences = dict(since)

    def absences(self) -> Mapping[str, str]:
        """Return who was out, and since when."""
        return dict(self._absences)

    def last_round(self) -> tuple[int, Mapping[str, Any]] | None:
        """Return the newest state, if any."""
        return max(self._states.items(), key=lambda item: item[0], default=None)

    def rounds(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Yield the state after each round, in order."""
        yield from sorted(self._states.items())
