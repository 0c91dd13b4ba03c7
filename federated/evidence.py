"""What a party and the hub do in a run, as entries of their logs.

At a party the entry goes with what it is about into one transaction of the party's memory. The hub
keeps a job's journal and its log in two files: it logs a sum after the journal has it and before
anybody is asked to open it, and again after a restart, which changes nothing.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Protocol

from federated.protocols.statements import vector_digest
from fusion.grants.budget import Evidence as Said
from fusion.ledger import entry as entries
from fusion.ledger.entry import encode, opening_digest, stamp
from fusion.ports import ContributionLog, OpeningLog
from fusion.services.logbook import papers_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from federated.orders import Ordered
    from federated.protocols.secure_sum import Aggregate, Verified
    from federated.protocols.statements import ContributionList, RoundManifest
    from federated.run import Run
    from federated.study import Study
    from fusion.grants.order import Order
    from fusion.ports import Clock
    from fusion.services.ledger import Book


class PartyLog(ContributionLog, OpeningLog, Protocol):
    """Everything a party must not forget, and its log."""

    def keep_job(self, job: str, study: bytes, key: str, entry: bytes | None = None) -> None:
        """Store what was agreed to, durably; the entry goes with it, the first time."""
        ...

    def bind_order(self, order: str, job: str, document: bytes, said: Said) -> None:
        """Bind an order and a job to each other, durably and for good, and log it the first time.

        Raises:
            OrderRefused: One of them was bound to another.
        """
        ...

    def order(self, job: str) -> bytes | None:
        """Return the order that a job is bound to, if it is to any."""
        ...

    def job(self, job: str) -> tuple[bytes, str] | None:
        """Return the study and the key's fingerprint of a job agreed to, if it was."""
        ...

    def record(self, key: str, entry: bytes) -> None:
        """Append an entry about nothing that is stored, once for this key."""
        ...


class Evidence:
    """A party's memory that says in the party's log what it is told to remember."""

    def __init__(self, log: PartyLog, clock: Clock) -> None:
        """Take the memory, and the time for the entries."""
        self._log = log
        self._clock = clock

    def _now(self) -> str:
        return stamp(self._clock.now())

    def agreed(self, job: str, study: Study, key: str) -> None:
        """Remember and log what was agreed to; what was agreed to first stays."""
        document = self._log.order(job)
        order = "" if document is None else hashlib.sha256(document).hexdigest()
        entry = entries.StudyAgreed(
            at=self._now(), job=job, study=study.digest(), key=key, order=order
        )
        self._log.keep_job(job, study.canonical(), key, encode(entry))

    def order(self, job: str) -> bytes | None:
        """Return the order that was taken for a job, if there is one."""
        return self._log.order(job)

    def ordered(self, job: str, order: Order, document: bytes, at: datetime) -> None:
        """Remember and log that a verified order was taken for a job: from now on for no other.

        Raises:
            OrderRefused: It was taken for another, or another was taken for this job.
        """
        entry = entries.OrderTaken(
            at=stamp(at),
            job=job,
            study=order.study,
            operator=order.operator,
            id=order.id,
            order=hashlib.sha256(document).hexdigest(),
        )
        said = Said((encode(entry),), papers_of((document,)))
        self._log.bind_order(order.id, job, document, said)

    def refused(self, job: str, study: Ordered, code: str) -> None:
        """Log that a study was refused; asking again for the same adds nothing."""
        entry = entries.StudyRefused(at=self._now(), job=job, study=study.digest(), code=str(code))
        self._log.record(f"refused:{job}:{study.digest()}:{code}", encode(entry))

    def ended(self, job: str, *, done: bool) -> None:
        """Forget a job's vectors, and log that it is over."""
        entry = entries.JobEnded(at=self._now(), job=job, status="done" if done else "unfinished")
        self._log.forget_job(job, encode(entry))

    # ------------------------------------------------------------------ as the protocol asks for

    def commitment(
        self, job: str, round_number: int, attempt: int
    ) -> tuple[bytes, bytes, bytes] | None:
        """Return what was remembered, if anything."""
        return self._log.commitment(job, round_number, attempt)

    def remember_commitment(
        self,
        job: str,
        round_number: int,
        attempt: int,
        kept: tuple[bytes, bytes, bytes],
        secret: bytes,
    ) -> None:
        """Store a commitment; nothing has left yet, so nothing is logged."""
        self._log.remember_commitment(job, round_number, attempt, kept, secret)

    def secret(self, job: str, round_number: int, attempt: int) -> bytes | None:
        """Return what a vector was made from, while it is kept."""
        return self._log.secret(job, round_number, attempt)

    def forget_secret(self, job: str, round_number: int, attempt: int) -> None:
        """Drop what a vector was made from."""
        self._log.forget_secret(job, round_number, attempt)

    def submission(self, job: str, round_number: int, attempt: int) -> tuple[bytes, bytes] | None:
        """Return list and proof of a submission, if it was claimed."""
        return self._log.submission(job, round_number, attempt)

    def claim_submission(
        self,
        job: str,
        round_number: int,
        attempt: int,
        listing: bytes,
        proof: bytes,
        entry: bytes | None = None,
    ) -> bytes:
        """Bind an attempt to one list, and log which vector is released for it."""
        kept = self._log.commitment(job, round_number, attempt)
        if entry is None and kept is not None:
            manifest, _, vector = kept
            entry = encode(
                entries.RoundContributed(
                    at=self._now(),
                    job=job,
                    round=round_number,
                    attempt=attempt,
                    manifest=manifest.hex(),
                    vector=vector_digest(vector).hex(),
                    listing=listing.hex(),
                )
            )
        return self._log.claim_submission(job, round_number, attempt, listing, proof, entry)

    def forget_job(self, job: str, entry: bytes | None = None) -> None:
        """Drop the vectors of a job."""
        self._log.forget_job(job, entry)

    def consume(
        self,
        job: str,
        round_number: int,
        opening: bytes,
        contributions: Sequence[bytes],
        entry: bytes | None = None,
    ) -> None:
        """Record an opening, and log it."""
        if entry is None:
            entry = encode(
                entries.SumOpened(
                    at=self._now(),
                    job=job,
                    round=round_number,
                    opening=opening.hex(),
                    contributions=tuple(item.hex() for item in contributions),
                )
            )
        self._log.consume(job, round_number, opening, contributions, entry)


# ---------------------------------------------------------------------------------- the hub


def log_start(run: Run) -> None:
    """Log that a job has begun."""
    terms = run.terms
    entry = entries.JobStarted(
        at=stamp(run.clock.now()),
        job=terms.job,
        study=terms.study,
        key=terms.key.public.fingerprint,
        organisations=tuple(run.study.organisations),
        quorum=terms.quorum,
    )
    run.log(f"job:{terms.job}:started", entry)


def list_key(manifest: RoundManifest) -> str:
    """Return under which name the list of an attempt is logged."""
    return f"job:{manifest.job}:round:{manifest.round}:attempt:{manifest.attempt}:list"


def log_list(run: Run, manifest: RoundManifest, listed: ContributionList) -> None:
    """Log the list of an attempt, before anything is released for it."""
    entry = entries.RoundListed(
        at=stamp(run.clock.now()),
        job=manifest.job,
        round=manifest.round,
        attempt=manifest.attempt,
        manifest=manifest.digest().hex(),
        listing=listed.digest().hex(),
        opening=opening_digest(manifest.digest(), listed.digest()).hex(),
        contributors=listed.organisations(),
        commitments=tuple(each.commitment for each in listed.entries),
    )
    run.log(list_key(manifest), entry)


def log_sum(
    run: Run,
    manifest: RoundManifest,
    listed: ContributionList,
    total: Aggregate,
    verified: Sequence[Verified],
) -> None:
    """Log which contributions are about to be opened together.

    Args:
        run: The run.
        manifest: The round.
        listed: Its list.
        total: What was recomputed from the contributions.
        verified: The contributions.
    """
    ordered = sorted(verified, key=lambda each: each.organisation)
    entry = entries.RoundSummed(
        at=stamp(run.clock.now()),
        job=manifest.job,
        round=manifest.round,
        attempt=manifest.attempt,
        manifest=manifest.digest().hex(),
        listing=listed.digest().hex(),
        opening=total.opening.hex(),
        contributors=tuple(each.organisation for each in ordered),
        contributions=tuple(each.digest.hex() for each in ordered),
    )
    run.log(f"job:{manifest.job}:round:{manifest.round}", entry)


def log_model(run: Run, digest: str) -> None:
    """Log the finished model, and that the hub may hand it out."""
    now, job = stamp(run.clock.now()), run.terms.job
    run.log(f"job:{job}:model", entries.ModelMade(at=now, job=job, model=digest))
    released = entries.Released(at=now, job=job, output="model", digest=digest)
    run.log(f"job:{job}:released", released)


def log_end(book: Book, job: str, status: str) -> None:
    """Log how a job has ended, if the log has that it began."""
    if book.ledger.has(f"job:{job}:started"):
        content = {"at": book.now(), "job": job, "status": status}
        book.once(f"job:{job}:ended", entries.JobEnded.model_validate(content))
