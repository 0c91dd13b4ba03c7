"""Who a worker is: this process's user, or another one if this process is root; never root."""

from __future__ import annotations

import os
import pwd
import stat
from typing import TYPE_CHECKING, Final

from fusion.errors import IsolationUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

DEFAULT: Final = "nobody"


def resolve(name: str) -> tuple[int, int] | None:
    """Return user and group to become, None if this process is not root and stays who it is.

    Args:
        name: Of an account; used by root alone.

    Raises:
        IsolationUnavailable: There is no such account, or it is root under another name.
    """
    if os.geteuid() != 0:
        if os.getuid() == 0:
            raise IsolationUnavailable("A process that can become root again starts no workers.")
        return None
    try:
        account = pwd.getpwnam(name)
    except KeyError:
        msg = f"There is no account {name} to run workers as, and root never does."
        hint = "Make one (useradd --system), or run the node as an ordinary user."
        raise IsolationUnavailable(msg, hint=hint) from None
    if account.pw_uid == 0 or account.pw_gid == 0:
        msg = f"Workers can't run as {name}: it is root."
        raise IsolationUnavailable(msg, hint="Name an account without privileges.")
    return account.pw_uid, account.pw_gid


def covers(paths: Iterable[Path], user: tuple[int, int]) -> dict[str, list[str]]:
    """Return the folders that the user can't pass on the way to these paths, with the paths below.

    What :mod:`sandbox.launch` does with them is seen by the worker alone; nothing on disk changes.
    """
    found: dict[str, list[str]] = {}
    for path in paths:
        for folder in reversed(path.parents):
            if not _passable(folder, user):
                found.setdefault(str(folder), []).append(str(path))
                break
    return found


def readable(path: Path, user: tuple[int, int] | None) -> bool:
    """Whether the worker's user may read a file, once it can reach it."""
    if user is None:
        return os.access(path, os.R_OK)
    return _granted(path.stat(), user, stat.S_IROTH)


def _passable(folder: Path, user: tuple[int, int]) -> bool:
    return _granted(folder.stat(), user, stat.S_IXOTH)


def _granted(found: os.stat_result, user: tuple[int, int], bit: int) -> bool:
    """Judge mode bits as the kernel does: owner's, else group's, else the others' (inode(7))."""
    if found.st_uid == user[0]:
        bit <<= 6
    elif found.st_gid == user[1]:
        bit <<= 3
    return bool(found.st_mode & bit)
