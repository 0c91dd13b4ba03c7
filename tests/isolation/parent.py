"""A node with one worker at work and one idle, for a test to kill: ``python -m ... KIND``."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, cast

from sandbox.isolate import Isolation, Settings
from sandbox.limits import Limits
from tests.isolation.test_isolate import PROBE, PYTHON, script

if TYPE_CHECKING:
    from sandbox.process import Kind


def main() -> None:
    """Say when the worker is at work, and wait."""
    isolation = Isolation.open(Settings(kind=cast("Kind", sys.argv[1])))
    limits = Limits(wall_seconds=600, cpu_seconds=600)
    text = script("import time; time.sleep(500)")
    threading.Thread(target=isolation.run, args=(PYTHON, text, {}, limits)).start()
    isolation.prepare(PROBE, {}, limits)
    sys.stdin.read()


if __name__ == "__main__":
    main()
