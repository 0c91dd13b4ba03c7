"""Runs untrusted work: in bubblewrap, else under Landlock, else not at all.

    with Isolation.open() as isolation:
        entry = "sandbox.engine:execute"
        answer = isolation.run(entry, request, {"a": path}, Limits())

Threat model, what is stopped and what is not: ``docs/claims/isolation.md``. The answer is bytes
from an untrusted process: check them against a schema before anything else.
"""

from __future__ import annotations

import logging
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from fusion.errors import (
    InputInvalid,
    WorkCancelled,
    WorkCrashed,
    WorkFailed,
    WorkOutOfMemory,
    WorkOutputTooLarge,
    WorkTimedOut,
)
from sandbox import bubblewrap, service_user
from sandbox.choice import choose, tasks_beside
from sandbox.entries import check_entry
from sandbox.limits import MAX_INPUTS, MAX_REQUEST_BYTES, Limits
from sandbox.pool import Pool
from sandbox.process import Kind, Plan, Result, Worker, start
from sandbox.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from fusion.ports import Stop

OWNER_LOG: Final = logging.getLogger("banyan.isolation")
"""Where details of failed work go: standard error, exit codes. It can hold rows of the inputs."""

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_FAILURES: Final[dict[str, type[WorkFailed]]] = {
    "time": WorkTimedOut,
    "memory": WorkOutOfMemory,
    "output": WorkOutputTooLarge,
    "cancelled": WorkCancelled,
}


@dataclass(frozen=True, slots=True)
class Settings:
    """How an owner's node isolates.

    Attributes:
        running: Workers with work at a time; memory is bounded by this times a worker's limit.
        spares: Idle workers kept ready, each for one function and one set of inputs.
        waiting: Requests that may wait for a place, all callers together.
        service_user: Account that workers run as where the node runs as root.
        kind: Only this isolation, None: the better one that there is.
    """

    running: int = 2
    spares: int = 2
    waiting: int = 64
    service_user: str = service_user.DEFAULT
    kind: Kind | None = None


class Isolation:
    """Confined, one-shot workers; safe to be called by many threads. Close it."""

    def __init__(self, kind: Kind, settings: Settings, user: tuple[int, int] | None) -> None:
        """Use :meth:`open`, which finds out what this machine can do."""
        self.kind: Kind = kind
        self._settings = settings
        self._user = user
        self._program = bubblewrap.find() if kind == "bubblewrap" else None
        self._folder = tempfile.TemporaryDirectory(prefix="banyan-isolation-")
        # Scratch is mounted over it, by another user if this is root.
        Path(self._folder.name).chmod(0o711)
        self._turns = Turns(settings.running, settings.waiting)
        self._pool = Pool(settings.spares)

    @classmethod
    def open(cls, settings: Settings | None = None) -> Isolation:
        """Return an isolation that was seen to work: a worker ran in it and found every door shut.

        Raises:
            IsolationUnavailable: There is none on this machine; the hint says what to install.
        """
        settings = settings or Settings()
        user = service_user.resolve(settings.service_user)
        return cls(choose(settings.kind, settings.service_user), settings, user)

    def __enter__(self) -> Self:
        """Nothing runs yet."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Kill idle workers; work that still runs ends by its own limits."""
        self._pool.close()
        self._folder.cleanup()

    def prepare(self, entry: str, inputs: Mapping[str, Path], limits: Limits | None = None) -> None:
        """Have a worker ready for what will be asked; returns at once.

        Raises:
            InputInvalid: As :meth:`run`.
        """
        plan = self._plan(entry, inputs, limits or Limits())
        if not self._pool.has(_key(plan)):
            self._stock(plan)

    def stand_by(
        self, entry: str, inputs: Mapping[str, Path], limits: Limits, stop: Stop | None = None
    ) -> None:
        """Wait until a worker is ready for what will be asked, as if one were kept (``spares``).

        Another than those that stand by for others, of whom there are ``running`` at most.

        Raises:
            InputInvalid: As :meth:`run`.
            WorkCrashed: None could be started.
        """
        if not self._settings.spares:
            return
        plan = self._plan(entry, inputs, limits)
        worker = self._worker(plan, self._settings.running)
        try:
            ready = worker.get_ready(stop)
        except BaseException:
            worker.kill()
            raise
        if ready:
            self._pool.put(_key(plan), worker, self._settings.running)
        else:
            worker.kill()

    def replenish(self, entry: str, inputs: Mapping[str, Path], limits: Limits) -> None:
        """Order a worker in place of one that was used; returns at once.

        Raises:
            InputInvalid: As :meth:`run`.
        """
        self._stock(self._plan(entry, inputs, limits))

    def run(  # noqa: PLR0913 - each is of one piece of work
        self,
        entry: str,
        request: bytes,
        inputs: Mapping[str, Path],
        limits: Limits,
        *,
        caller: str = "",
        stop: Stop | None = None,
        wait_seconds: float = 60.0,
        ended: Callable[[Result], None] | None = None,
        restock: bool = True,
    ) -> bytes:
        """Return what a function returns for a request, from a worker that ends after it.

        Args:
            entry: ``module:function``, of those in :mod:`sandbox.entries`.
            request: Handed to the function as it is.
            inputs: Files that the worker may read, by the name under which it gets their paths.
            limits: Its bounds; the time starts with the request, not with waiting for a place.
            caller: On whose behalf; callers get places in turn.
            stop: Ends waiting or work, within a tenth of a second.
            wait_seconds: For a place.
            ended: Told how the work ended, for the owner alone.
            restock: Whether the worker is replaced when its work ends; else by :meth:`replenish`.

        Raises:
            InputInvalid: A function that is not on the list, a name or a file that can't be.
            IsolationBusy: No place in time, or too many wait.
            WorkFailed: Time-out, memory, output, crash, cancelled: its subclasses, with one
                message; hand only :meth:`~fusion.errors.WorkFailed.outward` to who asked.
        """
        if len(request) > MAX_REQUEST_BYTES:
            msg = f"A request has {len(request)} bytes; {MAX_REQUEST_BYTES} is the limit."
            raise InputInvalid(msg)
        plan = self._plan(entry, inputs, limits)
        with self._turns.turn(caller, stop, wait_seconds):
            result = self._exchange(plan, request, limits, stop)
            if restock:
                self._stock(plan)
        if ended is not None:
            ended(result)
        if result.ending == "done":
            return result.answer
        raise _failure(entry, result)

    def idle(self) -> int:
        """Return how many workers are ready or getting ready."""
        return self._pool.idle()

    def waiting(self) -> int:
        """Return how many requests wait for a place."""
        return self._turns.waiting()

    def _exchange(self, plan: Plan, request: bytes, limits: Limits, stop: Stop | None) -> Result:
        crowd = self._settings.running * (limits.threads + 2)
        others = tasks_beside(self.kind, self._user, crowd)
        result = self._worker(plan).exchange(request, limits, others=others, stop=stop)
        if result.ending == "unready":  # an idle worker may have been killed: one more try
            result = self._worker(plan).exchange(request, limits, others=others, stop=stop)
        return result

    def _stock(self, plan: Plan) -> None:
        self._pool.stock(_key(plan), lambda: start(plan, self._program))

    def _worker(self, plan: Plan, enough: int = 0) -> Worker:
        return self._pool.take(_key(plan), lambda: start(plan, self._program), enough)

    def _plan(self, entry: str, inputs: Mapping[str, Path], limits: Limits) -> Plan:
        real = _checked(inputs, self._user)
        needed = [*bubblewrap.code_paths(), *real.values(), Path(self._folder.name)]
        if self._program is not None:
            needed.append(self._program)
        has_scratch = bool(limits.scratch_bytes) and self.kind == "bubblewrap"
        return Plan(
            kind=self.kind,
            entry=check_entry(entry),
            inputs=real,
            user=self._user,
            covers={} if self._user is None else service_user.covers(needed, self._user),
            scratch=(limits.scratch_bytes, limits.scratch_files) if has_scratch else None,
            mount_point=Path(self._folder.name),
        )


def _checked(inputs: Mapping[str, Path], user: tuple[int, int] | None) -> dict[str, Path]:
    """Return the real paths of inputs, in the order of their names."""
    if len(inputs) > MAX_INPUTS:
        msg = f"{len(inputs)} inputs; {MAX_INPUTS} is the limit."
        raise InputInvalid(msg)
    real = {}
    for name, path in sorted(inputs.items()):
        if not _NAME.fullmatch(name):
            raise InputInvalid(
                "The name of an input has letters, digits, _ . - and up to 64 of them."
            )
        try:
            real[name] = path.resolve(strict=True)
            if not real[name].is_file():
                raise InputInvalid(f"The input {name} is not a file.")
            if not service_user.readable(real[name], user):
                hint = f"Let it be read by the account that workers run as (chmod or chgrp): {path}"
                raise InputInvalid(f"The input {name} can't be read by a worker.", hint=hint)
        except OSError:
            raise InputInvalid(f"The input {name} is not there.") from None
    inside = {bubblewrap.input_path(name, path) for name, path in real.items()}
    if len(inside) != len(real):
        raise InputInvalid("Two inputs have one name.")
    return real


def _key(plan: Plan) -> tuple[object, ...]:
    """Name a kind of worker; a file that was replaced or written to makes another one of it."""
    files = []
    for name, path in plan.inputs.items():
        try:
            found = path.stat()
        except OSError:
            raise InputInvalid(f"The input {name} is not there.") from None
        files.append((name, path, found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size))
    return plan.entry, plan.scratch, tuple(files)


def _failure(entry: str, result: Result) -> WorkFailed:
    log = result.log.decode("utf-8", "replace")
    details = (
        f"{entry}: {result.ending} after {result.seconds:.2f} s, exit code {result.code}\n{log}"
    )
    OWNER_LOG.warning("%s", details)
    return _FAILURES.get(result.ending, WorkCrashed)(details)
