"""A process of the node's own that is kept: for an engine whose start takes seconds.

As with :mod:`sandbox.child` it is not confined, runs our code alone and gets its work on a pipe;
but one process does many requests, several at a time. A request whose time is over is cancelled
within it; if that does not end it soon, the process is killed with all that it started. One that
died is started again. What runs in it is :mod:`sandbox.kept_server`.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from fusion.errors import FusionError, WorkCancelled, WorkCrashed, WorkOutputTooLarge, WorkTimedOut
from sandbox.child import MAX_ANSWER_BYTES
from sandbox.kept_server import CANCEL, DONE, FAILED, PLACES, RUN, Ended, exactly, framed, head_of
from sandbox.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusion.ports import Stop

OWNER_LOG: Final = logging.getLogger("banyan.queries")
GRACE_SECONDS: Final = 5.0
"""How long what was cancelled may take to end, before its process is killed."""

_LOOK_SECONDS: Final = 0.1
_WAITING: Final = 64


@dataclass(slots=True, eq=False)
class _Ticket:
    number: int
    done: threading.Event = field(default_factory=threading.Event)
    answer: bytes = b""
    error: FusionError | None = None


class KeptChild:
    """Runs requests in one child process, a bounded number at a time, callers in turn."""

    def __init__(self, module: str, opening: bytes, *, grace: float = GRACE_SECONDS) -> None:
        """Start the process.

        Args:
            module: Run as ``python -P -m MODULE``; it calls :func:`sandbox.kept_server.serve`.
            opening: What it opens with.
            grace: How long what was cancelled may take to end.
        """
        self._words = [sys.executable, "-P", "-B", "-m", module]
        self._opening = opening
        self._grace = grace
        self._turns = Turns(PLACES, _WAITING)
        self._lock = threading.Lock()
        self._closed = False
        self._process = self._start()

    @property
    def pid(self) -> int:
        """The process that runs now."""
        return self._process.pid

    def close(self) -> None:
        """End the process and what it started."""
        with self._lock:
            self._closed = True
        self._process.kill()

    def run(
        self, request: bytes, *, caller: str = "", stop: Stop | None = None, seconds: float
    ) -> bytes:
        """Return the answer to a request.

        Raises:
            IsolationBusy: No place in time, or too many wait.
            WorkCancelled: Asked to stop.
            WorkTimedOut: Its time was over.
            WorkOutputTooLarge: It answered too much.
            WorkCrashed: It failed, or its process ended; the owner's log has the reason.
        """
        until = time.monotonic() + seconds
        with self._turns.turn(caller, stop, seconds):
            return self._running().ask(request, stop, until, self._grace)

    def _start(self) -> _Process:
        return _Process(self._words, self._opening, self._ended)

    def _running(self) -> _Process:
        with self._lock:
            if self._process.dead.is_set() and not self._closed:
                self._process = self._start()
            return self._process

    def _ended(self, process: _Process) -> None:
        """Start the next one where one that worked has died; one that never did waits for work."""
        with self._lock:
            if process is self._process and process.opened and not self._closed:
                OWNER_LOG.warning("%s ended and is started again", self._words[-1])
                self._process = self._start()


class _Process:
    """One process; its answers are handed to who waits for them."""

    def __init__(self, words: list[str], opening: bytes, ended: Callable[[_Process], None]) -> None:
        # A group of its own: it is killed with what it started, and no terminal interrupts it.
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        self.pid = self._process.pid
        self.opened = False
        self.dead = threading.Event()
        self._name = words[-1]
        self._notify = ended
        self._lock = threading.Lock()
        self._tickets: dict[int, _Ticket] = {}
        self._numbers = itertools.count(1)
        self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._outbox.put(framed(0, RUN, opening))
        for work in (self._write, self._read):
            threading.Thread(target=work, daemon=True).start()

    def ask(self, request: bytes, stop: Stop | None, until: float, grace: float) -> bytes:
        """Send a request and wait for its answer; raises as :meth:`KeptChild.run`."""
        with self._lock:
            ticket = _Ticket(next(self._numbers))
            if not self.dead.is_set():
                self._tickets[ticket.number] = ticket
                self._outbox.put(framed(ticket.number, RUN, request))
            else:
                ticket.error = WorkCrashed(f"{self._name} has ended")
                ticket.done.set()
        while not ticket.done.wait(_LOOK_SECONDS):
            if stop is not None and stop.is_set():
                raise self._given_up(ticket, WorkCancelled(), grace)
            if time.monotonic() >= until:
                OWNER_LOG.warning("%s did not answer in time", self._name)
                raise self._given_up(ticket, WorkTimedOut(), grace)
        if ticket.error is not None:
            raise ticket.error
        return ticket.answer

    def _given_up(self, ticket: _Ticket, why: FusionError, grace: float) -> FusionError:
        """Cancel; where that does not help within the grace, kill."""
        self._outbox.put(framed(ticket.number, CANCEL, b""))
        if not ticket.done.wait(grace):
            OWNER_LOG.warning("%s did not end what was cancelled; it is killed", self._name)
            self.kill()
        return why

    def kill(self) -> None:
        """End it and what it started; who waits for it is told."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _write(self) -> None:
        assert self._process.stdin is not None  # noqa: S101 - a pipe
        # Where it is gone its output shows it.
        with contextlib.suppress(OSError), self._process.stdin:
            while (frame := self._outbox.get()) is not None:
                rest = memoryview(frame)
                while rest:
                    rest = rest[os.write(self._process.stdin.fileno(), rest) :]

    def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - a pipe
        stream, large = self._process.stdout.fileno(), False
        with contextlib.suppress(Ended, OSError):
            while True:
                size, number, kind = head_of(stream)
                if size > MAX_ANSWER_BYTES:
                    large = True
                    break
                self._told(number, kind, exactly(stream, size))
        self.kill()
        code = self._process.wait()
        with self._lock:
            self.dead.set()
            waiting, self._tickets = list(self._tickets.values()), {}
        self._outbox.put(None)
        self._process.stdout.close()
        if waiting:
            OWNER_LOG.warning("%s ended early, exit code %s", self._name, code)
        for ticket in waiting:
            ticket.error = (
                WorkOutputTooLarge() if large else WorkCrashed(f"{self._name} ended early")
            )
            ticket.done.set()
        self._notify(self)

    def _told(self, number: int, kind: bytes, body: bytes) -> None:
        if kind == FAILED:
            OWNER_LOG.warning("%s: %s", self._name, body.decode("utf-8", "replace"))
        if number == 0:
            self.opened = kind == DONE
            return
        with self._lock:
            ticket = self._tickets.pop(number, None)
        if ticket is None:
            return
        if kind == DONE:
            ticket.answer = body
        else:
            ticket.error = WorkCrashed(body.decode("utf-8", "replace"))
        ticket.done.set()
