"""One worker seen from the node: started, handed one request, read with limits, killed.

Start it from a thread that lives as long as the node does: the kernel kills it when the *thread*
that started it ends (prctl(2), PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import selectors
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from fusion.wire import canonical
from sandbox import bubblewrap, seccomp
from sandbox.limits import GONE_SECONDS, LOG_BYTES, PRINTED_BYTES, START_SECONDS
from sandbox.worker import DONE, FAILED, OUT_OF_MEMORY, READY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fusion.ports import Stop
    from sandbox.limits import Limits

Kind = Literal["bubblewrap", "landlock"]
Ending = Literal["done", "memory", "failed", "time", "output", "cancelled", "unready", "broken"]

_CHUNK: Final = 256 * 1024
_LOOK_SECONDS: Final = 0.05
_HEADER: Final = 9
_ENVIRONMENT: Final = {
    "HOME": str(bubblewrap.SCRATCH),
    "TMPDIR": str(bubblewrap.SCRATCH),
    "LANG": "C.UTF-8",
    "TZ": "UTC",
    # Threads that a library starts when it is imported would escape Landlock, which holds one.
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    # The C library's allocator reserves little; others take a gibibyte of address space at once.
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "2",
}
_LAUNCH: Final = Path(__file__).with_name("launch.py")


@dataclass(frozen=True, slots=True)
class Plan:
    """What a worker is started as.

    Attributes:
        kind: Its isolation.
        entry: Its function.
        inputs: Real paths, by name.
        user: Who it becomes, if this process is root: user and group.
        covers: Folders to cover on the way, and the paths needed below; see :mod:`sandbox.launch`.
        scratch: Size and number of files of its scratch folder, if it has one.
        mount_point: An empty folder of the node's.
    """

    kind: Kind
    entry: str
    inputs: Mapping[str, Path]
    user: tuple[int, int] | None
    covers: Mapping[str, list[str]]
    scratch: tuple[int, int] | None
    mount_point: Path


@dataclass(slots=True)
class Result:
    """How a worker ended.

    Attributes:
        ending: ``done``, or why not.
        answer: What it returned, if it is done.
        log: The end of its standard error, for the owner alone.
        code: Exit code, as far as it is known; for the owner alone.
        seconds: From the request until it was gone.
    """

    ending: Ending
    answer: bytes = b""
    log: bytes = b""
    code: int | None = None
    seconds: float = 0.0


@dataclass(slots=True)
class Worker:
    """A running worker; :meth:`exchange` it once, :meth:`kill` it always."""

    plan: Plan
    process: subprocess.Popen[bytes]
    info: int
    first: int = -1
    ready: bool = False
    log: bytearray = field(default_factory=bytearray)
    printed: int = 0

    def exchange(self, request: bytes, limits: Limits, *, others: int, stop: Stop | None) -> Result:
        """Wait until it is ready, hand over the request, read the answer, kill it."""
        began = None
        try:
            ended = self._until_ready(stop)
            if ended is None:
                began = time.monotonic()
                ended = self._answer(_frames(self.plan, request, limits, others), limits, stop)
        finally:
            self.kill()
        ended.seconds = 0.0 if began is None else time.monotonic() - began
        ended.log, ended.code = bytes(self.log), self.process.returncode
        return ended

    def get_ready(self, stop: Stop | None) -> bool:
        """Wait until it is ready, and say whether it is."""
        return self._until_ready(stop) is None

    def kill(self) -> None:
        """Kill it and everything in it, and wait until it is gone."""
        self._find_first()
        if self.first >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.first, signal.SIGKILL)
        if self.process.returncode is None:  # else its number may be another process's by now
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self._wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        for descriptor in (self.first, self.info):
            if descriptor >= 0:
                os.close(descriptor)
        self.first = self.info = -1

    def _wait(self) -> None:
        """Wait until the process and its first one inside have ended, at once when they have."""
        if self.process.returncode is None:
            own = os.pidfd_open(self.process.pid)  # not reaped yet: the number is still its
            try:
                _ended(own)
            finally:
                os.close(own)
            self.process.poll()
        if self.first >= 0:
            _ended(self.first)

    def alive(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    def _until_ready(self, stop: Stop | None) -> Result | None:
        """Wait for the worker's one byte; return how it ended if that does not come."""
        if self.ready:
            return None
        end = time.monotonic() + START_SECONDS
        out, err = self._streams()
        with selectors.DefaultSelector() as selector:
            selector.register(out, selectors.EVENT_READ)
            selector.register(err, selectors.EVENT_READ)
            while True:
                if stop is not None and stop.is_set():
                    return Result("cancelled")
                if time.monotonic() > end:
                    return Result("unready")
                ready = {key.fd for key, _ in selector.select(_LOOK_SECONDS)}
                if err in ready and not self.keep_log(err):
                    selector.unregister(err)
                if out in ready:
                    if os.read(out, 1) != READY:
                        self._drain(err)
                        return Result("unready")
                    self._find_first()
                    self.ready = True
                    return None

    def _find_first(self) -> None:
        """Take hold of the first process inside, which ends all of them (pid_namespaces(7))."""
        if self.info < 0 or self.first >= 0:
            return
        try:
            told = json.loads(os.read(self.info, 4096))
            self.first = os.pidfd_open(int(told["child-pid"]))
        except (OSError, ValueError, KeyError):
            self.first = -1  # it dies with bubblewrap all the same

    def _answer(self, frames: bytes, limits: Limits, stop: Stop | None) -> Result:
        end = time.monotonic() + limits.wall_seconds
        out, err = self._streams()
        into = self.process.stdin.fileno() if self.process.stdin else -1
        os.set_blocking(into, False)
        left, got = memoryview(frames), bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(into, selectors.EVENT_WRITE)
            selector.register(out, selectors.EVENT_READ)
            selector.register(err, selectors.EVENT_READ)
            while True:
                rest = end - time.monotonic()
                over = self._over(rest, stop)
                if over is not None:
                    return Result(over)
                ready = {key.fd for key, _ in selector.select(min(rest, _LOOK_SECONDS))}
                if into in ready:
                    left = left[_written(into, left) :]
                    if not left:
                        selector.unregister(into)
                if err in ready and not self.keep_log(err):
                    selector.unregister(err)
                if out in ready:
                    part = os.read(out, _CHUNK)
                    got += part
                    if len(got) > limits.output_bytes + _HEADER:
                        return Result("output")
                    if not part:
                        self._drain(err)
                        return _judge(bytes(got))

    def _over(self, rest: float, stop: Stop | None) -> Ending | None:
        """Return why the work has to end now, if it has to."""
        if stop is not None and stop.is_set():
            return "cancelled"
        if rest <= 0:
            return "time"
        return "output" if self.printed > PRINTED_BYTES else None

    def _streams(self) -> tuple[int, int]:
        out, err = self.process.stdout, self.process.stderr
        return (out.fileno() if out else -1), (err.fileno() if err else -1)

    def keep_log(self, descriptor: int) -> bool:
        """Keep the end of what was printed; return False at its end."""
        part = os.read(descriptor, _CHUNK)
        self.log += part
        self.printed += len(part)
        del self.log[:-LOG_BYTES]
        return bool(part)

    def _drain(self, descriptor: int) -> None:
        """Take what is there of standard error, without waiting for more."""
        os.set_blocking(descriptor, False)
        with contextlib.suppress(BlockingIOError):
            for _ in range(4):
                if not self.keep_log(descriptor):
                    break


def _ended(descriptor: int) -> None:
    """Wait until a process descriptor says that its process has ended (pidfd_open(2))."""
    poll = select.poll()  # select() can't have descriptors beyond 1023
    poll.register(descriptor, select.POLLIN)
    poll.poll(GONE_SECONDS * 1000)


def start(plan: Plan, program: Path | None) -> Worker:
    """Start a worker, without waiting until it is ready.

    Raises:
        OSError: The system has no process, memory or descriptor left.
    """
    worker = [sys.executable, "-I", "-B", "-u", "-m", "sandbox.worker", plan.kind, plan.entry]
    code = seccomp.program(seccomp.architecture(), 0, starting=True)
    return launch(plan, program, worker, code)


def launch(
    plan: Plan,
    program: Path | None,
    worker: list[str],
    code: bytes,
    root: bubblewrap.Root | None = None,
) -> Worker:
    """Start a command as a plan says, without waiting for it.

    Args:
        plan: The plan.
        program: bubblewrap.
        worker: The command.
        code: Under bubblewrap: the filter of system calls that it begins with.
        root: Under bubblewrap: what of the system it sees, unless that is what our code needs.

    Raises:
        OSError: The system has no process, memory or descriptor left.
    """
    command, passed, info = worker, [], -1
    if plan.kind == "bubblewrap" and program is not None:
        # As a pipe: it fits, and is gone when it was read.
        filter_fd, end = os.pipe()
        os.write(end, code)
        os.close(end)
        info, told = os.pipe()
        os.set_blocking(info, False)
        passed = [filter_fd, told]
        scratch = plan.mount_point if plan.scratch else None
        command = bubblewrap.command(
            program, plan.inputs, _ENVIRONMENT, worker,
            scratch=scratch, filter_fd=filter_fd, info_fd=told, root=root,
        )  # fmt: skip
    try:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_LAUNCH), json.dumps(_steps(plan, command))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=passed,
            env=_ENVIRONMENT,
            cwd="/",
            start_new_session=True,
            bufsize=0,
        )
    finally:
        for descriptor in passed:
            os.close(descriptor)
    return Worker(plan, process, info)


def _steps(plan: Plan, command: list[str]) -> dict[str, object]:
    user, group = plan.user or (None, None)
    scratch = None
    if plan.kind == "bubblewrap" and plan.scratch:
        size, files = plan.scratch
        scratch = {"at": str(plan.mount_point), "bytes": size, "files": files}
    return {
        "parent": os.getpid(),
        "user": user,
        "group": group,
        "covers": dict(plan.covers),
        "scratch": scratch,
        "command": command,
        "environment": _ENVIRONMENT,
    }


def _frames(plan: Plan, request: bytes, limits: Limits, others: int) -> bytes:
    """Return what the worker is sent; see :mod:`sandbox.worker`."""
    inside = {
        name: str(bubblewrap.input_path(name, path) if plan.kind == "bubblewrap" else path)
        for name, path in plan.inputs.items()
    }
    head = canonical.encode(
        {
            "inputs": inside,
            "code": [str(path) for path in bubblewrap.code_paths()],
            "others": others,
            "limits": {
                "cpu_ms": round(limits.cpu_seconds * 1000),
                "memory_bytes": limits.memory_bytes,
                "scratch_bytes": limits.scratch_bytes,
                "open_files": limits.open_files,
                "threads": limits.threads,
            },
        }
    )
    sizes = len(head).to_bytes(4, "big"), len(request).to_bytes(8, "big")
    return b"".join((sizes[0], head, sizes[1], request))


def _written(descriptor: int, data: memoryview) -> int:
    try:
        return os.write(descriptor, data[:_CHUNK])
    except BlockingIOError:
        return 0
    except BrokenPipeError:
        return len(data)  # it ended: its output will say how


def _judge(got: bytes) -> Result:
    """Read an answer: whole, of the length that it says, with a status that there is."""
    status, content = got[:1], got[_HEADER:]
    if len(got) < _HEADER or len(content) != int.from_bytes(got[1:_HEADER], "big"):
        return Result("broken")
    endings: dict[bytes, Ending] = {DONE: "done", OUT_OF_MEMORY: "memory", FAILED: "failed"}
    ending = endings.get(status, "broken")
    return Result(ending, content if ending == "done" else b"")
