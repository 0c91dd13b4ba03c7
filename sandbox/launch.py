"""Becomes a worker: gives up root, ties itself to its parent, lays out mounts, executes.

Run by path, isolated and without site packages, so that it may import nothing of ours and little
of anything else: ``python -I -S launch.py PLAN``. The plan is a JSON object that
:mod:`sandbox.process` writes. Ends with code 97 and one line on standard error if a step fails;
nothing is skipped.

``user`` and ``group`` are set if and only if this process is root, and it is another before it
executes anything. Two kinds of mounts are made, in a mount namespace that only this process and
what it becomes can see:

- ``covers``: where the other user can't pass a folder on the way to the interpreter, a small empty
  file system covers that folder, with only the paths below it that are needed.
- ``scratch``: a file system in memory with a limit on bytes and on files; bubblewrap has none on
  files.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from typing import Any, Final

FAILED: Final = 97
_NEW_MOUNTS, _NEW_USERS = 0x00020000, 0x10000000
_NOSUID, _NODEV, _NOEXEC, _BIND, _RECURSIVE, _PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
_PARENT_SIGNAL, _DROP_BOUND, _NO_NEW_PRIVILEGES = 1, 24, 38
_LIBRARY: Final = ctypes.CDLL(None, use_errno=True)


def main(plan: dict[str, Any]) -> None:
    """Carry out a plan; never returns."""
    root = os.geteuid() == 0
    if root != (plan["user"] is not None) or plan["user"] == 0 or plan["group"] == 0:
        raise OSError(0, "root has to become another user, and only root can")
    _mount_all(plan, root=root)
    # The kernel ends this process before any other when memory runs out.
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:  # noqa: PTH123 - see the module's text
        file.write("1000")
    if root:
        _become(plan["user"], plan["group"])
    _check("prctl", _LIBRARY.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0))
    # After the change of user, which would undo it.
    _check("prctl", _LIBRARY.prctl(_PARENT_SIGNAL, signal.SIGKILL, 0, 0, 0))
    if os.getppid() != plan["parent"]:
        raise OSError(0, "the parent is gone")
    if 0 in {*os.getresuid(), *os.getresgid()}:
        raise OSError(0, "still root")
    os.umask(0o077)
    os.chdir("/")
    command: list[str] = plan["command"]
    os.execve(command[0], command, plan["environment"])  # noqa: S606 - words that we build


def _become(user: int, group: int) -> None:
    last = int(_text("/proc/sys/kernel/cap_last_cap"))
    for capability in range(last + 1):
        _check("prctl", _LIBRARY.prctl(_DROP_BOUND, capability, 0, 0, 0))
    os.setgroups([])
    os.setresgid(group, group, group)
    os.setresuid(user, user, user)  # and with it every capability (capabilities(7))


def _mount_all(plan: dict[str, Any], *, root: bool) -> None:
    if not plan["covers"] and not plan["scratch"]:
        return
    user, group = os.geteuid(), os.getegid()
    _check("unshare", _LIBRARY.unshare(_NEW_MOUNTS | (0 if root else _NEW_USERS)))
    if not root:
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{user} {user} 1")
        _write("/proc/self/gid_map", f"{group} {group} 1")
    _mount(None, "/", None, _RECURSIVE | _PRIVATE, None)
    for cover, paths in plan["covers"].items():
        _cover(cover, paths)
    if plan["scratch"]:
        size, files = plan["scratch"]["bytes"], plan["scratch"]["files"]
        owner = f"uid={plan['user']},gid={plan['group']}" if root else f"uid={user},gid={group}"
        options = f"size={size},nr_inodes={files + 1},mode=0700,{owner}"
        _mount("tmpfs", plan["scratch"]["at"], "tmpfs", _NOSUID | _NODEV | _NOEXEC, options)


def _cover(folder: str, paths: list[str]) -> None:
    """Mount an empty file system over a folder, and these paths again on top of it."""
    kept = [(path, os.open(path, os.O_PATH), os.path.isdir(path)) for path in paths]  # noqa: PTH112 - see the module's text
    _mount("tmpfs", folder, "tmpfs", _NOSUID | _NODEV, "size=64k,mode=0755")
    for path, descriptor, is_folder in kept:
        os.makedirs(path if is_folder else os.path.dirname(path), 0o755, exist_ok=True)  # noqa: PTH103, PTH120 - see the module's text
        if not is_folder:
            os.close(os.open(path, os.O_CREAT, 0o644))
        _mount(f"/proc/self/fd/{descriptor}", path, None, _BIND | _RECURSIVE, None)
        os.close(descriptor)


def _mount(
    source: str | None, target: str, kind: str | None, flags: int, options: str | None
) -> None:
    words = [None if word is None else word.encode() for word in (source, target, kind, options)]
    done = _LIBRARY.mount(words[0], words[1], words[2], ctypes.c_ulong(flags), words[3])
    _check(f"mount at {target}", done)


def _check(what: str, result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _text(path: str) -> str:
    with open(path, encoding="ascii") as file:  # noqa: PTH123 - see the module's text
        return file.read()


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:  # noqa: PTH123 - see the module's text
        file.write(text)


if __name__ == "__main__":
    try:
        main(json.loads(sys.argv[1]))
    except OSError as error:
        sys.stderr.write(f"launch: {error.strerror or error}\n")
        sys.exit(FAILED)
