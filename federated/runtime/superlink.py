"""Flower's SuperLink and SuperExec as child processes of the hub, and the calls to control them.

The SuperLink listens on loopback only, with TLS under a throw-away authority, and keeps its state
in the hub's folder. Its control interface knows no credentials, so nothing but the hub's own port
(:mod:`fusion.link.port`) may reach it from outside.
"""

from __future__ import annotations

import hashlib
import os
import ssl
import subprocess
import sys
import time
from base64 import b64decode
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

import httpx
from flwr.common.serde import fab_to_proto, user_config_to_proto
from flwr.proto.control_pb2 import (
    ListNodesRequest,
    RegisterNodeRequest,
    StartRunRequest,
    StopRunRequest,
)
from flwr.supercore.control import ControlHttpClient
from flwr.supercore.fab import Fab
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor

from federated.runtime.bundle import bundle
from federated.runtime.environment import QUIET, STOP_SECONDS
from fusion.crypto import rng
from fusion.errors import EnvironmentUnfit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

READY_SECONDS: Final = 60.0
EXECUTOR_POLL_SECONDS: Final = "0.4"
REVIVALS: Final = 5
REVIVE_SECONDS: Final = 60.0
"""A program that ended more often than this within this time is not started again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SuperLinkFiles:
    """Where the SuperLink's files are, and its port.

    Attributes:
        home: A folder for Flower's own files.
        database: SQLite file with runs, nodes, messages.
        ca: Certificate of the throw-away authority.
        certificate: Server certificate for 127.0.0.1.
        key: Its key.
        port: Loopback port.
        log: File that both processes write to.
    """

    home: Path
    database: Path
    ca: Path
    certificate: Path
    key: Path
    port: int
    log: Path

    @property
    def address(self) -> str:
        """``127.0.0.1:port``."""
        return f"127.0.0.1:{self.port}"

    def tls(self) -> ssl.SSLContext:
        """Return a context that trusts this SuperLink only."""
        return ssl.create_default_context(cafile=str(self.ca))


class SuperLink:
    """The two processes; started, watched, stopped."""

    def __init__(self, files: SuperLinkFiles, environment: dict[str, str]) -> None:
        """Prepare; ``environment`` is what the ServerApp needs to find the hub's folder."""
        self._files = files
        self._environment = environment
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._ended: list[float] = []
        self._log: IO[bytes] | None = None

    def start(self) -> None:
        """Start both, and return when the SuperLink answers.

        Raises:
            EnvironmentUnfit: It ended, or did not answer in time; the message quotes its log.
        """
        files = self._files
        files.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        secret = files.home / "superexec.secret"
        secret.touch(mode=0o600)
        secret.write_bytes(rng.token(32).hex().encode())
        self._log = files.log.open("ab")
        for program in self._commands():
            self._spawn(program)
        self._await_health()

    def _commands(self) -> dict[str, list[str]]:
        """Return the programs and their arguments, in the order of starting."""
        files = self._files
        common = ["--superexec-auth-secret-file", str(files.home / "superexec.secret")]
        return {
            "flower-superlink": [
                "--isolation", "process", *common,
                "--ssl-ca-certfile", str(files.ca),
                "--ssl-certfile", str(files.certificate),
                "--ssl-keyfile", str(files.key),
                "--enable-supernode-auth",
                "--disable-runtime-dependency-installation",
                "--host", "127.0.0.1", "--port", str(files.port),
                "--database", str(files.database),
            ],
            "flower-superexec": [
                "--runtime-api-address", files.address,
                "--root-certificates", str(files.ca), *common,
            ],
        }  # fmt: skip

    def _spawn(self, program: str) -> None:
        # Console scripts of this environment have to be found by name: SuperExec starts its own.
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        environment = {
            **os.environ,
            **QUIET,
            **self._environment,
            "PATH": path,
            "FLWR_HOME": str(self._files.home),
            "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": EXECUTOR_POLL_SECONDS,
        }
        module = [sys.executable, "-m", "federated.runtime.tethered", str(os.getpid()), program]
        self._processes[program] = subprocess.Popen(
            [*module, *self._commands()[program]],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env=environment,
            cwd=self._files.home,
        )

    def _await_health(self) -> None:
        until = time.monotonic() + READY_SECONDS
        with httpx.Client(verify=self._files.tls(), timeout=1.0) as client:
            while time.monotonic() < until:
                self.check()
                try:
                    if client.get(f"https://{self._files.address}/health").is_success:
                        return
                except httpx.TransportError:
                    pass
                time.sleep(0.05)
        msg = f"Flower's SuperLink did not answer within {READY_SECONDS:g} s."
        raise EnvironmentUnfit(msg, hint=f"Read {self._files.log}.")

    def check(self) -> None:
        """Raise if one of the processes has ended.

        Raises:
            EnvironmentUnfit: One has; the message quotes the end of the log.
        """
        for program, process in self._processes.items():
            if process.poll() is not None:
                tail = self._files.log.read_text("utf-8", "replace")[-500:]
                msg = f"{program} ended with {process.returncode}: {tail}"
                raise EnvironmentUnfit(msg, hint=f"Read {self._files.log}.")

    def revive(self, say: Callable[[str], None]) -> bool:
        """Start again what has ended, and say whether something had; runs go on from the database.

        Raises:
            EnvironmentUnfit: Something ends again and again.
        """
        revived = False
        for program, process in list(self._processes.items()):
            if process.poll() is None:
                continue
            revived = True
            now = time.monotonic()
            self._ended = [moment for moment in self._ended if now - moment < REVIVE_SECONDS]
            if len(self._ended) >= REVIVALS:
                self.check()
            self._ended.append(now)
            say(f"{program} ended with {process.returncode}; starting it again")
            self._spawn(program)
            self._await_health()
        return revived

    def stop(self) -> None:
        """End both, the executor first."""
        for process in reversed(self._processes.values()):
            process.terminate()
        until = time.monotonic() + STOP_SECONDS
        for process in reversed(self._processes.values()):
            try:
                process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()
        if self._log is not None:
            self._log.close()
            self._log = None


class Control:
    """Calls to the SuperLink's control interface; close it after use."""

    def __init__(self, files: SuperLinkFiles) -> None:
        """Connect lazily."""
        self._client = ControlHttpClient(
            f"https://{files.address}",
            verify=files.tls(),
            interceptors=[RuntimeVersionHttpInterceptor(component_name="flwr")],
        )

    def register(self, fleet_keys: Iterable[str]) -> None:
        """Make the SuperLink accept nodes with these keys, and no others that we added."""
        known = {
            bytes(node.public_key) for node in self._client.ListNodes(ListNodesRequest()).nodes_info
        }
        for key in fleet_keys:
            public_key = b64decode(key)
            if public_key not in known:
                self._client.RegisterNode(RegisterNodeRequest(public_key=public_key))

    def start_run(self, job: str) -> int:
        """Start a run of our bundle for a job; return its number.

        Raises:
            EnvironmentUnfit: The SuperLink did not start it.
        """
        ours = bundle()
        fab = Fab(hashlib.sha256(ours.content).hexdigest(), ours.content, {})
        response = self._client.StartRun(
            StartRunRequest(
                fab=fab_to_proto(fab),
                override_config=user_config_to_proto({"job": job}),
                federation="",
                app_spec="",
            )
        )
        if not response.HasField("run_id"):
            msg = f"The SuperLink did not start job {job}."
            raise EnvironmentUnfit(msg, hint="Read superlink.log in the hub's folder.")
        return int(response.run_id)

    def stop_run(self, run: int) -> None:
        """Stop a run, if it is still known."""
        try:
            self._client.StopRun(StopRunRequest(run_id=run))
        except httpx.HTTPStatusError:
            # Finished or forgotten: nothing to stop.
            return

    def close(self) -> None:
        """Close the connection."""
        self._client.close()
