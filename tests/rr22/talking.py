"""Two parties of RR22 with confined processes, over a network in memory."""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fusion.alignment.rr22 import Rr22Session
from fusion.alignment.rr22_talker import Rr22Talker
from fusion.engine_ports import Rr22Task
from sandbox import service_user
from sandbox.rr22.confined import start
from tests.alignment.parties import BANK, GOV, terms
from tests.conversing.parties import talking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from sandbox.rr22.confined import Confined
    from tests.conversing.network import Network

NAMES = (GOV, BANK)
"""The first learns."""


@dataclass
class Run:
    """Both sides, which have not begun."""

    network: Network
    sessions: dict[str, Rr22Session]
    processes: dict[str, Confined]
    talkers: dict[str, Rr22Talker] = field(default_factory=dict)

    def kill(self, name: str) -> None:
        """Kill a party's process, from outside."""
        worker = self.processes[name]._worker
        worker._find_first()
        signal.pidfd_send_signal(worker.first, signal.SIGKILL)

    def end(self, seconds: float = 60.0) -> dict[str, BaseException | None]:
        """Carry it to its end; return the error of each side."""
        waiting = {}
        for name in sorted(NAMES):
            waiting[name] = talking(self.network.join(name), self.talkers[name])
            self.talkers[name].wake = waiting[name].talk.wake
        return {name: each.end(seconds) for name, each in waiting.items()}


@contextlib.contextmanager
def running(
    network: Network,
    python: Path,
    keys: Mapping[str, Sequence[str]],
    outcome: str = "both",
    on_hello: Callable[[Run, str], None] = lambda *_: None,
    **more: int,
) -> Iterator[Run]:
    """Processes that are ready; gone at the end."""
    agreed = terms(outcome, **{"set_size": 3_000_000, "chunk": 4096, **more})
    with contextlib.ExitStack() as stack:
        run = Run(network, {}, {})
        for rank, name in enumerate(NAMES):
            session = Rr22Session(agreed, name, keys[name], os.urandom(32))
            task = Rr22Task(rank, session.peer, session.items(), agreed.set_size + 1)
            process = start(python, task, service_user.DEFAULT)
            stack.callback(process.close)
            run.sessions[name], run.processes[name] = session, process
            run.talkers[name] = Rr22Talker(
                session,
                process,
                lambda name=name: on_hello(run, name),  # type: ignore[misc]
            )
        for process in run.processes.values():
            process.wait_ready()
        yield run
