"""Landlock: a process gives up, for good, every file but those it names (kernel 5.13 and later).

It needs no namespaces, no privileges and no packages. Called through ctypes, since neither Python
nor the C library has it. What it handles is on the kernel's page ``userspace-api/landlock``; what
it does not (looking at a file's size and time, links, owners, modes) is left to the filter of
:mod:`sandbox.seccomp`, which has to follow.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

NEEDED: Final = 3
"""Oldest interface that will do (kernel 6.2): before it, files could still be cut short."""

_CREATE, _ADD, _RESTRICT = 444, 445, 446  # the same numbers on every processor
_VERSION: Final = 1
_PATH_BENEATH: Final = 1
_NO_NEW_PRIVILEGES: Final = 38

_EXECUTE, _READ, _LIST = 1 << 0, 1 << 2, 1 << 3
# By interface: what it can refuse of files, of TCP ports, of signals and abstract sockets.
_FILES: Final = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
_TCP_SINCE, _TCP = 4, 0b11
_SCOPES_SINCE, _SCOPES = 6, 0b11
_LIMIT_FILES: Final = (
    "memory.max",
    "memory.limit_in_bytes",
    "cpu.max",
    "cpu.cfs_quota_us",
    "cpu.cfs_period_us",
)


def version() -> int:
    """Return the kernel's interface, 0 if it has none or it is switched off."""
    found: int = _library().syscall(_CREATE, None, 0, _VERSION)
    return max(0, found)


def restrict(read: Iterable[Path], list_and_read: Iterable[Path]) -> None:
    """Give up all but these; for the calling thread, and whatever it starts from now on.

    Args:
        read: Files that may be opened for reading.
        list_and_read: Folders below which files may be listed, read and mapped as programs.

    Raises:
        OSError: The kernel can't, a path is not there, or this process has other threads, which
            would keep everything.
    """
    found = version()
    if found < NEEDED:
        raise OSError(errno.ENOSYS, f"Landlock's interface is {found}; {NEEDED} is needed")
    if len(os.listdir("/proc/self/task")) != 1:  # noqa: PTH208 - two strings, before anything else
        raise OSError(errno.EBUSY, "threads were started before Landlock could hold them")
    files = (1 << _FILES[min(found, 5)]) - 1
    tcp = _TCP if found >= _TCP_SINCE else 0
    scopes = _SCOPES if found >= _SCOPES_SINCE else 0
    attributes = struct.pack("=QQQ", files, tcp, scopes)
    size = 8 if found < _TCP_SINCE else 16 if found < _SCOPES_SINCE else 24
    rules = _call(_CREATE, ctypes.create_string_buffer(attributes, 24), size, 0)
    try:
        for path in read:
            _add(rules, path, _READ)
        for path in list_and_read:
            _add(rules, path, _READ | (_LIST | _EXECUTE if path.is_dir() else _EXECUTE))
        if _library().prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        _call(_RESTRICT, rules, 0)
    finally:
        os.close(rules)


def own_limits() -> list[Path]:
    """Return the files that tell a process the limits of its own control group (cgroups(7)).

    DuckDB reads them when it opens, and gives up if they are there and may not be read.
    """
    groups = Path("/proc/self/cgroup")
    try:
        lines = groups.read_text("utf-8").splitlines()
    except OSError:
        return []
    found = [groups]
    for line in lines:
        _, controllers, below = line.split(":", 2)
        top = Path("/sys/fs/cgroup", controllers)
        folders = {top, top / below.lstrip("/")}
        found += [folder / name for folder in sorted(folders) for name in _LIMIT_FILES]
    return [path for path in found if path.is_file()]


def _add(rules: int, path: Path, access: int) -> None:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        # struct landlock_path_beneath_attr, packed
        rule = ctypes.create_string_buffer(struct.pack("=Qi", access, descriptor), 12)
        _call(_ADD, rules, _PATH_BENEATH, rule, 0)
    finally:
        # A rule is about an inode, and /proc forgets its own unless somebody holds them.
        if not path.is_relative_to("/proc"):
            os.close(descriptor)


def _call(number: int, *arguments: object) -> int:
    result: int = _library().syscall(number, *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def _library() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
