"""Inputs that a worker may read, a secret beside them, and a process for it to harm."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet
import pytest

from sandbox import choice, service_user
from sandbox.isolate import Isolation, Settings
from tests.isolation import host

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandbox.process import Kind


@dataclass(frozen=True)
class Scene:
    """What is there for a script.

    Attributes:
        inputs: Its inputs.
        victim: A process of the user that workers are.
    """

    inputs: dict[str, Path]
    victim: int


@pytest.fixture(autouse=True)
def _own_workers() -> None:
    host.begin()


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    """The inputs, another owner's file in the same folder, a victim and a socket to call."""
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setenv("NODE_SECRET", "a-secret-of-the-node")
        # Outside of pytest's folder, which lets no other user pass.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="banyan-scene-")))
        folder.chmod(0o755)
        data = folder / "data.parquet"
        rows = {"person": list(range(100)), "duration_min": [7 * n % 90 for n in range(100)]}
        pyarrow.parquet.write_table(pa.table(rows), data)
        (folder / "other.parquet").write_bytes(b"ROWS-OF-ANOTHER-OWNER")
        victim = subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(1000)"],
        )
        stack.callback(victim.wait)
        stack.callback(victim.kill)
        told = folder / "victim"
        told.write_text(str(victim.pid), "ascii")
        for path in folder.iterdir():
            path.chmod(0o644)
        _listen(stack)
        yield Scene({"data": data, "victim": told}, victim.pid)


def _listen(stack: ExitStack) -> None:
    called = stack.enter_context(socket.socket(socket.AF_UNIX))
    try:
        called.bind("\0sbx-abstract")
        called.listen()
    except OSError:
        pass  # another session of tests has it


def needs(kind: Kind) -> None:
    """Skip the test where this machine has no such isolation, and say why."""
    verdict = choice.examine(kind, service_user.DEFAULT)
    if verdict.reason:
        pytest.skip(f"{kind} does not work here: {verdict.reason}; {choice.INSTALL}")


@pytest.fixture(params=choice.KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each isolation that this machine has."""
    found: Kind = request.param
    needs(found)
    return found


@pytest.fixture
def isolation(kind: Kind) -> Iterator[Isolation]:
    """One of each kind; it keeps no worker ready, since a test seldom asks twice."""
    with Isolation.open(Settings(kind=kind, spares=0)) as opened:
        yield opened
