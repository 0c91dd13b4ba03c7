"""What of this machine a script must not change, as a value to compare before and after."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from dataclasses import dataclass
from functools import lru_cache
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
    for path in _set_by_somebody():
        try:
            yield str(path), path.read_bytes()
        except OSError:
            continue


@lru_cache(maxsize=1)
def _set_by_somebody() -> tuple[Path, ...]:
    """Return which settings there are; the kernel adds none while tests run."""
    found = []
    for path in (path for top in _SYS for path in Path("/proc/sys", top).rglob("*")):
        if path.name in _WANDERING or path.parent.name in _WANDERING:
            continue
        try:
            mode = path.stat().st_mode
        except OSError:
            continue
        # What nobody may write, nobody changed.
        if stat.S_ISREG(mode) and mode & 0o222 and mode & 0o444:
            found.append(path)
    return tuple(found)


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
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (line := _read(entry / "stat")):
            parents[int(entry.name)] = int(line.rpartition(b")")[2].split()[1])
    below = (pid for pid in parents if _descends(pid, of or os.getpid(), parents))
    found = {
        pid
        for pid in below
        if b"sandbox.worker" in _read(Path(f"/proc/{pid}/cmdline")).split(b"\0")
    }
    return found - _OTHERS


def _read(path: Path) -> bytes:
    """Return what a file of a process has; nothing once it has ended."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


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
