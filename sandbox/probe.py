"""What a worker can reach, found out by trying: run inside, reported outside.

``execute`` tries each door that has to be shut, in ways that do no harm where one is open, and
returns the names of those that are open. An isolation in which one is open is not used.
"""

from __future__ import annotations

import mmap
import os
import signal
import socket
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fusion.wire import canonical

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SCHEMA: Final = "banyan.isolation-probe/1"
_FAMILIES: Final = ("AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK", "AF_PACKET", "AF_VSOCK")
_UNREADABLE: Final = (
    "/etc/shadow",
    "/etc/passwd",
    "/proc/self/environ",
    "/proc/1/environ",
    "/proc/kallsyms",
    "/proc/sys/kernel/core_pattern",
    "/sys/kernel",
    "/dev/kmsg",
    "/dev/shm",  # noqa: S108 - looked at, not used
    "/var/log",
    "/bin/sh",
    "/var/tmp",  # noqa: S108 - the same
    "/etc/ssl",
)
_UNWRITABLE: Final = ("/", "/usr", "/usr/lib", "/dev", "/in", "/var/tmp")  # noqa: S108 - the same


def execute(request: bytes, inputs: Mapping[str, Path]) -> bytes:
    """Try every door; the request is sent back.

    Returns:
        Canonical JSON: ``open`` and ``shut`` (names of doors), ``echo``, ``inputs`` (their sizes).
    """
    doors = _doors(inputs)
    found = {name: _opens(door) for name, door in doors.items()}
    return canonical.encode(
        {
            "schema": SCHEMA,
            "open": sorted(name for name, opened in found.items() if opened),
            "shut": sorted(name for name, opened in found.items() if not opened),
            "echo": request.decode("utf-8", "replace"),
            "inputs": {name: path.stat().st_size for name, path in inputs.items()},
        }
    )


def _opens(door: Callable[[], object]) -> bool:
    try:
        door()
    except (OSError, MemoryError):
        return False
    return True


def _doors(inputs: Mapping[str, Path]) -> dict[str, Callable[[], object]]:
    doors: dict[str, Callable[[], object]] = {
        "process": _fork,
        "program": _execute_nothing,
        "signal to the parent": partial(os.kill, os.getppid(), 0),
        "signal to the group": partial(os.killpg, 0, signal.SIGCONT),
        "memory that is written and executed": _written_code,
        "device": partial(os.mknod, "/scratch/probe", 0o600),
        "user": partial(os.setuid, os.getuid()),
        "session": os.setsid,
        "priority of others": partial(os.setpriority, os.PRIO_PROCESS, os.getppid(), 19),
    }
    for family in _FAMILIES:
        doors[f"socket {family}"] = partial(socket.socket, getattr(socket, family))
    for name in _UNREADABLE:
        doors[f"read {name}"] = partial(_read, Path(name))
    for name in _UNWRITABLE:
        doors[f"write {name}"] = partial(_write, Path(name) / "banyan-probe")
    for name, path in inputs.items():
        doors[f"write input {name}"] = partial(os.open, path, os.O_WRONLY)
        doors[f"mode of input {name}"] = partial(path.chmod, path.stat().st_mode)
        doors[f"time of input {name}"] = partial(os.utime, path)
        doors[f"length of input {name}"] = partial(os.truncate, path, path.stat().st_size)
    return doors


def _read(path: Path) -> None:
    if path.is_dir():
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECTORY))
    else:
        os.close(os.open(path, os.O_RDONLY))


def _write(path: Path) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    path.unlink()


def _fork() -> None:
    if os.fork() == 0:
        os._exit(0)
    os.wait()


def _execute_nothing() -> None:
    """Execute a program that is not there: refused, or only not found."""
    try:
        os.execv("/nowhere/program", ["program"])  # noqa: S606 - tried
    except FileNotFoundError:
        return


def _written_code() -> None:
    both = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    mmap.mmap(-1, mmap.PAGESIZE, prot=both).close()
