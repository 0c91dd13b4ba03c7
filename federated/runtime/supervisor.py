"""What ``fusion hub up`` keeps running: SuperLink, SuperExec, the one port, and the jobs.

Everything here dies with the hub's process and starts again from the hub's folder: a job whose
worker is gone is started again and goes on from its journal.
"""

from __future__ import annotations

import json
import os
import resource
import time
from typing import TYPE_CHECKING, Final

import httpx

from federated.evidence import log_end
from federated.jobs import JobFolder, jobs_of
from federated.runtime import contract
from federated.runtime.environment import HUB_VARIABLE
from federated.runtime.logs import log_to_stderr
from federated.runtime.superlink import Control, SuperLink, SuperLinkFiles
from federated.vertical.dealing import Dealers
from fusion.errors import FusionError
from fusion.identity.members import AUTHORITY
from fusion.link.bell import Bell
from fusion.link.loopback import free_port
from fusion.services.board import Board
from fusion.services.clock import SystemClock
from fusion.services.conversing import Conversations
from fusion.services.files import write_atomic
from fusion.services.hub import renew_certificates
from fusion.services.hub_port import port_of
from fusion.services.ledger import Book

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from fusion.services.homes import HubHome

LOOK_SECONDS: Final = 0.2
MAX_STARTS: Final = 6
"""Starts of one job before it is given up."""
MAX_FILES: Final = 65536
START_SECONDS: Final = 60.0
"""Time from starting a run to its worker holding the job's lock."""


def serve_hub(hub: HubHome, *, stop: threading.Event, say: Callable[[str], None]) -> None:
    """Serve a federation until ``stop``.

    Raises:
        EnvironmentUnfit: The hub is up already, a port is taken, or Flower does not start.
    """
    log_to_stderr()
    with hub.serving():
        _serve(hub, stop, say)


def _more_files() -> None:
    """Let this process have many files open: a connection is one, a stranger's, too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FILES if hard == resource.RLIM_INFINITY else min(MAX_FILES, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _serve(hub: HubHome, stop: threading.Event, say: Callable[[str], None]) -> None:
    _more_files()
    files = _superlink_files(hub)
    contract.check()
    renew_certificates(hub)
    board = Board(hub, say)
    superlink = SuperLink(files, {HUB_VARIABLE: str(hub.path.resolve())})
    conversations = Conversations(AUTHORITY)
    port = port_of(hub, files.port, conversations=conversations)
    dealers = Dealers(hub, conversations)
    try:
        # The port first: that it is taken is found out before Flower is started.
        hub.requests_bell.unlink(missing_ok=True)
        hub.replies_bell.unlink(missing_ok=True)
        hub.restarts_bell.unlink(missing_ok=True)
        port.start()
        superlink.start()
        jobs = _Jobs(hub, files, say)
        try:
            jobs.look()
            url = f"https://{hub.address.host}:{port.port}"
            write_atomic(hub.ready, json.dumps({"url": url, "pid": os.getpid()}).encode())
            say(f"hub of {hub.config.federation} is up at {url}")
            while not stop.wait(LOOK_SECONDS):
                if superlink.revive(say):
                    Bell(hub.restarts_bell).ring()
                jobs.look()
                dealers.look()
                board.tend()
        finally:
            dealers.close()
            jobs.close()
    finally:
        port.stop()
        superlink.stop()


def _superlink_files(hub: HubHome) -> SuperLinkFiles:
    return SuperLinkFiles(
        home=hub.superlink / "home",
        database=hub.superlink_database,
        ca=hub.superlink_ca,
        certificate=hub.superlink_certificate,
        key=hub.superlink_key,
        port=free_port(),
        log=hub.path / "superlink.log",
    )


class _Jobs:
    """Registers new members' nodes, and starts what is queued or was abandoned."""

    def __init__(self, hub: HubHome, files: SuperLinkFiles, say: Callable[[str], None]) -> None:
        self._hub = hub
        self._control = Control(files)
        self._say = say
        self._roster_version = -1
        self._failing = False
        self._started: dict[str, float] = {}
        self._damaged: dict[str, str] = {}

    def look(self) -> None:
        """Do whatever there is to do now; what the SuperLink can't do now is done later."""
        try:
            self._register()
            for job in jobs_of(self._hub.runs):
                self._look_at(job)
        except httpx.HTTPError as error:
            if not self._failing:
                self._say(f"the SuperLink does not do what it is asked ({error}); trying again")
            self._failing = True
        else:
            self._failing = False

    def _look_at(self, job: JobFolder) -> None:
        """Tend a job; one whose files are damaged stands, and is spoken of once."""
        try:
            self._tend(job)
        except FusionError as error:
            if self._damaged.get(job.name) != str(error):
                self._say(f"{job.name} stands: {error}")
            self._damaged[job.name] = str(error)
        else:
            self._damaged.pop(job.name, None)

    def _register(self) -> None:
        version = self._hub.roster_file.stat().st_mtime_ns
        if version != self._roster_version:
            members = self._hub.roster().active
            self._control.register(member.fleet_key for member in members)
            self._roster_version = version

    def _tend(self, job: JobFolder) -> None:
        state = job.state()
        match state["status"]:
            case "queued":
                self._start(job)
            case "starting" if self._is_late(job):
                self._start(job)
            case "running" if self._is_abandoned(job):
                self._say(f"{job.name} lost its worker; it goes on from its journal")
                self._start(job)

    def _is_late(self, job: JobFolder) -> bool:
        since = self._started.get(job.name)
        return since is None or time.monotonic() - since > START_SECONDS

    def _is_abandoned(self, job: JobFolder) -> bool:
        with job.work() as free:
            return free and job.state()["status"] == "running"

    def _start(self, job: JobFolder) -> None:
        state = job.state()
        if "run" in state:
            self._control.stop_run(state["run"])
        if state["starts"] >= MAX_STARTS:
            message = f"Its worker was lost {MAX_STARTS} times; read superlink.log."
            ending = {"status": "failed", "message": message, "exit_code": 1}
            job.emit({"event": "end", **ending}, SystemClock())
            job.update(**ending)
            log_end(Book(self._hub), job.name, "failed")
            self._say(f"{job.name} is given up: its worker was lost {MAX_STARTS} times")
            return
        job.update(status="starting", starts=state["starts"] + 1)
        self._started[job.name] = time.monotonic()
        job.update(run=self._control.start_run(job.name))
        self._say(f"{job.name} started")

    def close(self) -> None:
        """Close the control connection."""
        self._control.close()
