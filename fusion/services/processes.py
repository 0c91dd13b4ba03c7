"""Child processes in order: started by name, watched, stopped by process id, their logs kept.

Each child leads a process group of its own, so that Ctrl-C in a terminal reaches this process
only, and stopping is orderly: last started, first stopped. If this process is killed, the kernel
tells each child to stop.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from fusion.errors import PartyFailed, PartyUnreachable
from fusion.services import passphrases
from fusion.services.tether import PARENT_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from types import TracebackType

TAIL_LINES: Final = 15
_GRACE_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 0.05
_ERROR_LINE: Final = re.compile(r"(F-\d{3}): (.*)")
_THE_CALLERS: Final = frozenset({"FUSION_HOME", passphrases.VARIABLE})
"""What the environment says of the caller's own folder and keys: nothing to a scripted one."""


@dataclass(frozen=True, slots=True)
class Child:
    """One process that was started.

    Attributes:
        name: For people and for its log's file name.
        process: The process.
        output: File with what it printed to stdout.
        log: File with what it printed to stderr.
    """

    name: str
    process: subprocess.Popen[bytes]
    output: Path
    log: Path

    def tail(self) -> str:
        """Return the last lines of the log."""
        lines = self.log.read_text("utf-8", "replace").splitlines()
        return "\n".join(lines[-TAIL_LINES:])


class Children:
    """The processes of a scripted deployment; use it as a context, which stops them all."""

    def __init__(self, logs: Path, say: Callable[[str], None]) -> None:
        """Keep logs in a folder; ``say`` gets the tail of the log of whoever fails."""
        logs.mkdir(parents=True, exist_ok=True)
        self._logs = logs
        self._say = say
        self._started: list[Child] = []

    def __enter__(self) -> Self:
        """Nothing is running yet."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop whatever still runs, however this ends."""
        self.stop_all()

    def start(self, name: str, *words: str | Path) -> Child:
        """Start ``fusion`` with these words in the background, each key and folder its own."""
        output, log = self._logs / f"{name}.out", self._logs / f"{name}.log"
        with output.open("wb") as out, log.open("wb") as err:
            process = subprocess.Popen(
                [sys.executable, "-m", "fusion.cli", *map(str, words)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                env={
                    **{k: v for k, v in os.environ.items() if k not in _THE_CALLERS},
                    "PYTHONUNBUFFERED": "1",
                    "NO_COLOR": "1",
                    PARENT_VARIABLE: str(os.getpid()),
                },
            )
        child = Child(name, process, output, log)
        self._started.append(child)
        return child

    def finish(self, children: Sequence[Child], *, seconds: float) -> list[str]:
        """Wait for verbs to end well; return what each printed to stdout.

        Raises:
            PartyFailed: One ended badly; code and exit code are its own.
            PartyUnreachable: One took too long.
        """
        deadline = time.monotonic() + seconds
        printed = []
        for child in children:
            while child.process.poll() is None:
                self.check(but=children)
                if time.monotonic() > deadline:
                    self._say(child.tail())
                    msg = f"{child.name} took longer than {seconds:.0f} s."
                    raise PartyUnreachable(msg)
                time.sleep(_LOOK_SECONDS)
            if child.process.returncode != 0:
                raise self._failed(child)
            self._started.remove(child)
            printed.append(child.output.read_text("utf-8"))
        return printed

    def check(self, *, but: Sequence[Child] = ()) -> None:
        """Refuse to go on when a background process has ended.

        Args:
            but: Those that may end.

        Raises:
            PartyFailed: One has.
        """
        for child in self._started:
            if child not in but and child.process.poll() not in {None, 0}:
                raise self._failed(child)

    def any_failed(self) -> bool:
        """Return whether a process has ended badly; says nothing, stops nothing."""
        return any(child.process.poll() not in {None, 0} for child in list(self._started))

    def wait_for(self, files: Sequence[Path], *, seconds: float) -> None:
        """Wait until all files exist.

        Raises:
            PartyFailed: A background process ended meanwhile.
            PartyUnreachable: It took too long.
        """
        deadline = time.monotonic() + seconds
        while missing := [file for file in files if not file.exists()]:
            self.check()
            if time.monotonic() > deadline:
                names = ", ".join(sorted(file.parent.name for file in missing))
                for child in self._started:
                    if child.name in names:
                        self._say(f"{child.name}:\n{child.tail()}")
                msg = f"Not ready after {seconds:.0f} s: {names}."
                raise PartyUnreachable(msg)
            time.sleep(_LOOK_SECONDS)

    def stop_all(self) -> None:
        """Ask every process to stop, last started first; end those that do not."""
        stopping = [child for child in reversed(self._started) if child.process.poll() is None]
        for child in stopping:
            _signal(child, signal.SIGTERM)
        deadline = time.monotonic() + _GRACE_SECONDS
        for child in stopping:
            with suppress(subprocess.TimeoutExpired):
                child.process.wait(max(0.0, deadline - time.monotonic()))
            # Whatever it started and left behind is in its group, and so is it, if it hangs.
            _signal_group(child, signal.SIGKILL)
            child.process.wait()
        self._started.clear()

    def _failed(self, child: Child) -> PartyFailed:
        """Return the error of a child that ended badly, after showing its log's end."""
        tail = child.tail()
        self._say(f"{child.name} ended with {child.process.returncode}; its last lines:\n{tail}")
        told = _ERROR_LINE.findall(tail)
        code, message = told[-1] if told else ("F-100", "see its log")
        exit_code = child.process.returncode
        return PartyFailed(
            f"{child.name}: {message}", code=code, exit_code=exit_code if exit_code > 0 else 1
        )


def is_up(ready: Path) -> bool:
    """Return whether the process that wrote a ``ready.json`` is still there."""
    try:
        pid = int(json.loads(ready.read_text("utf-8"))["pid"])
        if pid < 1:
            return False  # kill(2) would take it for a group of processes
        os.kill(pid, 0)
    except PermissionError:
        return True  # it is there, and somebody else's
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return False
    return True


def _signal(child: Child, number: int) -> None:
    """Signal the process itself: it stops what it started."""
    if child.process.poll() is None:
        child.process.send_signal(number)


def _signal_group(child: Child, number: int) -> None:
    """Signal the process and all it started, by its own group; nobody may be left in it."""
    with suppress(ProcessLookupError):
        os.killpg(child.process.pid, number)
