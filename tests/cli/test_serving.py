"""A service stops in order when it is told to, and its exit code says how."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import os, signal
from fusion.cli.serving import serve

def service(stop):
    os.kill(os.getpid(), signal.{name})
    assert stop.wait(30)
    return {code}

raise SystemExit(serve(service))
"""


@pytest.mark.parametrize(
    ("name", "code", "expected"), [("SIGTERM", 0, 0), ("SIGTERM", 6, 6), ("SIGINT", 0, 130)]
)
def test_a_signal_stops_the_service(name: str, code: int, expected: int) -> None:
    script = SCRIPT.format(name=name, code=code)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == expected, done.stderr
    assert b"Traceback" not in done.stderr


def test_a_second_signal_ends_a_service_that_hangs() -> None:
    script = SCRIPT.format(name="SIGTERM", code=0).replace(
        "assert stop.wait(30)", "os.kill(os.getpid(), signal.SIGTERM); stop.wait(30); stop.clear()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == -15
