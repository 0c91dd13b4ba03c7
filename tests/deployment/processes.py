"""A deployment of real processes in a folder, made with the command line's own verbs.

Used by the deployment tests and by ``benchmarks/exchange.py``.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

READY_SECONDS = 60.0
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Deployment:
    """A hub and one node for each name; a context that stops whatever it started."""

    def __init__(
        self, folder: Path, names: Sequence[str], *, data: Mapping[str, Path] | None = None
    ) -> None:
        """Lay out, start nothing."""
        self.folder = folder
        self.names = list(names)
        self.hub = folder / "hub"
        self.logs = folder / "logs"
        self._data = data or {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        """Make everything, admit everyone, start everything."""
        try:
            self._make()
            self.start("hub")
            for name in self.names:
                self.start(name)
            self.wait_ready(["hub", *self.names])
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop everything, nodes first."""
        running = [n for n in reversed(self._processes) if self._processes[n].poll() is None]
        for name in running:
            self._processes[name].send_signal(signal.SIGCONT)
            self._processes[name].terminate()
        for name in running:
            try:
                self._processes[name].wait(20)
            except subprocess.TimeoutExpired:
                self.kill(name)

    # ------------------------------------------------------------------ verbs

    def node(self, name: str) -> Path:
        """Return a node's folder."""
        return self.folder / name

    def fusion(self, *words: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a verb to its end."""
        done = subprocess.run(
            [sys.executable, "-m", "fusion.cli", *map(str, words)],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        if check and done.returncode != 0:
            message = f"fusion {' '.join(map(str, words))}: {done.stderr}"
            raise RuntimeError(message)
        return done

    def json(self, *words: str | Path) -> Any:  # noqa: ANN401 - JSON
        """Run a verb that prints one JSON document."""
        return json.loads(self.fusion(*words, "--json").stdout)

    def _make(self) -> None:
        self.logs.mkdir(parents=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        invitation = self.json("hub", "init", self.hub, "--address", address)["invitation"]
        for name in self.names:
            words: list[str | Path] = ["--hub", invitation, "--org", name]
            if name in self._data:
                words += ["--data", f"people={self._data[name]}"]
            self.fusion("node", "init", self.node(name), *words)
        requests = [self.node(name) / "request.csr" for name in self.names]
        self.fusion("hub", "admit", *requests, "--hub", self.hub)

    # ------------------------------------------------------------------ processes

    def start(self, name: str) -> None:
        """Start the hub or a node in the background."""
        kind, folder = ("hub", self.hub) if name == "hub" else ("node", self.node(name))
        (folder / "ready.json").unlink(missing_ok=True)
        with (self.logs / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", "fusion.cli", kind, "up", str(folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_ready(self, names: Sequence[str]) -> None:
        """Wait until these serve.

        Raises:
            RuntimeError: One ended, or took too long; quotes its log.
        """
        until = time.monotonic() + READY_SECONDS
        for name in names:
            folder = self.hub if name == "hub" else self.node(name)
            while not (folder / "ready.json").exists():
                if self._processes[name].poll() is not None or time.monotonic() > until:
                    message = f"{name} is not up: {self.log(name)[-2000:]}"
                    raise RuntimeError(message)
                time.sleep(0.05)

    def log(self, name: str) -> str:
        """Return what a process has said."""
        return (self.logs / f"{name}.log").read_text("utf-8")

    def signal(self, name: str, number: int) -> None:
        """Send a signal to one process, not to what it started."""
        self._processes[name].send_signal(number)

    def kill(self, name: str) -> None:
        """End a process as a power cut would."""
        self._processes[name].kill()
        self._processes[name].wait()

    def terminate(self, name: str) -> int:
        """Ask a process to stop; return its exit code."""
        self._processes[name].terminate()
        return self._processes[name].wait(60)

    # ------------------------------------------------------------------ figures

    def cpu_seconds(self, name: str) -> float:
        """Return CPU time of a process and all below it."""
        return sum(_cpu(pid) for pid in self.tree(name))

    def resident_bytes(self, name: str) -> int:
        """Return resident memory of a process and all below it."""
        return sum(_resident(pid) for pid in self.tree(name))

    def tree(self, name: str) -> list[int]:
        """Return the process and all below it."""
        parents: dict[int, list[int]] = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                fields = _stat(int(entry))
                if fields:
                    parents.setdefault(int(fields[1]), []).append(int(entry))
        found, waiting = [], [self._processes[name].pid]
        while waiting:
            pid = waiting.pop()
            found.append(pid)
            waiting += parents.get(pid, [])
        return found


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat after the name, or nothing."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rsplit(")", 1)[1].split()
    except OSError:
        return []


def _cpu(pid: int) -> float:
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / _TICKS if fields else 0.0


def _resident(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[21]) * _PAGE if fields else 0
