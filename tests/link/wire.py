"""What an operator of the hub's machine could look at: its memory, and the bytes on its wire."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(slots=True)
class HubProcess:
    """A hub that serves, and what is in it."""

    process: subprocess.Popen[bytes]
    port: int

    def memory_has(self, marker: bytes) -> bool:
        """Whether the bytes are anywhere in the process's memory now."""
        pid = self.process.pid
        with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
            for line in Path(f"/proc/{pid}/maps").read_text("ascii").splitlines():
                where, rights, *_, name = [*line.split(None, 5), ""][:7]
                if "r" not in rights or name.strip() in {"[vvar]", "[vsyscall]", "[vvar_vclock]"}:
                    continue
                first, last = (int(part, 16) for part in where.split("-"))
                try:
                    memory.seek(first)
                    found = memory.read(last - first)
                except (OSError, ValueError):
                    continue
                if marker in (found or b""):
                    return True
        return False

    def resident_mb(self) -> float:
        """Memory in use."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text("ascii").split()[1])
        return pages * 4096 / 2**20

    def peak_mb(self) -> float:
        """The most memory that was ever in use."""
        status = Path(f"/proc/{self.process.pid}/status").read_text("ascii")
        (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024


@contextlib.contextmanager
def hub_process(folder: Path) -> Iterator[HubProcess]:
    """Run the hub's port in a process of its own."""
    command = [sys.executable, "-m", "tests.link.hub_process", str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield HubProcess(process, int(process.stdout.readline()))
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        process.wait(20)


@dataclass(slots=True)
class Tap:
    """A wire that keeps what passes."""

    port: int
    seen: bytearray = field(default_factory=bytearray)
    connections: int = 0
    ends: list[socket.socket] = field(default_factory=list)

    def cut(self) -> None:
        """Break every connection that there is; new ones are let through."""
        while self.ends:
            with contextlib.suppress(OSError):
                self.ends.pop().shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def tapped(to: int) -> Iterator[Tap]:
    """Put a wire before a port of this machine."""
    listening = socket.create_server(("127.0.0.1", 0))
    tap = Tap(listening.getsockname()[1])
    open_sockets: list[socket.socket] = [listening]

    def copy(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                tap.seen += data
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listening.accept()
                far = socket.create_connection(("127.0.0.1", to))
                open_sockets.extend((near, far))
                tap.ends.extend((near, far))
                tap.connections += 1
                for ends in ((near, far), (far, near)):
                    threading.Thread(target=copy, args=ends, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield tap
    finally:
        for each in open_sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
