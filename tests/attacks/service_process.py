"""An owner's service with eight analysts, killed at any moment, started again by its parent.

``python -m tests.attacks.service_process HOME OUT KILLS MILLISECONDS`` forks a process for each
turn: it opens the service on the owner's folder, and eight threads ask until the budget is spent.
Each answer is appended to ``OUT`` once it is given. All turns but the last end with kill -9, some
milliseconds after the service is open.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final

import numpy as np

import sandbox.service
from fusion.crypto import rng
from fusion.services.homes import NodeHome
from fusion.services.query_messages import Asked, reply_of, to_bytes
from tests.attacks.pipeline import InProcess
from tests.queries.world import ANALYST, PURPOSE

DATASET: Final = "persons"
ANALYSTS: Final = 8


class _Here(InProcess):
    """In place of workers, which are not what is killed here."""

    @classmethod
    def open(cls, *_: object) -> _Here:
        """Return it."""
        return cls()

    def stand_by(self, *_: object) -> None:
        """Nothing has to be started."""

    def replenish(self, *_: object) -> None:
        """Nothing is used up."""

    def close(self) -> None:
        """Nothing is open."""


TOTAL = "select count(*) as n, avg(income) as m from persons"


def statement(draw: np.random.Generator) -> str:
    """Return a question about some people; many of them are near others."""
    low, region = int(draw.integers(20, 60)), ("north", "south", "east", "west")[draw.integers(4)]
    where = f"region = '{region}' and age between {low} and {low + int(draw.integers(10, 40))}"
    return f"select count(*) as n, avg(income) as m from persons where {where}"  # noqa: S608


def _analyst(service: sandbox.service.Service, seed: int, out: int) -> None:
    draw = np.random.default_rng(seed)
    asked = TOTAL
    while True:
        message = Asked(
            kind="query", dataset=DATASET, statement=asked, purpose=PURPOSE, rows=1, seconds=60
        )
        data = service.reply(ANALYST, to_bytes(message), threading.Event())
        reply = reply_of(data)
        said: dict[str, Any] = {"statement": asked, "digest": hashlib.sha256(data).hexdigest()}
        if reply.table is not None:
            said["rows"] = reply.table.rows
        else:
            assert reply.refusal is not None
            said["refused"] = reply.refusal.code
        # One write of a line: appended whole, or not at all.
        os.write(out, f"{json.dumps(said)}\n".encode())
        if said.get("refused") == "G-31":
            return
        # Once the refusals of the month are used up, only what was released is charged and given.
        asked = TOTAL if said.get("refused") == "Q-28" else statement(draw)


def _serve(home: Path, out: Path, turn: int, ready: int) -> None:
    setattr(sandbox.service, "Isolation", _Here)  # noqa: B010 - it is no public name there
    service = sandbox.service.Service(NodeHome.open(home), lambda _: None)
    file = os.open(out, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    threads = [
        threading.Thread(target=_analyst, args=(service, 100 * turn + n, file))
        for n in range(ANALYSTS)
    ]
    os.write(ready, b"1")
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    service.close()


def main(home: Path, out: Path, kills: int, milliseconds: int) -> None:
    """Start, kill, start again."""
    status = 0
    for turn in range(kills + 1):
        reads, writes = os.pipe()
        child = os.fork()
        if child == 0:
            _serve(home, out, turn, writes)
            os._exit(0)
        os.close(writes)
        if os.read(reads, 1) and turn < kills:
            time.sleep(rng.below(milliseconds) / 1000)
            os.kill(child, signal.SIGKILL)
        os.close(reads)
        _, status = os.waitpid(child, 0)
    if status:
        sys.exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
