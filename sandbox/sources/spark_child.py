"""The process that holds a Spark session for a revision, started by :mod:`sandbox.kept_child`.

The tables are opened once: which files they have is settled then, and Spark fails where one of them
is gone. Each request is a job group of its own.
"""

from __future__ import annotations

import base64
import json
import resource
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from fusion.wire.limits import MEBI
from sandbox import spark
from sandbox.kept_server import end, serve

MAX_MEMORY_BYTES: Final = 2048 * MEBI
"""Address space of this process beyond what its imports take; Java's is Java's own setting."""


class Session:
    """:class:`sandbox.kept_server.Engine` on Spark."""

    def __init__(self, opening: bytes) -> None:
        """Start the session that the node's :class:`sandbox.sources.spark.Spark` asks for."""
        asked = json.loads(opening)
        # Kept, or its end would be the session's.
        self._stack = ExitStack()
        made = self._stack.enter_context(spark.session(master=asked["master"]))
        self._context: Any = made.sparkContext
        java = self._context._gateway.proc  # noqa: SLF001 - the one who knows Java's process
        threading.Thread(target=_end_with, args=(java,), daemon=True).start()
        self._tables = {name: Path(path) for name, path in asked["tables"].items()}
        self._own = spark.opened(made, self._tables)
        # Not before Java was started, which would have it too.
        own = int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()
        most = own + MAX_MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (most, most))

    def work(self, number: int, request: bytes) -> bytes:
        """Do what is asked; each of the server's threads has its own job group in Java."""
        asked = json.loads(request)
        try:
            self._context.setJobGroup(_group(number), "banyan", interruptOnCancel=True)
            # A pool of its own among equals: its tasks do not stand in front of another caller's.
            self._context.setLocalProperty("spark.scheduler.pool", asked.get("caller") or "node")
            if "digests" in asked:
                return json.dumps(spark.digests_of(self._own, sorted(self._tables))).encode()
            return spark.cells_and_sets(self._own, base64.b64decode(asked["cores"]), asked["sets"])
        except Exception:
            if self._context._jsc is None or self._context._jsc.sc().isStopped():  # noqa: SLF001
                end()  # the cluster is gone: the next process asks it again
            raise

    def cancel(self, number: int) -> None:
        """Cancel the jobs of a request."""
        self._context.cancelJobGroup(_group(number))


def _group(number: int) -> str:
    return f"banyan-{number}"


def _end_with(java: Any) -> None:  # noqa: ANN401 - a process
    java.wait()
    end()


if __name__ == "__main__":
    serve(Session)
