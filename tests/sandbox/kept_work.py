"""Work for ``tests/sandbox/test_kept_child.py``, in the process that is kept."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from sandbox.kept_server import end, serve


class Engine:
    """Answers, waits, hangs or dies, as it is asked."""

    def __init__(self, opening: bytes) -> None:
        """Open; ``late`` waits for a file with the name behind it, ``never`` fails."""
        if opening.startswith(b"late "):
            while not Path(opening[5:].decode()).exists():
                time.sleep(0.05)
        if opening == b"never":
            message = "there is no such engine"
            raise OSError(message)
        self._cancelled: dict[int, threading.Event] = {}

    def work(self, number: int, request: bytes) -> bytes:
        """Do one thing."""
        cancelled = self._cancelled.setdefault(number, threading.Event())
        match request:
            case b"wait":
                cancelled.wait(60)
                message = "cancelled"
                raise RuntimeError(message)
            case b"hang":
                time.sleep(60)
            case b"die":
                os._exit(9)
            case b"end":
                end()
            case b"fail":
                message = "the reason"
                raise ValueError(message)
            case b"start":
                words = [sys.executable, "-c", "import time; time.sleep(60)"]
                os.write(1, b"what is said beside the frames is in nobody's way\n")
                return str(subprocess.Popen(words).pid).encode()
            case _:
                pass
        return request[::-1]

    def cancel(self, number: int) -> None:
        """End what waits."""
        self._cancelled.setdefault(number, threading.Event()).set()


if __name__ == "__main__":
    serve(Engine)
