"""Examines the machine: Python, packages, the engine of the encryption, processors."""

from __future__ import annotations

import importlib.metadata
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fusion.crypto.paillier.engines import selection
from fusion.errors import FusionError
from fusion.services.findings import Finding, ok, problem, warning

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from fusion.engine_ports import IsolationDiagnosis

DISTRIBUTION: Final = "banyan-fusion"
OLDEST: Final = (3, 11)
TESTED: Final = (3, 11)

_REINSTALL: Final = "Install what requirements.lock names: ./dev setup, or as docs/deploy.md says."
_REQUIREMENT: Final = re.compile(r"([A-Za-z0-9._-]+)\s*([^;]*)(;.*)?")
_BOUND: Final = re.compile(r"(>=|<)\s*(\d+(?:\.\d+)*)")
_RELEASE: Final = re.compile(r"\d+(?:\.\d+)*")
_CGROUP: Final = Path("/sys/fs/cgroup/cpu.max")


def machine_findings() -> list[Finding]:
    """Examine this machine and this environment."""
    return [
        python_finding(sys.version_info[:2]),
        *_own_packages(),
        engine_finding(os.environ),
        threads_finding(len(os.sched_getaffinity(0)), _quota()),
    ]


def python_finding(version: tuple[int, int]) -> Finding:
    """Judge a version of Python."""
    words = ".".join(map(str, version))
    oldest, tested = (".".join(map(str, v)) for v in (OLDEST, TESTED))
    if version < OLDEST:
        return problem("python", f"Python {words}: {oldest} or newer is needed.", _REINSTALL)
    if version > TESTED:
        return warning(
            "python", f"Python {words}: tests run with {tested}.", f"Use Python {tested}."
        )
    return ok("python", f"Python {words}")


def _own_packages() -> list[Finding]:
    try:
        required = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return [problem("packages", f"{DISTRIBUTION} is not installed.", _REINSTALL)]
    return package_findings(required, _installed)


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def package_findings(
    required: Iterable[str], installed: Callable[[str], str | None]
) -> list[Finding]:
    """Compare installed packages with what is declared.

    Args:
        required: Requirements as a wheel's metadata has them, such as ``flwr<1.42,>=1.41``.
        installed: Version of a package, or None.
    """
    wrong = []
    good = 0
    for name, bounds in _requirements(required):
        version = installed(name)
        if version is None:
            wrong.append(problem("packages", f"{name} is not installed.", _REINSTALL))
        elif not _within(version, bounds):
            msg = f"{name} {version} is installed; {bounds} is needed."
            wrong.append(problem("packages", msg, _REINSTALL))
        else:
            good += 1
    return wrong or [ok("packages", f"{good} packages within their declared ranges")]


def _requirements(required: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield name and version range of what is needed unconditionally."""
    for text in required:
        found = _REQUIREMENT.fullmatch(text.strip())
        if found is not None and not found[3]:
            yield found[1], found[2].strip()


def _within(version: str, bounds: str) -> bool:
    """Whether a release lies in a range of ``>=`` and ``<``, the only ones that we declare."""
    release = _numbers(version)
    for sign, bound in _BOUND.findall(bounds):
        limit = _numbers(bound)
        if (release < limit) if sign == ">=" else (release >= limit):
            return False
    return True


def _numbers(version: str) -> tuple[int, ...]:
    found = _RELEASE.match(version)
    numbers = [int(part) for part in found[0].split(".")] if found else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def engine_finding(environment: Mapping[str, str]) -> Finding:
    """Say which engine encrypts, and why; executable memory is among its reasons."""
    wanted = environment.get(selection.VARIABLE, "")
    try:
        choice = selection.choice()
    except FusionError as error:
        todo = error.hint or f"Unset {selection.VARIABLE}."
        return problem("engine", error.message, todo)
    name = choice.engine.name
    if wanted and wanted != name:
        msg = f"{selection.VARIABLE} asks for {wanted}; {name} runs: {choice.reason}"
        return warning("engine", msg, f"Unset {selection.VARIABLE}, or name an engine that runs.")
    return ok("engine", f"{name}: {choice.reason}")


def threads_finding(processors: int, quota: float | None) -> Finding:
    """Judge how many processors this process may use.

    Args:
        processors: That the system lets it run on.
        quota: Processors' worth of time that its control group has, if that is bounded.
    """
    usable = processors if quota is None else min(processors, quota)
    words = f"{usable:g} processor{'' if usable == 1 else 's'} to use"
    if usable < 2:  # what docs/deploy.md asks for
        todo = "Give the machine or the container two; rounds take longer than need be."
        return warning("threads", words, todo)
    return ok("threads", words)


def isolation_finding(diagnosis: IsolationDiagnosis, account: str) -> Finding:
    """Say whether queries and Python jobs could run here, and in which isolation.

    Args:
        diagnosis: Tries it.
        account: Whom workers run as where this process is root.
    """
    works, message, todo = diagnosis.examine(account)
    if not works:
        # Training needs none of it.
        msg = f"Queries and Python jobs would be refused: {message}."
        return warning("isolation", msg, todo)
    return Finding("isolation", "warning" if todo else "ok", message, todo)


def _quota() -> float | None:
    try:
        limit, period = _CGROUP.read_text("ascii").split()
        return int(limit) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None  # no control group, or "max"
