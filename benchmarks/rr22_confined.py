"""RR22 as alignments use it: two confined processes, links carried by frames, every message made.

``python -m benchmarks.alignment --spu PYTHON`` has a row of it beside spu by itself. CPU is that of
this process and of all in the two sandboxes, read from /proc before they are killed.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fusion.alignment.rr22 import Rr22Session
from fusion.alignment.rr22_talker import Rr22Talker
from fusion.alignment.terms import Terms, field_of
from fusion.engine_ports import Rr22Task
from sandbox import service_user
from sandbox.rr22.confined import start

if TYPE_CHECKING:
    from sandbox.rr22.confined import Confined

PARTIES: Final = ("first", "second")
_TICK: Final = os.sysconf("SC_CLK_TCK")


def psi(python: str, items: int) -> dict[str, Any]:
    """Measure an alignment with outcome ``one``, half of both sets in common.

    Raises:
        FusionError: It does not run here.
        ChildProcessError: Its intersection is wrong.
    """
    terms = Terms(
        field=field_of("federation", "job-1", "ID", "text"),
        parties=PARTIES, outcome="one", set_size=items,
    )  # fmt: skip
    keys = [
        [f"99000019{at:010d}" for at in range(first, first + items)] for first in (0, items // 2)
    ]
    wall, own = time.perf_counter(), time.process_time()
    bell = threading.Event()
    sessions, processes, talkers = [], [], []
    try:
        for rank, name in enumerate(PARTIES):
            session = Rr22Session(terms, name, keys[rank], os.urandom(32))
            task = Rr22Task(rank, session.peer, session.items(), items + 1)
            processes.append(start(Path(python), task, service_user.DEFAULT))
            talkers.append(Rr22Talker(session, processes[-1], lambda: None))
            talkers[-1].wake = bell.set
            sessions.append(session)
        for process in processes:
            process.wait_ready()
        sent = _carried(talkers, bell)
        cpu = sum(map(_cpu, processes)) + time.process_time() - own
    finally:
        for process in processes:
            process.close()
    found = sessions[0].outcome()
    if found is None or found.size != items - items // 2:
        raise ChildProcessError("The intersection by RR22 is wrong.")
    return {
        "system": "banyan",
        "engine": "rr22, confined",
        "cpu_s": round(cpu, 3),
        "wall_s": round(time.perf_counter() - wall, 3),
        "us_an_item": round(1e6 * cpu / items, 1),
        "bytes_an_item": round(sent / items, 1),
        "steps_us": {},
    }


def _carried(talkers: list[Rr22Talker], bell: threading.Event) -> int:
    """Carry all messages; return their bytes."""
    sent = 0
    while not all(talker.over for talker in talkers):
        bell.clear()
        moved = False
        for at, talker in enumerate(talkers):
            other = talkers[1 - at]
            while (number := other.taken("")) < talker.ready(""):
                data = talker.message("", number)
                other.take("", data)
                talker.forget("", number + 1)
                sent += len(data)
                moved = True
        if not moved:
            bell.wait(0.05)
    return sent


def _cpu(process: Confined) -> float:
    """Return seconds of processor time of a process and all below it, those that ended too."""
    parents: dict[int, int] = {}
    times: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text("ascii", "replace").rpartition(") ")[2].split()
        except OSError:
            continue
        pid = int(path.parent.name)
        parents[pid] = int(fields[1])
        times[pid] = sum(map(int, fields[11:15]))
    below = {process.pid}
    while more := {pid for pid, parent in parents.items() if parent in below} - below:
        below |= more
    return sum(times.get(pid, 0) for pid in below) / _TICK
