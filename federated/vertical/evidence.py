"""What a party and the hub do in a vertical run, as entries of their logs."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from federated.evidence import Evidence
from fusion.ledger import vertical_entries
from fusion.ledger.alignment_entries import SetAligned, SetCommitted
from fusion.ledger.entry import encode, stamp
from fusion.services import align_results

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from federated.evidence import PartyLog
    from federated.vertical.aligning import Aligned
    from federated.vertical.study import JointStudy
    from fusion.alignment.session import Outcome
    from fusion.ports import Clock
    from fusion.services.ledger import Book

_OVER: Final = "over"
"""Stands where a job's key fingerprint would be: it has ended."""


class VerticalEvidence(Evidence):
    """A party's memory of vertical runs."""

    def __init__(self, log: PartyLog, clock: Clock) -> None:
        """Take the memory, and the time for the entries."""
        super().__init__(log, clock)

    def agreed(self, job: str, study: JointStudy) -> None:  # type: ignore[override]
        """Remember and log what was agreed to; what was agreed to first stays."""
        document = self._log.order(job)
        entry = vertical_entries.VerticalAgreed(
            at=self._now(),
            job=job,
            study=study.digest(),
            organisations=study.organisations,
            order="" if document is None else hashlib.sha256(document).hexdigest(),
        )
        self._log.keep_job(job, study.canonical(), "", encode(entry))

    def ended(self, job: str, *, done: bool) -> None:
        """Log that a job is over, and remember that: it is never agreed to again.

        What was charged and ordered for it is spent, and what was kept of its table is gone: it
        could be run anew, over another table, under one charge.
        """
        agreed = self._log.job(job)
        if agreed is None or agreed[1] == _OVER:
            return
        super().ended(job, done=done)
        self._log.keep_job(job, b"", _OVER)

    def is_over(self, job: str) -> bool:
        """Whether a job was agreed to and has ended."""
        agreed = self._log.job(job)
        return agreed is not None and agreed[1] == _OVER

    def is_sum(self, job: str) -> bool:
        """Whether a job was agreed to as one of sums, which has a key: others remember its end."""
        agreed = self._log.job(job)
        return agreed is not None and agreed[1] not in {"", _OVER}

    def aligned(self, job: str, attempt: int, aligned: Aligned) -> None:
        """Log an alignment: commitments and sizes, no record."""
        entry = vertical_entries.RecordsAligned(
            at=self._now(),
            job=job,
            attempt=attempt,
            commitment=aligned.commitment,
            records=aligned.own,
            peers=tuple(seen.organisation for seen in aligned.seen),
            peer_commitments=tuple(seen.commitment for seen in aligned.seen),
            peer_records=tuple(seen.items for seen in aligned.seen),
            common=len(aligned.keys),
        )
        self._log.record(f"job:{job}:aligned:{attempt}", encode(entry))

    def trained(self, job: str, attempt: int, steps: int, part: str) -> None:
        """Log that a part is finished."""
        entry = vertical_entries.PartTrained(
            at=self._now(), job=job, attempt=attempt, steps=steps, part=part
        )
        self._log.record(f"job:{job}:part:{attempt}", encode(entry))


class AlignmentEvidence:
    """What a party's log is told of one alignment by itself; each entry once."""

    def __init__(self, log: PartyLog, clock: Clock, job: str, reservation: str) -> None:
        """Take the log, and under which charge the job is."""
        self._log, self._clock = log, clock
        self._job, self._reservation = job, reservation

    def committed(
        self,
        commitment: str,
        records: int,
        peers: Sequence[str],
        seen: Mapping[str, tuple[str, int]],
    ) -> None:
        """Log the own commitment and those of peers, before any record of theirs is answered.

        Args:
            commitment: To the own masked set.
            records: Of the own set.
            peers: The others.
            seen: Commitment and size of each peer that has said them.
        """
        names = tuple(sorted(seen or peers))
        entry = SetCommitted(
            at=stamp(self._clock.now()),
            job=self._job,
            reservation=self._reservation,
            commitment=commitment,
            records=records,
            peers=names,
            peer_commitments=tuple(seen[name][0] for name in names if name in seen),
            peer_records=tuple(seen[name][1] for name in names if name in seen),
        )
        self._log.record(f"alignment:{self._job}:committed", encode(entry))

    def learned(self, outcome: Outcome | None) -> None:
        """Log what was learned, before anybody is told."""
        entry = SetAligned(
            at=stamp(self._clock.now()),
            job=self._job,
            reservation=self._reservation,
            learned=align_results.what(outcome),
            common=0 if outcome is None else outcome.size,
        )
        self._log.record(f"alignment:{self._job}:learned", encode(entry))


def log_start(book: Book, job: str, study: JointStudy) -> None:
    """Log at the hub that a run has begun."""
    content = {
        "at": book.now(), "job": job, "study": study.digest(),
        "organisations": study.organisations,
    }  # fmt: skip
    book.once(f"job:{job}:started", vertical_entries.VerticalStarted.model_validate(content))


def log_attempt(book: Book, job: str, attempt: int, step: int) -> None:
    """Log at the hub that an attempt begins, and after which step; 0 also where records align."""
    content = {"at": book.now(), "job": job, "attempt": attempt, "step": step}
    book.once(f"job:{job}:attempt:{attempt}", vertical_entries.AttemptBegun.model_validate(content))
