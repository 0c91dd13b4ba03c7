"""The dealer of a study, at the hub's port: a peer of conversations that is sent seeds and sizes.

The run's own process (Flower's ServerApp) writes down what is to be dealt; the process that serves
the port, which parties reach, deals. It knows who takes part, how many rows and columns, and the
attempt; no row, no column, no label.
"""

from __future__ import annotations

import json
import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from federated.job_files import Begun, Dealing, read_job_file
from federated.jobs import OPEN, jobs_of
from federated.protocols.vertical.linear_dealing import LinearDealer
from federated.protocols.vertical.outbox import MachineTalker
from federated.vertical.attempts import patience_of
from federated.vertical.study import parse_vertical
from federated.vertical.work import DEALER, dealer_of
from fusion.errors import FusionError
from fusion.services.files import write_atomic

if TYPE_CHECKING:
    from federated.jobs import JobFolder
    from fusion.services.conversing import Conversations, Talk
    from fusion.services.homes import HubHome

_LOG: Final = logging.getLogger("banyan.dealing")
_FILE: Final = "dealing.json"
_BEGUN: Final = "dealing-begun.json"
_FILES: Final[dict[str, type[Dealing | Begun]]] = {_FILE: Dealing, _BEGUN: Begun}


def ask_to_deal(job: JobFolder, attempt: int, rows: int, step: int) -> None:
    """Write down that an attempt needs its dealer; asked again for the same, nothing changes.

    Args:
        job: The run.
        attempt: The attempt.
        rows: How many train.
        step: From which it begins.
    """
    file = job.path / _FILE
    if is_asked(job, attempt):
        return
    asked = {"attempt": attempt, "rows": rows, "step": step}
    write_atomic(file, json.dumps(asked).encode())


def is_asked(job: JobFolder, attempt: int) -> bool:
    """Return whether the dealer of an attempt was asked for.

    Raises:
        EnvironmentUnfit: What is written down of it is damaged.
    """
    return _number(job, _FILE) == attempt


def _number(job: JobFolder, file: str) -> int:
    """Return the attempt that a file of a job is about; 0 without one.

    Raises:
        EnvironmentUnfit: It is damaged: whether something was dealt is not known.
    """
    found = read_job_file(job.path / file, _FILES[file])
    return 0 if found is None else found.attempt


@dataclass(slots=True)
class _Dealing:
    """A dealer at work, or one that could not be made."""

    attempt: int
    stop: threading.Event


class Dealers:
    """The dealers of all runs of a hub."""

    def __init__(self, hub: HubHome, conversations: Conversations) -> None:
        """Begin with none."""
        self._hub, self._conversations = hub, conversations
        self._work: dict[str, _Dealing] = {}
        self._failing: dict[str, str] = {}

    def look(self) -> None:
        """Begin what was asked for, end what is over; a job whose files are damaged stands."""
        for job in jobs_of(self._hub.runs):
            try:
                self._tend(job)
            except FusionError as error:
                if self._failing.get(job.name) != str(error):
                    _LOG.warning("nothing is dealt for %s: %s", job.name, error)
                self._failing[job.name] = str(error)

    def _tend(self, job: JobFolder) -> None:
        """Begin what was asked for a job, end what is over.

        Raises:
            FusionError: It can't be dealt for; it ends its own run, whose parties wait in vain.
        """
        state = job.state()
        if state["kind"] != "vertical":
            return
        now = self._work.get(job.name)
        if state["status"] not in OPEN:
            if now is not None:
                now.stop.set()
                del self._work[job.name]
            return
        asked = read_job_file(job.path / _FILE, Dealing)
        if asked is not None and (now is None or now.attempt < asked.attempt):
            if now is not None:
                now.stop.set()
            stop = threading.Event()
            self._work[job.name] = _Dealing(asked.attempt, stop)
            self._begin(job, asked, stop)

    def close(self) -> None:
        """End all."""
        for each in self._work.values():
            each.stop.set()

    def _begin(self, job: JobFolder, asked: Dealing, stop: threading.Event) -> None:
        study = parse_vertical(job.study.read_text("utf-8"), job.origin)
        cast, attempt = study.cast, asked.attempt
        peers = cast.peers(DEALER, linear=True)
        if _number(job, _BEGUN) >= attempt:
            # By a process that is gone, and with it all that was dealt: parties begin another.
            self._conversations.lost(f"{job.name}.train", attempt, peers)
            return
        machine = dealer_of(cast, study.model, asked.rows, asked.step)
        write_atomic(job.path / _BEGUN, json.dumps({"attempt": attempt}).encode())
        opening = machine.start() if isinstance(machine, LinearDealer) else []
        talk = self._conversations.open(
            f"{job.name}.train",
            attempt,
            MachineTalker(machine, peers, opening, lambda: machine.done),
            patience=patience_of(study),
            check=lambda: None,
        )
        name = f"dealer {job.name}"
        threading.Thread(
            target=self._wait, args=(job.name, talk, stop), name=name, daemon=True
        ).start()

    def _wait(self, job: str, talk: Talk, stop: threading.Event) -> None:
        try:
            talk.wait(stop)
        except FusionError as error:
            # Parties that took part see the same, and say so to the run.
            _LOG.info("dealing for %s ended: %s", job, error)
