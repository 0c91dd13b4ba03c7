"""A job's folder at the hub: its study, its status, its events, its memory, its result.

The command line writes it, the hub picks it up, the ServerApp works on it. Whoever works on a job
holds its lock: a lock that can be taken means that nobody does, whatever the status says.
"""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from federated.job_files import JobState, read_job_file
from fusion.crypto import rng
from fusion.errors import EnvironmentUnfit, InputInvalid
from fusion.grants.order import Code, refused
from fusion.services.files import write_atomic
from fusion.stores.journal import SqliteJournal

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from federated.job_files import Kind, Status
    from fusion.grants.order import Order
    from fusion.ports import Clock

OPEN: Final[tuple[Status, ...]] = ("queued", "starting", "running")
"""A job in one of these states is not finished."""

_SCHEMA: Final = "fusion.job/1"
FOLLOW_SECONDS: Final = 0.1
_SOME_BYTES: Final = 1 << 20
"""Events that are read at a time for somebody elsewhere; one is far smaller."""
_NAMED: Final = 12
"""Digits of an order's id that name its job: two orders with the same ones can't both be run."""


class JobFolder:
    """One job under ``runs/`` of a hub's folder."""

    def __init__(self, path: Path) -> None:
        """Name the folder; it need not exist yet."""
        self.path = path
        self.name = path.name

    @property
    def study(self) -> Path:
        """The study, as it was given."""
        return self.path / "study.toml"

    @property
    def order_path(self) -> Path:
        """The operator's order; there is none for a study that names no operator."""
        return self.path / "order.json"

    def order(self) -> bytes | None:
        """Return the operator's order, if there is one."""
        try:
            return self.order_path.read_bytes()
        except FileNotFoundError:
            return None

    @property
    def origin(self) -> str:
        """What the study's file was called where it came from."""
        return str(self.state().get("origin", self.study.name))

    @property
    def events(self) -> Path:
        """One JSON object a line."""
        return self.path / "events.jsonl"

    @property
    def journal_path(self) -> Path:
        """What the round engine must remember."""
        return self.path / "journal.sqlite"

    @property
    def model(self) -> Path:
        """The finished model."""
        return self.path / "model.json"

    @property
    def stop_wanted(self) -> Path:
        """There is such a file when the operator wants the run to end."""
        return self.path / "stop"

    def journal(self) -> SqliteJournal:
        """Open the journal."""
        return SqliteJournal(self.journal_path)

    @classmethod
    def create(
        cls,
        runs: Path,
        study_text: str,
        origin: str = "study.toml",
        ordered: tuple[Order, bytes] | None = None,
        *,
        kind: Kind = "training",
    ) -> JobFolder:
        """Make a queued training job, with a fresh name or the one that its order gives it.

        Args:
            runs: Where the hub has its jobs.
            study_text: The study.
            origin: What its file was called.
            ordered: The operator's order, verified, and its bytes.
            kind: Of study.

        Raises:
            OrderRefused: There is a job under this order.
        """
        if ordered is None:
            return cls._create(runs, _fresh(), study_text, kind=kind, origin=origin)
        order, document = ordered
        state = {"kind": kind, "origin": origin, "operator": order.operator}
        try:
            return cls._create(runs, job_of(order.id), study_text, document, **state)
        except FileExistsError:
            raise refused(Code.USED) from None

    @classmethod
    def create_pings(cls, runs: Path, count: int) -> JobFolder:
        """Make a queued job of ``count`` empty exchanges."""
        return cls._create(runs, _fresh(), "", kind="pings", count=count)

    @classmethod
    def _create(
        cls,
        runs: Path,
        name: str,
        study_text: str,
        order: bytes | None = None,
        **state: Any,  # noqa: ANN401 - JSON values
    ) -> JobFolder:
        job = cls(runs / name)
        job.path.mkdir(mode=0o700, parents=True)
        write_atomic(job.study, study_text.encode())
        if order is not None:
            write_atomic(job.order_path, order)
        job.events.touch(mode=0o600)
        # Last: the hub looks for folders with a state.
        job.update(status="queued", starts=0, **state)
        return job

    def state(self) -> dict[str, Any]:
        """Return what is known of the job.

        Raises:
            InputInvalid: There is no such job.
            EnvironmentUnfit: Its ``job.json`` is damaged, or another job's.
        """
        state = self._state()
        if state is None:
            msg = f"There is no job {self.name}."
            raise InputInvalid(msg, hint="`fusion hub status` lists the jobs.")
        return state

    def update(self, **changes: Any) -> None:  # noqa: ANN401 - JSON values
        """Change the job's state.

        Raises:
            EnvironmentUnfit: What is there is damaged, or can't be replaced.
        """
        state = self._state() or {"job": self.name}
        said = {"schema": _SCHEMA, **state, **changes}
        write_atomic(self.path / "job.json", json.dumps(said, indent=1).encode())

    def _state(self) -> dict[str, Any] | None:
        file = self.path / "job.json"
        found = read_job_file(file, JobState)
        if found is not None and found.job != self.name:
            raise EnvironmentUnfit(
                f"{file} is that of another job.",
                hint=f"Put it back from a backup, or move {self.path} away: the other jobs go on.",
            )
        return None if found is None else found.model_dump(exclude={"schema_"}, exclude_none=True)

    @contextmanager
    def work(self) -> Iterator[bool]:
        """Hold the lock while inside; yields whether it was free."""
        descriptor = os.open(self.path / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(descriptor)

    def emit(self, event: Mapping[str, Any], clock: Clock) -> None:
        """Append an event with its time."""
        at = clock.now().isoformat(timespec="milliseconds")
        line = json.dumps({"event": event["event"], "at": at, **event}, ensure_ascii=False)
        with self.events.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def read_events(self) -> list[dict[str, Any]]:
        """Return the events so far."""
        lines = self.events.read_text("utf-8").split("\n")[:-1]
        return [json.loads(line) for line in lines]

    def some_events(self, start: int) -> tuple[list[dict[str, Any]], int]:
        """Return whole events from a place in the file on, and the place after them.

        Args:
            start: 0, or a place that was returned before.

        Raises:
            InputInvalid: No event begins there.
        """
        with self.events.open("rb") as file:
            file.seek(max(0, start - 1))
            before = file.read(1) if start else b"\n"
            data = file.read(_SOME_BYTES)
        if before not in (b"\n", b""):
            raise InputInvalid("No event begins there.")
        whole = data[: data.rfind(b"\n") + 1]
        return [json.loads(line) for line in whole.split(b"\n")[:-1]], start + len(whole)

    def follow(
        self, stop: threading.Event, on_quiet: Callable[[float], None] = lambda _: None
    ) -> Iterator[dict[str, Any]]:
        """Yield events, past and coming, up to the end.

        Args:
            stop: Ends the following.
            on_quiet: Told, between two looks, for how many seconds nothing has come.
        """
        self.state()
        with self.events.open("r", encoding="utf-8") as file:
            pending = ""
            looks = 0
            while not stop.is_set():
                pending += file.read()
                *lines, pending = pending.split("\n")
                for line in lines:
                    event = json.loads(line)
                    yield event
                    if event["event"] == "end":
                        return
                looks = 0 if lines else looks + 1
                if not lines:
                    on_quiet(looks * FOLLOW_SECONDS)
                    stop.wait(FOLLOW_SECONDS)


def _fresh() -> str:
    return f"job-{rng.token(6).hex()}"


def job_of(order: str) -> str:
    """Return the name of the job of an order: whoever signed it knows it beforehand.

    Args:
        order: Its id.
    """
    return f"job-{order[:_NAMED]}"


def jobs_of(runs: Path) -> list[JobFolder]:
    """Return the jobs of a hub, in the order they were made."""
    jobs = [JobFolder(file.parent) for file in runs.glob("*/job.json")]
    return sorted(jobs, key=lambda job: (_made(job), job.name))


def _made(job: JobFolder) -> int:
    """Return when a job was made; its study is written once, all else changes while it runs."""
    try:
        return job.study.stat().st_mtime_ns
    except OSError:
        return 0  # somebody removed it: its job says so when it is begun


def listed(runs: Path) -> list[dict[str, Any]]:
    """Return the state of every job of a hub; of one whose state is damaged, that it is."""
    found = []
    for job in jobs_of(runs):
        try:
            found.append(job.state())
        except InputInvalid:
            continue  # gone since
        except EnvironmentUnfit as error:
            found.append({"job": job.name, "status": "damaged", "message": error.message})
    return found
