"""A deployment of real processes in a folder, made with the command line's own verbs.

Used by the deployment tests and by ``benchmarks/exchange.py``.
"""

from __future__ import annotations

import ipaddress
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from fusion.link.loopback import free_port

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

READY_SECONDS = 120.0
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")

_TABLES = ("tcp", "tcp6", "udp", "udp6")
_FOREIGN_PROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "foreign"
version = "1.0.0"
description = "not ours"
license = "Apache-2.0"
dependencies = ["flwr>=1.41"]
[tool.flwr.app]
publisher = "somebody"
fab-include = ["**/*.py"]
[tool.flwr.app.components]
serverapp = "foreign.app:server"
clientapp = "foreign.app:client"
[tool.flwr.app.config]
"""

_FOREIGN_APP = """\
from flwr.app import Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

server = ServerApp()
client = ClientApp()


@server.main()
def main(grid, context):
    messages = [Message(RecordDict(), node, "query", ttl=60.0) for node in grid.get_node_ids()]
    grid.send_and_receive(messages, timeout=30.0)


@client.query()
def query(message, context):
    raise SystemExit("this must never run")
"""


class Deployment:
    """A hub and one node for each name; a context that stops whatever it started."""

    def __init__(
        self,
        folder: Path,
        names: Sequence[str],
        *,
        data: Mapping[str, Path] | None = None,
        more: Mapping[str, Mapping[str, Path]] | None = None,
        grants: bool = False,
    ) -> None:
        """Lay out, start nothing.

        Args:
            folder: An empty folder.
            names: The nodes.
            data: The file of each one's dataset ``people``.
            more: Further files, by organisation and dataset.
            grants: Whether nodes take part in nothing without a grant.
        """
        self.folder = folder
        self.names = list(names)
        self.hub = folder / "hub"
        self.logs = folder / "logs"
        self._data = data or {}
        self._more = more or {}
        self._grants = "--require-grants" if grants else "--no-require-grants"
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
                self._processes[name].wait(60)
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
            timeout=200,
            check=False,
        )
        if check and done.returncode != 0:
            message = f"fusion {' '.join(map(str, words))}: {done.stderr}"
            raise RuntimeError(message)
        return done

    def _side_by_side(self, verbs: Sequence[Sequence[str | Path]]) -> None:
        with ThreadPoolExecutor(len(verbs)) as pool:
            list(pool.map(lambda words: self.fusion(*words), verbs))

    def json(self, *words: str | Path) -> Any:  # noqa: ANN401 - JSON
        """Run a verb that prints one JSON document."""
        return json.loads(self.fusion(*words, "--json").stdout)

    def _make(self) -> None:
        self.logs.mkdir(parents=True)
        address = f"127.0.0.1:{free_port()}"
        invitation = self.json("hub", "init", self.hub, "--address", address, "--no-passphrase")[
            "invitation"
        ]
        making = []
        for name in self.names:
            words: list[str | Path] = ["node", "init", self.node(name), "--org", name]
            words += ["--hub", invitation, self._grants, "--no-passphrase"]
            if name in self._data:
                words += ["--data", f"people={self._data[name]}"]
            for dataset, path in self._more.get(name, {}).items():
                words += ["--data", f"{dataset}={path}"]
            making.append(words)
        self._side_by_side(making)
        requests = [self.node(name) / "request.csr" for name in self.names]
        self.fusion("hub", "admit", *requests, "--hub", self.hub)

    def deal(self, *, threshold: int, bits: int) -> None:
        """Hold a key ceremony in which every node gets a share; the hub gets the public file."""
        out = self.folder / "ceremony"
        dealt = self.json(
            *("key", "ceremony", "--roster", self.hub / "roster.json", "--out", out),
            *("--holders", ",".join(self.names), "--threshold", str(threshold)),
            *("--bits", str(bits)),
        )
        transcript = ("--transcript", dealt["transcript"])
        importing = [["key", "import", out / "key.json", "--hub", self.hub, *transcript]]
        for name in self.names:
            file = out / f"{name}.share"
            importing.append(["key", "import", file, "--node", self.node(name), *transcript])
        self._side_by_side(importing)

    # ------------------------------------------------------------------ processes

    def start(self, name: str, **environment: str) -> None:
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
                env={**os.environ, **environment},
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

    def kill_child(self, name: str, program: str) -> None:
        """End one of the programs that a process has started, as a crash would."""
        for pid in self.tree(name):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if program.encode() in words:
                os.kill(pid, signal.SIGKILL)

    def terminate(self, name: str) -> int:
        """Ask a process to stop; return its exit code."""
        self._processes[name].terminate()
        return self._processes[name].wait(60)

    def run_foreign_bundle(self, folder: Path) -> None:
        """Have the SuperLink run somebody else's app, as one could who reaches its control port."""
        app = folder / "app"
        (app / "foreign").mkdir(parents=True)
        (app / "pyproject.toml").write_text(_FOREIGN_PROJECT, "utf-8")
        (app / "foreign" / "__init__.py").write_text("", "utf-8")
        (app / "foreign" / "app.py").write_text(_FOREIGN_APP, "utf-8")
        home = folder / "home"
        home.mkdir()
        connection = (
            '[superlink]\ndefault = "hub"\n[superlink.hub]\n'
            f'address = "127.0.0.1:{self._superlink_port()}"\n'
            f'root-certificates = "{self.hub / "superlink" / "ca.pem"}"\n'
        )
        (home / "config.toml").write_text(connection, "utf-8")
        done = subprocess.run(
            [Path(sys.executable).with_name("flwr"), "run", app, "hub", "--format", "json"],
            env={**os.environ, "FLWR_HOME": str(home)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if '"success": true' not in done.stdout:
            message = f"flwr run: {done.stdout} {done.stderr}"
            raise RuntimeError(message)

    def _superlink_port(self) -> int:
        for pid in self.tree("hub"):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if b"flower-superlink" in words:
                return int(words[words.index(b"--port") + 1])
        message = "the hub has no SuperLink"
        raise RuntimeError(message)

    def peers(self, name: str) -> set[str]:
        """Return the addresses at the other end of a process's TCP and connected UDP sockets."""
        found = set()
        for pid in self.tree(name):
            try:
                own = _sockets(pid)
                tables = [Path(f"/proc/{pid}/net/{table}").read_text() for table in _TABLES]
            except OSError:
                continue  # it has ended meanwhile
            for line in "".join(tables).splitlines():
                fields = line.split()
                if fields[9] in own and not fields[2].endswith(":0000"):
                    found.add(_address(fields[2].split(":")[0]))
        return found

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
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                fields = _stat(int(entry.name))
                if fields:
                    parents.setdefault(int(fields[1]), []).append(int(entry.name))
        found, waiting = [], [self._processes[name].pid]
        while waiting:
            pid = waiting.pop()
            found.append(pid)
            waiting += parents.get(pid, [])
        return found


def _sockets(pid: int) -> set[str]:
    """Return the inodes of a process's sockets."""
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(entry.readlink())
        except OSError:
            continue
        if target.startswith("socket:["):
            found.add(target[8:-1])
    return found


def _address(text: str) -> str:
    """Return the address that the kernel writes as hexadecimal words."""
    words = [bytes.fromhex(text[i : i + 8])[::-1] for i in range(0, len(text), 8)]
    address = ipaddress.ip_address(b"".join(words))
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat after the name, or nothing."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
        return text.rsplit(")", 1)[1].split()
    except OSError:
        return []


def _cpu(pid: int) -> float:
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / _TICKS if fields else 0.0


def _resident(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[21]) * _PAGE if fields else 0
