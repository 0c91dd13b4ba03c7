"""What runs in a process that is kept (:mod:`sandbox.kept_child`), and the frames on its two pipes.

standard input   8 bytes length, 8 bytes number, one byte RUN or CANCEL, the request;
                 number 0 is what the process opens with; when it ends, the process ends
standard output  8 bytes length, 8 bytes number, one byte DONE or FAILED, the answer (or why
                 not, for the owner)
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, Protocol

from fusion.errors import WorkCancelled
from sandbox.child import MAX_ANSWER_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

RUN, CANCEL, DONE, FAILED = b"r", b"c", b"+", b"-"
PLACES: Final = 4
"""Requests that are worked on at a time."""

_HEAD: Final = 17
_LENGTH: Final = 8
_LOOK_SECONDS: Final = 0.1
_CANCEL_SECONDS: Final = 0.2
_MAX_REASON: Final = 4000


class Ended(Exception):
    """A stream is at its end."""


def framed(number: int, kind: bytes, body: bytes) -> bytes:
    """Return a frame."""
    return len(body).to_bytes(_LENGTH, "big") + number.to_bytes(_LENGTH, "big") + kind + body


def head_of(stream: int) -> tuple[int, int, bytes]:
    """Read the head of a frame: length of its body, number, kind.

    Raises:
        Ended: There is none any more.
    """
    head = exactly(stream, _HEAD)
    size, number = (int.from_bytes(head[at : at + _LENGTH], "big") for at in (0, _LENGTH))
    return size, number, head[2 * _LENGTH :]


def exactly(stream: int, size: int) -> bytes:
    """Read so many bytes.

    Raises:
        Ended: There are fewer.
    """
    found = bytearray()
    while len(found) < size:
        block = os.read(stream, size - len(found))
        if not block:
            raise Ended
        found += block
    return bytes(found)


class Engine(Protocol):
    """What does the work in the child; called by several threads."""

    def work(self, number: int, request: bytes) -> bytes:
        """Return the answer to a request."""
        ...

    def cancel(self, number: int) -> None:
        """End the work on a request, if it is under way; called until it has ended."""
        ...


def end() -> None:
    """End this process, and what it started if the group is its own."""
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)


def serve(opened: Callable[[bytes], Engine]) -> None:
    """Open an engine and do requests until standard input ends; for the module that is run."""
    into, out = os.dup(0), os.dup(1)
    # What is started from here on speaks to nobody: only frames are on these two pipes.
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    with contextlib.suppress(Ended):
        _Server(opened, out).serve(into)
    end()


class _Server:
    def __init__(self, opened: Callable[[bytes], Engine], out: int) -> None:
        self._opened = opened
        self._out = out
        self._writing = threading.Lock()
        self._engine: Future[Engine] = Future()
        self._state = threading.Condition()
        self._under_way: set[int] = set()
        self._cancelled: set[int] = set()

    def serve(self, into: int) -> None:
        """Read frames until there are no more."""
        threading.Thread(target=self._cancel, daemon=True).start()
        pool = ThreadPoolExecutor(PLACES)
        while True:
            size, number, kind = head_of(into)
            body = exactly(into, size)
            if number == 0:
                threading.Thread(target=self._open, args=(body,), daemon=True).start()
            elif kind == RUN:
                with self._state:
                    self._under_way.add(number)
                pool.submit(self._work, number, body)
            else:
                with self._state:
                    self._cancelled.add(number)
                    self._state.notify_all()

    def _open(self, opening: bytes) -> None:
        try:
            engine = self._opened(opening)
        except BaseException as error:  # noqa: BLE001 - the edge: it goes to the owner's log
            self._write(0, FAILED, _reason(error))
            end()
        else:
            self._write(0, DONE, b"")
            self._engine.set_result(engine)

    def _work(self, number: int, request: bytes) -> None:
        kind, answer = FAILED, b""
        try:
            answer = self._waited(number).work(number, request)
            kind = DONE
            if len(answer) > MAX_ANSWER_BYTES:
                kind, answer = FAILED, b"the answer is larger than it may be"
        except Exception as error:  # noqa: BLE001 - the edge: it goes to the owner's log
            answer = _reason(error)
        with self._state:
            self._under_way.discard(number)
            self._cancelled.discard(number)
        self._write(number, kind, answer)

    def _waited(self, number: int) -> Engine:
        while True:
            with contextlib.suppress(TimeoutError):
                return self._engine.result(_LOOK_SECONDS)
            with self._state:
                if number in self._cancelled:
                    raise WorkCancelled

    def _cancel(self) -> None:
        """Cancel again and again: one request can have several steps."""
        while True:
            with self._state:
                self._cancelled &= self._under_way
                while not self._cancelled:
                    self._state.wait()
                    self._cancelled &= self._under_way
                numbers = list(self._cancelled)
            if self._engine.done():
                for number in numbers:
                    self._engine.result().cancel(number)
            time.sleep(_CANCEL_SECONDS)

    def _write(self, number: int, kind: bytes, body: bytes) -> None:
        with self._writing:
            rest = memoryview(framed(number, kind, body))
            while rest:
                rest = rest[os.write(self._out, rest) :]


def _reason(error: BaseException) -> bytes:
    notes = " ".join(getattr(error, "__notes__", []))
    return f"{type(error).__name__}: {error} {notes}".encode()[:_MAX_REASON]
