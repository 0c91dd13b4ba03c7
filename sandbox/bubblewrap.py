"""bubblewrap: a worker in namespaces of its own, with a root of only what Python needs.

Options are those of ``bwrap(1)``; namespaces are explained in ``namespaces(7)``. There is no /proc
in it, so that none of /proc/sys, keys, symbols or other processes can be read or written (and a
container that hides parts of its own /proc is no obstacle); no shell, no /etc but the linker's
cache, and of /dev only the four sources of nothing and of randomness.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

PROGRAM: Final = "bwrap"
INPUTS: Final = Path("/in")
SCRATCH: Final = Path("/scratch")
_DEVICES: Final = ("null", "zero", "random", "urandom")
_SYSTEM: Final = (
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/etc/ld.so.cache",
    "/usr/share/zoneinfo",
)
_NOBODY: Final = "65534"


@dataclass(frozen=True, slots=True)
class Root:
    """What of the system a process inside sees, where it is outside too.

    Attributes:
        paths: Real ones, read-only, none below another.
        links: Symbolic links, and where each leads.
    """

    paths: Sequence[Path]
    links: Mapping[Path, str]


def find() -> Path | None:
    """Return the program, if it is installed where only root can have put it."""
    found = shutil.which(PROGRAM, path="/usr/local/bin:/usr/bin:/bin")
    return Path(found) if found else None


def code_paths() -> list[Path]:
    """Return what a worker needs to run our code: interpreter, libraries, packages of ours.

    Paths are real ones, and none lies below another. Of a checkout only its two packages are in it.
    """
    here = Path(__file__).resolve().parents[1]
    wanted = [
        *system_paths(),
        Path(sys.executable).resolve(),
        Path(sys.base_prefix) / "lib",
        Path(sysconfig.get_path("stdlib")),
        Path(sys.prefix) / "lib",
        Path(sys.prefix) / "pyvenv.cfg",
        here / "fusion",
        here / "sandbox",
    ]
    return topmost(wanted)


def topmost(wanted: Iterable[Path]) -> list[Path]:
    """Return the paths that are there and no symbolic links, but for those below another."""
    kept: list[Path] = []
    for path in sorted({path for path in wanted if path.exists() and not path.is_symlink()}):
        if not any(path.is_relative_to(other) for other in kept):
            kept.append(path)
    return kept


def system_paths() -> list[Path]:
    """Return the libraries of the system."""
    return [Path(name) for name in _SYSTEM]


def links() -> dict[Path, str]:
    """Return the symbolic links that a worker's root needs, and where each leads."""
    own = Path(sys.prefix) / "bin"
    wanted = [Path("/lib"), Path("/lib64"), *sorted(own.glob("python*"))]
    return {path: str(path.readlink()) for path in wanted if path.is_symlink()}


def input_path(name: str, path: Path) -> Path:
    """Return where an input lies inside: under its name, with its file's suffix."""
    return INPUTS / (name if name.endswith(path.suffix) else f"{name}{path.suffix}")


def command(
    program: Path,
    inputs: Mapping[str, Path],
    environment: Mapping[str, str],
    worker: Sequence[str],
    *,
    scratch: Path | None,
    filter_fd: int,
    info_fd: int,
    root: Root | None = None,
) -> list[str]:
    """Return the words that start a worker.

    Args:
        program: bubblewrap itself.
        inputs: Real paths, by name.
        environment: All that the worker has.
        worker: The command inside.
        scratch: Mounted read-write as /scratch.
        filter_fd: Holds the filter of system calls.
        info_fd: Takes a JSON document with the id of the first process inside.
        root: What of the system it sees; what our own code needs, unless it is another's.
    """
    root = root or Root(code_paths(), links())
    words = [str(program), "--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc"]
    words += ["--unshare-uts", "--unshare-cgroup-try"]
    words += ["--die-with-parent", "--new-session", "--cap-drop", "ALL", "--clearenv"]
    words += ["--hostname", "worker", "--uid", _NOBODY, "--gid", _NOBODY]
    for name, value in environment.items():
        words += ["--setenv", name, value]
    for path in root.paths:
        words += ["--ro-bind", str(path), str(path)]
    for link, target in root.links.items():
        words += ["--symlink", target, str(link)]
    for device in _DEVICES:
        words += ["--dev-bind", f"/dev/{device}", f"/dev/{device}"]
    for name, path in inputs.items():
        words += ["--ro-bind", str(path), str(input_path(name, path))]
    words += ["--dir", str(INPUTS), "--dir", "/proc"]
    words += ["--bind", str(scratch), str(SCRATCH)] if scratch else ["--dir", str(SCRATCH)]
    words += ["--remount-ro", "/", "--chdir", str(SCRATCH)]
    words += ["--seccomp", str(filter_fd), "--info-fd", str(info_fd), "--"]
    return [*words, *worker]


def is_setuid(program: Path) -> bool:
    """Whether the program would run as root; then it can't be used (no new privileges)."""
    return bool(os.stat(program).st_mode & stat.S_ISUID)  # noqa: PTH116 - as in stat(2)
