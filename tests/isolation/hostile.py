"""Runs a script of the corpus and judges what came of it."""

from __future__ import annotations

import platform
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from fusion.errors import WorkFailed
from fusion.grants.python_job import Column
from sandbox.isolate import Isolation, Settings
from sandbox.jobs import Job, run_job
from sandbox.limits import KILL_SECONDS, Limits
from tests.isolation.conftest import Scene, needs
from tests.isolation.host import host_state, workers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandbox.process import Kind

CORPUS: Final = Path(__file__).parents[1] / "corpora" / "python"
SCRIPTS: Final = sorted(CORPUS.glob("*.py.txt"), key=lambda path: int(path.name.split("_")[0]))
LIMITS: Final = Limits(
    wall_seconds=0.6,
    cpu_seconds=2,
    memory_bytes=256 << 20,
    scratch_bytes=8 << 20,
    scratch_files=64,
    output_bytes=1 << 20,
)
_TRIES: Final = 5
"""A script that outlives its time does so each time; a machine busy with others does not."""
_BAD: Final = re.compile(r"ESCAPED|REACHED|MADE|SENT|a-secret-of-the-node|[\[']([RW] /proc)")


def opened(kind: Kind) -> Iterator[Isolation]:
    """One isolation for a file of tests."""
    needs(kind)
    with Isolation.open(Settings(kind=kind, running=1, spares=1)) as isolation:
        yield isolation


def judge(isolation: Isolation, scene: Scene, path: Path) -> None:
    """Run a script: nothing reached, nothing changed, nothing left, in time."""
    text = path.read_text("utf-8")
    if "syscall(" in text and platform.machine() != "x86_64":
        pytest.skip("its numbers of system calls are those of x86-64")
    if isolation.kind == "landlock":
        # Inputs are where they are; there is no other root.
        for name, place in scene.inputs.items():
            text = text.replace(f"/in/{place.name}", str(place)).replace(f"/in/{name}", str(place))
    job = Job(script=text, columns=(Column(name="n", kind="integer"),))
    for left in reversed(range(_TRIES)):
        before = host_state(scene.inputs.values(), [scene.victim])
        log, seconds = run_and_time(isolation, scene, job)
        assert host_state(scene.inputs.values(), [scene.victim]) == before
        found = _BAD.search(log)
        assert found is None, log[-2000:]
        # Two idle ones, three processes each under bubblewrap; none that was used.
        assert len(workers()) <= 6
        if seconds <= LIMITS.wall_seconds + KILL_SECONDS:
            break
        assert left, f"{seconds} s"


def run_and_time(isolation: Isolation, scene: Scene, job: Job) -> tuple[str, float]:
    """Return what the owner's log has of a job, and for how long its worker had the request."""
    isolation.prepare("sandbox.python_job:execute", scene.inputs, LIMITS)
    began = time.monotonic()
    try:
        run_job(isolation, job, scene.inputs, LIMITS)
    except WorkFailed as failed:
        found = re.search(r"after ([\d.]+) s", failed.details)
        return failed.details, float(found[1]) if found else 0.0
    return "", time.monotonic() - began
