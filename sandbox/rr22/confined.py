"""Starts and holds the process in which RR22 runs: :class:`fusion.engine_ports.Rr22Process`.

In bubblewrap, without a network but its own loopback, with a read-only view of the interpreter that
the owner has named and of what its library calls (``sh``, ``sort`` and ``tail``), a scratch folder
in memory, limits on processor, memory and time, and a filter of system calls. Its output is
untrusted, and so is what the peer sends for it: both are frames that are checked here.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fusion.alignment.rules import Broken, Decided, broken, refused
from fusion.errors import EnvironmentUnfit, IsolationUnavailable
from fusion.wire.limits import MEBI
from sandbox import bubblewrap, seccomp, service_user
from sandbox.choice import INSTALL_BETTER, choose
from sandbox.isolate import OWNER_LOG
from sandbox.limits import PRINTED_BYTES, START_SECONDS
from sandbox.process import Plan, Worker, launch
from sandbox.rr22 import frames
from sandbox.rr22.frames import DONE, FOUND, ITEM, LINK, READY, FrameInvalid, LinkRules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fusion.engine_ports import Rr22Task
    from fusion.errors import FusionError

_HELPERS: Final = ("sh", "sort", "tail")
"""What spu's native code has the shell do, at the end of a run: sort a list of places."""
_BASE_BYTES: Final = 4 * MEBI
_LINK_BYTES: Final = 48
"""Of one item of a side's own set: 27 at most were measured of 200,000, on a slow link."""
_FRAME_BYTES: Final = 64
"""Of memory for a frame that waits, beside what is in it."""
_QUEUED: Final = 16 * MEBI
"""Bytes that wait on either side before who makes them has to."""
_PIECE: Final = 1 << 18
_MESSAGE: Final = MEBI
_WAIT: Final = 0.2
_RUN: Final = (
    "import sys; sys.path.insert(0, sys.argv[2]); from sandbox.rr22.inside import main; main()"
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a run may take; each by the size of the larger set.

    Attributes:
        wall_seconds: From beginning to end.
        cpu_seconds: Processor time of a process.
        memory_bytes: Address space of a process.
        scratch_bytes: Files, which are in memory.
        link_bytes: What either side may send, by its own set.
        open_files: Descriptors of a process.
        threads: Threads of all processes together.
    """

    wall_seconds: float
    cpu_seconds: int
    memory_bytes: int
    scratch_bytes: int
    link_bytes: tuple[int, int]
    open_files: int = 1024
    threads: int = 512

    @classmethod
    def of(cls, own: int, peer: int) -> Limits:
        """Return those for sets of these sizes."""
        items = max(own, peer)
        return cls(
            wall_seconds=600 + items / 5_000,
            cpu_seconds=600 + items // 5_000,
            memory_bytes=(16 << 30) + 4_096 * items,
            scratch_bytes=256 * MEBI + 512 * items,
            link_bytes=(_BASE_BYTES + _LINK_BYTES * own, _BASE_BYTES + _LINK_BYTES * peer),
        )


class Confined:
    """One run; :meth:`close` it always. Methods are called by one thread at a time.

    Attributes:
        wall_seconds: How long it may take from its beginning; None for what its sets allow.
    """

    def __init__(
        self, worker: Worker, folder: tempfile.TemporaryDirectory[str], task: Rr22Task
    ) -> None:
        """Take what was started; use :func:`start`."""
        self._worker, self._folder, self._task = worker, folder, task
        self.wall_seconds: float | None = None
        self._wake: Callable[[], object] = lambda: None
        self._changed = threading.Condition()
        self._rules = {rank: LinkRules(rank, 0) for rank in range(2)}
        self._ready = self._done = self._closed = False
        self._failure: FusionError | None = None
        self._made: deque[bytes] = deque()
        self._made_bytes = 0
        self._wanted: deque[bytes] = deque()
        self._wanted_bytes = 0
        self._found = bytearray()
        self._until = time.monotonic() + START_SECONDS
        process = worker.process
        # Threads have descriptors of their own: a number that is closed here may be another file's
        # before a thread hears of it.
        streams = (process.stdin, process.stdout, process.stderr)
        self._own = [os.dup(each.fileno()) for each in streams if each is not None]
        for work in (self._read, self._write, self._log):
            threading.Thread(target=work, daemon=True).start()
        for each in frames.in_frames(frames.ITEMS, task.items):
            self._put(each)

    # ------------------------------------------------------------------ what a job sees

    @property
    def pid(self) -> int:
        """The process outside that all inside are below."""
        return self._worker.process.pid

    def wait_ready(self) -> None:
        """Return once it has its library and its set.

        Raises:
            EnvironmentUnfit: It has not; the owner's log says why.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._ready or self._failure, START_SECONDS)
            if not self._ready:
                raise EnvironmentUnfit(
                    "The Python that `rr22_python` of node.toml names does not run spu.",
                    hint="Install spu 0.9.5 there (docs/alignment.md says how); node.log has why.",
                )

    def begin(self, peer_items: int, wake: Callable[[], object]) -> None:
        """Have it begin to talk with the peer's.

        Args:
            peer_items: Of the peer's set.
            wake: Called whenever there is something to collect, or it has ended.
        """
        limits = Limits.of(len(self._task.items) // ITEM, peer_items)
        with self._changed:
            self._wake = wake
            self._until = time.monotonic() + (self.wall_seconds or limits.wall_seconds)
            sides = (self._task.rank, 1 - self._task.rank)
            self._rules = {
                rank: LinkRules(rank, most)
                for rank, most in zip(sides, limits.link_bytes, strict=True)
            }
        self._put(frames.frame(frames.START))

    def collect(self) -> bytes:
        """Return what it has said to the peer's since; empty if nothing.

        Raises:
            AlignmentRefused: A-22: it has ended without a result.
        """
        with self._changed:
            self._look()
            parts, size = [], 0
            while self._made and size + len(self._made[0]) <= _MESSAGE:
                parts.append(self._made.popleft())
                size += len(parts[-1])
            self._made_bytes -= size + _FRAME_BYTES * len(parts)
            self._changed.notify_all()
        return b"".join(parts)

    def deliver(self, data: bytes) -> None:
        """Hand it what the peer's has said; waits while it is slow to take it.

        Raises:
            AlignmentBroken: A-69: that is not what a link has.
            AlignmentRefused: A-22: it has ended without a result.
        """
        reader = frames.Reader(LINK)
        mine, theirs = self._task.rank, 1 - self._task.rank
        with self._changed:
            self._look()
        try:
            for each in reader.take(data):
                with self._changed:
                    self._rules[theirs].check(each)
                    self._rules[mine].other_said(each)
                self._put(frames.frame(each.kind, each.payload, each.stream))
        except FrameInvalid:
            raise broken(Broken.LINK, self._task.peer) from None
        if not reader.empty:
            raise broken(Broken.LINK, self._task.peer)
        with self._changed:
            while self._wanted_bytes > _QUEUED:
                self._look()
                self._changed.wait(_WAIT)

    def found(self) -> bytes | None:
        """Return the common items once it has them, of the first party; None before.

        Raises:
            AlignmentRefused: A-22: it has ended without a result.
        """
        with self._changed:
            self._look()
            return bytes(self._found) if self._done else None

    def close(self) -> None:
        """Kill it and everything in it."""
        with self._changed:
            self._closed = True
            self._failure = self._failure or refused(Decided.BACK_END)
            self._changed.notify_all()
        self._worker.kill()
        self._folder.cleanup()

    # ------------------------------------------------------------------ threads

    def _look(self) -> None:
        """Return if it has not failed, nor takes too long; the lock is held.

        The peer's part has the same time: it may have its result later, and say so or not.
        """
        if self._failure is None and time.monotonic() > self._until:
            self._fail("it took too long")
        if self._failure is not None:
            raise self._failure

    def _ended(self, why: str) -> None:
        """Its output has ended, or makes no sense: after its result nothing is wanted of it."""
        if not self._done:
            self._fail(why)

    def _fail(self, why: str) -> None:
        if self._failure is None:
            log = self._worker.log.decode("utf-8", "replace")
            OWNER_LOG.warning("rr22: %s, exit code %s\n%s", why, self._worker.process.poll(), log)
            self._failure = refused(Decided.BACK_END)

    def _put(self, data: bytes) -> None:
        with self._changed:
            self._wanted.append(data)
            self._wanted_bytes += len(data) + _FRAME_BYTES
            self._changed.notify_all()

    def _write(self) -> None:
        into = self._own[0]
        # It has ended, which its output shows.
        with contextlib.suppress(OSError), _closing(into):
            while True:
                with self._changed:
                    while not self._wanted:
                        if self._closed:
                            return
                        self._changed.wait(_WAIT)
                    data = self._wanted.popleft()
                left = memoryview(data)
                while left:
                    left = left[os.write(into, left) :]
                with self._changed:
                    self._wanted_bytes -= len(data) + _FRAME_BYTES
                    self._changed.notify_all()

    def _log(self) -> None:
        err = self._own[2]
        with contextlib.suppress(OSError), _closing(err):
            while self._worker.keep_log(err):
                if self._worker.printed > PRINTED_BYTES:
                    with self._changed:
                        self._fail("it printed too much")

    def _read(self) -> None:
        out = self._own[1]
        reader = frames.Reader(frozenset((READY, FOUND, DONE, *LINK)))
        why = "it ended early"
        try:
            with _closing(out):
                while data := os.read(out, _PIECE):
                    for each in reader.take(data):
                        self._take(each)
        except OSError:
            pass
        except FrameInvalid:
            why = "what it said makes no sense"
        with self._changed:
            self._ended(why)
            self._changed.notify_all()
        self._wake()

    def _take(self, each: frames.Frame) -> None:
        mine, theirs = self._task.rank, 1 - self._task.rank
        with self._changed:
            if each.kind == READY and not self._ready:
                self._ready = True
            elif each.kind == FOUND and mine == 0 and len(each.payload) % ITEM == 0:
                self._found += each.payload
                if len(self._found) > len(self._task.items):
                    raise FrameInvalid
            elif each.kind == DONE and not self._done:
                self._done = True
            elif each.kind in LINK:
                self._rules[mine].check(each)
                self._rules[theirs].other_said(each)
                while self._made_bytes > _QUEUED and not self._closed:
                    self._changed.wait(_WAIT)
                data = frames.frame(each.kind, each.payload, each.stream)
                self._made.append(data)
                self._made_bytes += len(data) + _FRAME_BYTES
            else:
                raise FrameInvalid
            self._changed.notify_all()
        self._wake()


@contextlib.contextmanager
def _closing(descriptor: int) -> Iterator[None]:
    try:
        yield
    finally:
        os.close(descriptor)


class Engine:
    """:class:`fusion.engine_ports.Rr22Engine`."""

    def start(self, python: Path, task: Rr22Task, account: str) -> Confined:
        """Start a run; see :func:`start`."""
        return start(python, task, account)


ENGINE = Engine()
"""Registered as ``rr22`` in the entry points ``fusion.engines``."""


def start(python: Path, task: Rr22Task, account: str) -> Confined:
    """Start a run; :meth:`Confined.wait_ready` says whether it can work.

    Call it from a thread that lives as long as the run: the kernel kills it with that thread.

    Args:
        python: The interpreter that has spu, of an environment of its own.
        task: What to find.
        account: Whom it runs as where this process is root.

    Raises:
        IsolationUnavailable: bubblewrap does not work here.
        EnvironmentUnfit: There is no such interpreter, or a program that spu needs is missing.
    """
    choose("bubblewrap", account)
    program, user = bubblewrap.find(), service_user.resolve(account)
    if program is None:
        raise IsolationUnavailable("RR22 runs in bubblewrap alone.", hint=INSTALL_BETTER)
    root = _root(python)
    folder = tempfile.TemporaryDirectory(prefix="banyan-rr22-")
    mount_point = Path(folder.name)
    mount_point.chmod(0o711)
    # Before the peer's size is known: what was agreed bounds both.
    limits = Limits.of(task.most, task.most)
    plan = Plan(
        kind="bubblewrap",
        entry="rr22",
        inputs={},
        user=user,
        covers={}
        if user is None
        else service_user.covers([*root.paths, program, mount_point], user),
        scratch=(limits.scratch_bytes, 65_536),
        mount_point=mount_point,
    )
    told = {
        "cpu_seconds": limits.cpu_seconds,
        "memory_bytes": limits.memory_bytes,
        "scratch_bytes": limits.scratch_bytes,
        "open_files": limits.open_files,
        "threads": limits.threads,
    }
    facts = json.dumps({"rank": task.rank, "limits": told})
    here = Path(__file__).resolve().parent
    words = [str(_place(python)), "-I", "-B", "-u", "-c", _RUN, facts, str(here.parents[1])]
    code = seccomp.linked_program(seccomp.architecture())
    try:
        worker = launch(plan, program, words, code, root)
    except OSError:
        folder.cleanup()
        raise
    return Confined(worker, folder, task)


def _place(python: Path) -> Path:
    """Return an interpreter's path, links of folders followed but not its own: it is a venv's."""
    return python.parent.resolve() / python.name


def _root(python: Path) -> bubblewrap.Root:
    """Return what an interpreter of another environment needs of the system.

    Nothing of it is run to find that out: what a virtual environment has is known (PEP 405).
    """
    if not python.is_absolute() or not python.exists():
        raise EnvironmentUnfit(
            f"There is no interpreter {python}.",
            hint="`rr22_python` of node.toml is the absolute path of one that has spu.",
        )
    place, real = _place(python), python.resolve()
    prefix, base = place.parents[1], real.parents[1]
    links = {
        each: str(each.resolve()) for each in place.parent.glob("python*") if each.is_symlink()
    }
    links |= {
        path: str(path.readlink())
        for path in map(Path, ("/lib", "/lib64", "/bin"))
        if path.is_symlink()
    }
    wanted = [*bubblewrap.system_paths(), real, base / "lib", prefix / "lib", prefix / "lib64"]
    wanted += [prefix / "pyvenv.cfg", Path(__file__).resolve().parent]
    for name in _HELPERS:
        found = shutil.which(name, path="/usr/bin:/bin")
        if found is None:
            raise EnvironmentUnfit(f"spu calls {name}, which is not on this machine.")
        helper = Path(found)
        wanted.append(helper.resolve())
        if helper.is_symlink():
            links[helper] = str(helper.resolve())
    return bubblewrap.Root(bubblewrap.topmost(wanted), links)
