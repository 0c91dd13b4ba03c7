"""An owner's verbs on Python jobs: read them, approve or refuse, look at tables, let them go."""

from __future__ import annotations

import difflib
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

from fusion.crypto import rng
from fusion.errors import InputInvalid
from fusion.grants.approval import MAX_RUNS, Verdict, sign_verdict
from fusion.grants.signing import stamp
from fusion.ledger import entry as entries
from fusion.services.clock import SystemClock
from fusion.services.ledger import Book
from fusion.services.python_messages import reply_of
from fusion.services.python_shelf import RunRecord, Shelf, Shelved

if TYPE_CHECKING:
    from fusion.grants.python_job import PythonJob
    from fusion.ports import Clock
    from fusion.services.homes import NodeHome
    from fusion.services.python_messages import Table

MAX_DAYS: Final = 366
MAX_WHY: Final = 500


def found(node: NodeHome, digest: str) -> Shelved:
    """Return the job whose digest is, or begins with, this.

    Raises:
        InputInvalid: There is none, or more than one.
        VerificationFailed: It is not what it was kept as.
    """
    job = Shelf(node).job(digest)
    if job is None:
        raise InputInvalid(
            f"{digest[:64]} names no Python job here.",
            hint="fusion python review shows them; eight digits of a digest are enough.",
        )
    return job


def found_run(node: NodeHome, run: str) -> RunRecord:
    """Return a run by its name.

    Raises:
        InputInvalid: There is none.
    """
    record = Shelf(node).run(run)
    if record is None:
        raise InputInvalid(f"{run[:64]} names no run here.", hint="fusion python runs shows them.")
    return record


def difference(node: NodeHome, job: Shelved) -> tuple[str, list[str]]:
    """Return which job was approved last before this one, and the unified diff of the scripts.

    Both are empty where none was: of that organisation, for that dataset.
    """
    before = Shelf(node).before(job.job)
    if before is None:
        return "", []
    names = (f"approved/{before.job.digest[:16]}", f"submitted/{job.job.digest[:16]}")
    old, new = before.script.splitlines(), job.script.splitlines()
    return before.job.digest, list(difflib.unified_diff(old, new, *names, lineterm=""))


def judge(
    node: NodeHome,
    digest: str,
    *,
    release: Literal["automatic", "checked"] = "checked",
    runs: int = 0,
    days: int = 1,
    why: str = "",
    clock: Clock | None = None,
) -> Verdict:
    """Sign an approval of a job, or with ``why`` a refusal; log it; keep it.

    Args:
        node: The owner's node.
        digest: Of the job; the beginning is enough.
        release: What of a run leaves by itself.
        runs: How many may be begun.
        days: For how long.
        why: Of a refusal, for the analyst; empty for an approval.
        clock: Time.

    Raises:
        InputInvalid: There is no such job, or a number is out of range.
        VerificationFailed: The job is not what it was kept as.
    """
    job = found(node, digest).job
    _check_terms(job, release, runs, days, why)
    now = (clock or SystemClock()).now().astimezone(UTC)
    verdict = Verdict(
        verdict="refused" if why else "approved",
        owner=job.owner,
        assignee=job.assignee,
        dataset=job.dataset,
        job=job.digest,
        script=job.script,
        returns=job.returns.digest,
        policy=job.policy,
        revision=job.revision,
        release=release,
        runs=0 if why else runs,
        not_after=stamp(now + timedelta(days=days)),
        id=rng.token(16).hex(),
        at=stamp(now),
        why=why,
    )
    _keep(node, job, verdict, clock)
    return verdict


def _keep(node: NodeHome, job: PythonJob, verdict: Verdict, clock: Clock | None) -> None:
    """Sign a verdict, log it, and let it hold."""
    signed = sign_verdict(verdict, node.statement_key)
    shelf = Shelf(node)
    with Book(node, clock) as book, shelf.lock():
        kept = Shelved(job, "", "", "", verdict, signed)
        entry = entries.PythonJudged(
            at=book.now(),
            organisation=job.assignee,
            job=job.digest,
            verdict=kept.verdict_digest,
            approved=verdict.approved,
            checked=verdict.release == "checked",
            runs=verdict.runs,
        )
        # Before it holds: a run names the verdict that it was begun under.
        book.once(f"python-judged:{kept.verdict_digest}", entry, (signed,))
        shelf.keep_verdict(job.digest, signed)


def _check_terms(job: PythonJob, release: str, runs: int, days: int, why: str) -> None:
    if why and not (len(why) <= MAX_WHY and why.isprintable()):
        raise InputInvalid(f"A reason has at most {MAX_WHY} printable characters.")
    if not why and not (1 <= runs <= MAX_RUNS and 1 <= days <= MAX_DAYS):
        raise InputInvalid(f"An approval is for 1 to {MAX_RUNS} runs and 1 to {MAX_DAYS} days.")
    if release == "automatic" and job.returns.form != "people":
        raise InputInvalid(
            "This job returns a table of its own making, which no rule can judge.",
            hint="Approve it with --release checked: you look at each table before it leaves.",
        )


def table_of(node: NodeHome, run: str) -> tuple[RunRecord, Table]:
    """Return a run that is held for its owner, and the very table that would leave.

    Raises:
        InputInvalid: There is no such run, or it has no table.
        VerificationFailed: The table is not the one that the run made.
    """
    record = found_run(node, run)
    if record.state not in {"held", "released", "withheld", "answered"}:
        raise InputInvalid(f"{record.run} has no table: it is {record.state}.")
    table = reply_of(Shelf(node).table(record)).table
    if table is None:
        raise InputInvalid(f"{record.run} has no table.")
    return record, table


def release(node: NodeHome, run: str, digest: str, *, clock: Clock | None = None) -> RunRecord:
    """Let a table go that its owner has looked at: exactly the bytes of this digest.

    Raises:
        InputInvalid: There is no such run, it is not held, or its table is another.
        VerificationFailed: The table is not the one that the run made.
    """
    shelf = Shelf(node)
    with Book(node, clock) as book, shelf.lock():
        record, _ = _held(node, run)
        if digest != record.digest:
            raise InputInvalid(
                "The digest is not that of the table which is held.",
                hint=f"Look at it again: fusion python release {record.run}",
            )
        log_release(book, record, checked=True)
        record = record.model_copy(update={"state": "released"})
        shelf.keep_run(record)
    return record


def withhold(node: NodeHome, run: str, why: str) -> RunRecord:
    """Keep a table back for good; the reason stays here.

    Raises:
        InputInvalid: There is no such run, or it is not held.
    """
    shelf = Shelf(node)
    with shelf.lock():
        record, _ = _held(node, run)
        record = record.model_copy(update={"state": "withheld", "why": why[:MAX_WHY]})
        shelf.keep_run(record)
    return record


def log_release(book: Book, record: RunRecord, *, checked: bool) -> None:
    """Log that the table of a run is about to leave, once."""
    entry = entries.PythonReleased(
        at=book.now(),
        job=record.job,
        reservation=record.reservation,
        result=record.digest,
        checked=checked,
    )
    book.once(f"python-released:{record.reservation}", entry)


def _held(node: NodeHome, run: str) -> tuple[RunRecord, Table]:
    record, table = table_of(node, run)
    if record.state != "held":
        raise InputInvalid(f"{record.run} waits for nobody: it is {record.state}.")
    return record, table


def described(job: Shelved) -> dict[str, Any]:
    """Return what a list says of a job, as JSON values."""
    verdict = job.verdict
    return {
        "job": job.job.digest,
        "state": job.state,
        "assignee": job.job.assignee,
        "dataset": job.job.dataset,
        "revision": job.job.revision,
        "purpose": job.job.purpose,
        "bytes": len(job.script.encode()),
        "form": job.job.returns.form,
        "submitted": job.at,
        "note": job.note,
        "verdict": None if verdict is None else verdict.document(),
    }
