"""Python jobs at their owner's: what was submitted, what was said to it, what came of its runs.

::

    HOME/python/jobs/DIGEST/job.json       the job; DIGEST is of its bytes
    HOME/python/jobs/DIGEST/script.py      as it was submitted
    HOME/python/jobs/DIGEST/about.json     when it came, and what the analyst wrote to it
    HOME/python/jobs/DIGEST/verdict.json   the newest word of the owner, signed
    HOME/python/jobs/DIGEST/runs/RUN/run.json      who, when, how it ended
    HOME/python/jobs/DIGEST/runs/RUN/table.json    the very bytes that leave, or wait to
    HOME/python/jobs/DIGEST/runs/RUN/stderr.txt    for the owner alone; it can hold rows

Nothing of a run is older than its charge. Whatever is written is written under the lock.
"""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import Field, ValidationError

from fusion.errors import EnvironmentUnfit, VerificationFailed
from fusion.grants.approval import Verdict, check_about, open_verdict
from fusion.grants.python_job import PythonJob, job_of, script_digest
from fusion.services.files import make_folder, read_file, write_atomic
from fusion.services.python_messages import MAX_NOTE, RUN_ID
from fusion.wire.documents import Part

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fusion.services.homes import NodeHome

MAX_WAITING: Final = 20
"""Jobs of one organisation that wait for review."""

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_SHORTEST: Final = 8

State = Literal["running", "failed", "answered", "held", "released", "withheld"]


class _About(Part):
    at: str
    note: Annotated[str, Field(max_length=MAX_NOTE)]


@dataclass(frozen=True, slots=True)
class Shelved:
    """A job as it is kept.

    Attributes:
        job: The job.
        script: Its source.
        at: When it was submitted.
        note: What the analyst wrote to it; nothing vouches for it.
        verdict: The newest word of the owner, verified.
        signed: The same as it was signed.
    """

    job: PythonJob
    script: str
    at: str
    note: str
    verdict: Verdict | None
    signed: bytes

    @property
    def state(self) -> Literal["waiting", "approved", "refused"]:
        """Where it stands."""
        return "waiting" if self.verdict is None else self.verdict.verdict

    @property
    def verdict_digest(self) -> str:
        """SHA-256 of the verdict as it was signed."""
        return hashlib.sha256(self.signed).hexdigest()


class RunRecord(Part):
    """How a run went, for the owner.

    Attributes:
        run: Its name, random.
        job: Digest of the job.
        assignee: Who ran it.
        dataset: Of which data.
        grant: The grant that it was charged to.
        verdict: SHA-256 of the verdict that it was begun under.
        reservation: Of its charge, as the log names it.
        state: Where it stands.
        at: When it began.
        ending: How the worker ended.
        exit_code: Of the worker, as far as it is known.
        milliseconds: That the worker took.
        why: What else went wrong, in a word.
        digest: SHA-256 of the bytes that leave, or wait to.
        collected: Whether the analyst was given the table, or told that there is none.
    """

    run: Annotated[str, Field(pattern=RUN_ID)]
    job: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    assignee: str
    dataset: str
    grant: str
    verdict: str
    reservation: str
    state: State
    at: str
    ending: str = ""
    exit_code: int | None = None
    milliseconds: int = 0
    why: str = ""
    digest: str = ""
    collected: bool = False


class Shelf:
    """An owner's Python jobs on disk; every process opens its own."""

    def __init__(self, node: NodeHome) -> None:
        """Take a node's folder; nothing is read."""
        self._node = node
        self._path = node.path / "python"
        self._key = node.public_keys().statement_key

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes and threads from changing it in the meantime; do not nest."""
        make_folder(self._path)
        with self._node.lock(".python.lock"):
            yield

    # ------------------------------------------------------------------ jobs

    def jobs(self) -> list[Shelved]:
        """Return every job, oldest first.

        Raises:
            VerificationFailed: One is not what it was kept as.
        """
        found = [self._job(path) for path in self._folders("*")]
        return sorted(found, key=lambda each: (each.at, each.job.digest))

    def job(self, digest: str) -> Shelved | None:
        """Return the job whose digest is, or begins with, this; None if it is not one.

        Raises:
            VerificationFailed: It is not what it was kept as.
        """
        if len(digest) < _SHORTEST or not re.fullmatch("[0-9a-f]+", digest):
            return None
        paths = self._folders(f"{digest}*")
        return self._job(paths[0]) if len(paths) == 1 else None

    def _folders(self, pattern: str) -> list[Path]:
        return [
            path
            for path in (self._path / "jobs").glob(pattern)
            if _DIGEST.fullmatch(path.name) and (path / "job.json").exists()
        ]

    def keep(self, job: PythonJob, script: str, note: str, at: str) -> None:
        """Keep a job that was submitted; the caller holds the lock."""
        path = self._path / "jobs" / job.digest
        make_folder(path)
        write_atomic(path / "script.py", script.encode())
        about = _About(at=at, note=note).model_dump()
        write_atomic(path / "about.json", json.dumps(about).encode())
        # Last: with this file it is there.
        write_atomic(path / "job.json", job.canonical())

    def keep_verdict(self, job: str, signed: bytes) -> None:
        """Keep a verdict in place of the one before; the caller holds the lock."""
        write_atomic(self._path / "jobs" / job / "verdict.json", signed)

    def _job(self, path: Path) -> Shelved:
        job = job_of(read_file(path / "job.json"))
        script = read_file(path / "script.py").decode("utf-8", "replace")
        if (job.digest, job.script) != (path.name, script_digest(script)):
            raise VerificationFailed(f"{path} does not hold the job that it was kept as.")
        file = path / "verdict.json"
        signed = read_file(file) if file.exists() else b""
        verdict = open_verdict(signed, self._node.config.id, self._key) if signed else None
        if verdict is not None:
            check_about(verdict, job)
        try:
            about = _About.model_validate_json(read_file(path / "about.json"))
        except ValidationError:
            raise VerificationFailed(f"{path}/about.json is not as it was written.") from None
        return Shelved(job, script, about.at, about.note, verdict, signed)

    def before(self, job: PythonJob) -> Shelved | None:
        """Return the job of the same organisation and dataset that was approved last before."""
        others = [
            each
            for each in self.jobs()
            if each.verdict is not None
            and each.verdict.approved
            and each.job.digest != job.digest
            and (each.job.assignee, each.job.dataset) == (job.assignee, job.dataset)
        ]
        return max(others, key=lambda each: each.verdict.at if each.verdict else "", default=None)

    # ------------------------------------------------------------------ runs

    def runs(self, job: str = "*") -> list[RunRecord]:
        """Return every run, or those of a job by its whole digest, oldest first."""
        paths = (self._path / "jobs").glob(f"{job}/runs/p-*/run.json")
        return sorted(map(self._run, paths), key=lambda each: (each.at, each.run))

    def run(self, name: str) -> RunRecord | None:
        """Return the run of a name; None if there is none."""
        if not re.fullmatch(RUN_ID, name):
            return None
        paths = list((self._path / "jobs").glob(f"*/runs/{name}/run.json"))
        return self._run(paths[0]) if paths else None

    def keep_run(self, record: RunRecord) -> None:
        """Keep how a run stands; the caller holds the lock."""
        folder = make_folder(self._run_folder(record))
        write_atomic(folder / "run.json", json.dumps(record.model_dump()).encode())

    def keep_output(self, record: RunRecord, table: bytes | None, log: bytes) -> None:
        """Keep what a run left: the bytes of its reply, and its standard error."""
        folder = make_folder(self._run_folder(record))
        write_atomic(folder / "stderr.txt", log)
        if table is not None:
            write_atomic(folder / "table.json", table)

    def table(self, record: RunRecord) -> bytes:
        """Return the very bytes that leave of a run, or wait to.

        Raises:
            VerificationFailed: They are not those that the run ended with.
        """
        data = read_file(self._run_folder(record) / "table.json")
        if hashlib.sha256(data).hexdigest() != record.digest:
            raise VerificationFailed(f"The table of {record.run} is not the one that was made.")
        return data

    def log(self, record: RunRecord) -> str:
        """Return the end of what a run printed."""
        try:
            return read_file(self._run_folder(record) / "stderr.txt").decode("utf-8", "replace")
        except EnvironmentUnfit:
            return ""

    def _run_folder(self, record: RunRecord) -> Path:
        return self._path / "jobs" / record.job / "runs" / record.run

    def _run(self, path: Path) -> RunRecord:
        try:
            return RunRecord.model_validate_json(read_file(path))
        except ValidationError:
            raise VerificationFailed(f"{path} is not as it was written.") from None
