"""What of this machine a script must not change, as a value to compare before and after."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sandbox import service_user

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_SYS: Final = ("kernel", "vm", "fs", "user")
# These count or wander by themselves.
_WANDERING: Final = {
    "dentry-state", "file-nr", "inode-nr", "inode-state", "ns_last_pid", "aio-nr", "uuid",
    "entropy_avail", "pty/nr", "nr", "boot_id", "stat_refresh", "nr_hugepages_mempolicy",
    "last_pid", "cad_pid", "random", "perf_event_max_sample_rate",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class HostState:
    """Settings of the kernel, mounts, inputs with their folder, and whether the victim lives."""

    settings: Mapping[str, bytes]
    mounts: bytes
    inputs: Mapping[str, tuple[str, int, int, int, int]]
    beside: tuple[str, ...]
    victims: tuple[bool, ...]


def host_state(inputs: Iterable[Path], victims: Iterable[int]) -> HostState:
    """Look at the machine."""
    inputs = list(inputs)
    return HostState(
        settings=dict(_settings()),
        mounts=b"\n".join(
            line
            for line in Path("/proc/self/mounts").read_bytes().splitlines()
            if b"banyan" in line or not line.startswith(b"tmpfs")
        ),
        inputs={str(path): _file(path) for path in inputs},
        beside=tuple(sorted(file.name for path in inputs for file in path.parent.iterdir())),
        victims=tuple(Path(f"/proc/{pid}").exists() and _running(pid) for pid in victims),
    )


def _settings() -> Iterator[tuple[str, bytes]]:
    for top in _SYS:
        for path in Path("/proc/sys", top).rglob("*"):
            if path.name in _WANDERING or path.parent.name in _WANDERING:
                continue
            try:
                found = path.stat()
                # What nobody may write, nobody changed.
                if stat.S_ISREG(found.st_mode) and found.st_mode & 0o222 and found.st_mode & 0o444:
                    yield str(path), path.read_bytes()
            except OSError:
                continue


def _file(path: Path) -> tuple[str, int, int, int, int]:
    found = path.stat()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return digest, found.st_mtime_ns, found.st_ctime_ns, found.st_mode, found.st_nlink


def _running(pid: int) -> bool:
    return "State:\tT" not in Path(f"/proc/{pid}/status").read_text("ascii", "replace")


_OTHERS: set[int] = set()


def begin() -> None:
    """Leave out the workers that are here now: those of services that other tests have up."""
    _OTHERS.clear()
    _OTHERS.update(workers())


def workers(of: int | None = None) -> set[int]:
    """Return the workers that descend from a process, by default this one, since :func:`begin`.

    Not those that other sessions of tests have at the same time.
    """
    parents: dict[int, int] = {}
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat_line = entry.joinpath("stat").read_text("ascii", "replace")
                words = entry.joinpath("cmdline").read_bytes().split(b"\0")
            except OSError:
                continue  # it ended
            pid = int(entry.name)
            parents[pid] = int(stat_line.rpartition(")")[2].split()[1])
            if b"sandbox.worker" in words:
                found.add(pid)
    return {pid for pid in found if _descends(pid, of or os.getpid(), parents)} - _OTHERS


def _descends(pid: int, ancestor: int, parents: Mapping[int, int]) -> bool:
    while pid > 1:
        pid = parents.get(pid, 0)
        if pid == ancestor:
            return True
    return False


def end_of(pids: Iterable[int], seconds: float) -> set[int]:
    """Wait for processes to end; return those that did not."""
    left = set(pids)
    end = time.monotonic() + seconds
    while left and time.monotonic() < end:
        left = {pid for pid in left if Path(f"/proc/{pid}").exists()}
        time.sleep(0.01)
    return left


def worker_uid() -> int:
    """Return whom workers run as here."""
    user = service_user.resolve(service_user.DEFAULT)
    return os.getuid() if user is None else user[0]
