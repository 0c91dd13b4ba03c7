"""Processes of the node's own that wait on a database: used once, killed when their time is over.

They are not confined: they run our code alone, need the network, and believe a database that is the
owner's. A process makes the limit on time hold whatever driver, network or server do: what hangs is
killed. It gets its work on a pipe, so that nothing of it is on a command line.

    standard input   8 bytes length, the request; kept open: when it ends, the process ends
    standard output  one byte DONE or FAILED, 8 bytes length, the answer (or why not, for the owner)
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import selectors
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fusion.errors import WorkCancelled, WorkCrashed, WorkOutputTooLarge, WorkTimedOut
from fusion.wire.limits import MEBI
from sandbox.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusion.ports import Stop

OWNER_LOG: Final = logging.getLogger("banyan.queries")
DONE, FAILED = b"+", b"-"
MAX_ANSWER_BYTES: Final = 192 * MEBI
MAX_MEMORY_BYTES: Final = 1024 * MEBI
"""Address space of a process beyond what its imports take."""

_LENGTH: Final = 8
_LOOK_SECONDS: Final = 0.1
_WAITING: Final = 64
_BLOCK: Final = MEBI

Process = subprocess.Popen[bytes]


class Children:
    """Runs requests in child processes, a bounded number at a time, callers in turn."""

    def __init__(self, module: str, places: int = 4) -> None:
        """Start the first process, which waits.

        Args:
            module: Run as ``python -I -m MODULE``; it calls :func:`serve`.
            places: How many work at a time.
        """
        self._module = module
        self._turns = Turns(places, _WAITING)
        self._lock = threading.Lock()
        self._closed = False
        self._spare: Process | None = self._start()

    def close(self) -> None:
        """End the process that waits."""
        with self._lock:
            self._closed = True
            spare, self._spare = self._spare, None
        if spare is not None:
            _end(spare)

    def run(
        self, request: bytes, *, caller: str = "", stop: Stop | None = None, seconds: float
    ) -> bytes:
        """Return the answer of a process that is used for this alone.

        Raises:
            IsolationBusy: No place in time, or too many wait.
            WorkCancelled: Asked to stop.
            WorkTimedOut: It was killed when its time was over.
            WorkOutputTooLarge: It answered too much.
            WorkCrashed: It failed; the owner's log has its reason.
        """
        with self._turns.turn(caller, stop, seconds):
            process = self._taken()
            try:
                return self._answer(process, request, stop, time.monotonic() + seconds)
            finally:
                _end(process)

    def _answer(self, process: Process, request: bytes, stop: Stop | None, until: float) -> bytes:
        data = _exchange(process, len(request).to_bytes(_LENGTH, "big") + request, stop, until)
        head, body = data[: 1 + _LENGTH], data[1 + _LENGTH :]
        if len(head) == 1 + _LENGTH and int.from_bytes(head[1:], "big") == len(body):
            if head[:1] == DONE:
                return body
            if head[:1] == FAILED:
                details = body.decode("utf-8", "replace")
                OWNER_LOG.warning("%s: %s", self._module, details)
                raise WorkCrashed(details)
        details = f"{self._module} ended early, exit code {process.poll()}"
        OWNER_LOG.warning("%s", details)
        raise WorkCrashed(details)

    def _start(self) -> Process:
        words = [sys.executable, "-I", "-B", "-m", self._module]
        # Of no terminal: an interrupt of the node is not one of what it waits for.
        return subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )

    def _taken(self) -> Process:
        with self._lock:
            taken, self._spare = self._spare, None
            if not self._closed:
                self._spare = self._start()
        if taken is not None and taken.poll() is not None:
            _end(taken)  # it was killed while it waited
            taken = None
        return taken or self._start()


def _exchange(process: Process, request: bytes, stop: Stop | None, until: float) -> bytes:
    """Write and read at once, until its output ends."""
    assert process.stdin is not None  # noqa: S101 - both are pipes
    assert process.stdout is not None  # noqa: S101
    into, out = process.stdin.fileno(), process.stdout.fileno()
    os.set_blocking(into, False)
    parts, size, rest = [], 0, memoryview(request)
    with selectors.DefaultSelector() as waits:
        waits.register(into, selectors.EVENT_WRITE)
        waits.register(out, selectors.EVENT_READ)
        while True:
            if stop is not None and stop.is_set():
                raise WorkCancelled
            if time.monotonic() >= until:
                OWNER_LOG.warning("a database did not answer in time")
                raise WorkTimedOut
            for key, _ in waits.select(_LOOK_SECONDS):
                if key.fd == into:
                    rest = rest[_written(into, rest) :]
                    if not rest:
                        waits.unregister(into)
                    continue
                block = os.read(out, _BLOCK)
                parts.append(block)
                size += len(block)
                if not block:
                    return b"".join(parts)
                if size > MAX_ANSWER_BYTES:
                    raise WorkOutputTooLarge


def _written(into: int, rest: memoryview) -> int:
    try:
        return os.write(into, rest[:_BLOCK])
    except BlockingIOError:
        return 0
    except BrokenPipeError:
        return len(rest)  # it is gone, which its output shows


def _end(process: Process) -> None:
    process.kill()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    process.wait()


# ---------------------------------------------------------------- in the child


def serve(work: Callable[[bytes], bytes]) -> None:
    """Do one piece of work and end the process; for the module that is run."""
    size = int.from_bytes(_exactly(_LENGTH), "big")
    request = _exactly(size)
    threading.Thread(target=_watch, daemon=True).start()
    own = int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()
    most = own + MAX_MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    try:
        status, answer = DONE, work(request)
    except Exception as error:  # noqa: BLE001 - the edge: it goes to the owner's log
        notes = " ".join(getattr(error, "__notes__", []))
        status, answer = FAILED, f"{type(error).__name__}: {error} {notes}".encode()[:4000]
    data = memoryview(status + len(answer).to_bytes(_LENGTH, "big") + answer)
    while data:
        data = data[os.write(1, data) :]
    os._exit(0)


def _exactly(size: int) -> bytes:
    found = bytearray()
    while len(found) < size:
        block = os.read(0, size - len(found))
        if not block:
            os._exit(0)  # the node is gone, or does not need this process any more
        found += block
    return bytes(found)


def _watch() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)
