"""Which isolation this machine offers, found out by running a probe in it."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from fusion.errors import FusionError, IsolationUnavailable, MessageInvalid
from fusion.wire import canonical
from sandbox import bubblewrap, landlock, service_user
from sandbox.limits import Limits
from sandbox.process import Kind, Plan, Result, start

KINDS: Final[tuple[Kind, ...]] = ("bubblewrap", "landlock")
"""Better first: Landlock leaves file names, sizes and the host's name to be seen."""

INSTALL_BETTER: Final = (
    "Install bubblewrap (apt-get install bubblewrap) and let ordinary users make user namespaces; "
    "see docs/deploy.md."
)
INSTALL: Final = f"{INSTALL_BETTER} Or run a kernel 6.2 or newer with Landlock switched on."
_PER_NAMESPACE: Final = (5, 14)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether one isolation works here.

    Attributes:
        reason: Why not; empty if it does.
        doors: How many doors were tried and found shut.
    """

    reason: str
    doors: int = 0


def choose(kind: Kind | None, account: str) -> Kind:
    """Return the best isolation that works here.

    Args:
        kind: Consider only this one.
        account: Whom workers run as where this process is root.

    Raises:
        IsolationUnavailable: None does; the message says why not, for each.
    """
    reasons = []
    for candidate in KINDS if kind is None else (kind,):
        verdict = examine(candidate, account)
        if not verdict.reason:
            return candidate
        reasons.append(f"{candidate}: {verdict.reason}")
    msg = f"Untrusted work is not run: nothing here confines it ({'; '.join(reasons)})."
    raise IsolationUnavailable(msg, hint=INSTALL)


@cache
def examine(kind: Kind, account: str) -> Verdict:
    """Run a probe in an isolation; once a process, since a machine does not change under it."""
    reason = _missing(kind)
    if reason:
        return Verdict(reason)
    try:
        user = service_user.resolve(account)
    except FusionError as error:
        return Verdict(error.message)
    with tempfile.TemporaryDirectory(prefix="banyan-probe-") as folder:
        return _judge(_probe(kind, user, Path(folder)))


def _missing(kind: Kind) -> str:
    if kind == "landlock":
        found = landlock.version()
        too_old = f"the kernel's interface is {found}, {landlock.NEEDED} is needed"
        return too_old if found < landlock.NEEDED else ""
    program = bubblewrap.find()
    if program is None:
        return f"{bubblewrap.PROGRAM} is not installed"
    return ""


def _probe(kind: Kind, user: tuple[int, int] | None, folder: Path) -> Result:
    folder.chmod(0o711)
    mount_point = folder / "scratch"
    mount_point.mkdir(mode=0o711)
    sample = folder / "sample.txt"
    sample.write_text("sample", "ascii")
    sample.chmod(0o644)
    program = bubblewrap.find() if kind == "bubblewrap" else None
    needed = [*bubblewrap.code_paths(), sample, mount_point]
    plan = Plan(
        kind=kind,
        entry="sandbox.probe:execute",
        inputs={"sample": sample},
        user=user,
        covers={} if user is None else service_user.covers(needed, user),
        scratch=(1 << 20, 16) if kind == "bubblewrap" else None,
        mount_point=mount_point,
    )
    limits = Limits(wall_seconds=10, cpu_seconds=10, scratch_bytes=(1 << 20) if plan.scratch else 0)
    others = tasks_beside(kind, user, 32)
    return start(plan, program).exchange(b"sample", limits, others=others, stop=None)


def _judge(result: Result) -> Verdict:
    if result.ending != "done":
        lines = result.log.decode("utf-8", "replace").strip().splitlines()
        said = lines[-1] if lines else f"exit code {result.code}"
        return Verdict(f"a worker did not run ({said})")
    try:
        told = canonical.decode(result.answer)
    except MessageInvalid as error:
        return Verdict(f"a worker answered nonsense ({error})")
    if told["open"]:
        return Verdict(f"not tight: {', '.join(told['open'])}")
    return Verdict("", len(told["shut"]))


def tasks_beside(kind: Kind, user: tuple[int, int] | None, crowd: int) -> int:
    """Return how many threads count against a worker's limit that are not its own.

    RLIMIT_NPROC is of a user, not of a process (getrlimit(2)); in a user namespace it is of the
    user there, since Linux 5.14.

    Args:
        kind: Of isolation.
        user: Whom workers run as, None for this process's user.
        crowd: What the other workers may have.
    """
    release = tuple(int(part) for part in os.uname().release.split(".")[:2])
    if kind == "bubblewrap" and release >= _PER_NAMESPACE:
        return 0
    uid = os.getuid() if user is None else user[0]
    with os.scandir("/proc") as entries:
        processes = [entry for entry in entries if entry.name.isdigit()]
    return crowd + sum(_threads(entry, uid) for entry in processes)


def _threads(entry: os.DirEntry[str], uid: int) -> int:
    try:
        if entry.stat().st_uid != uid:
            return 0
        return len(os.listdir(f"{entry.path}/task"))  # noqa: PTH208 - of many, often
    except OSError:
        return 0  # it ended
