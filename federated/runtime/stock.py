"""Flower's own SuperNode in place of our loop, when Flower's private interfaces have changed.

It reaches the hub through a forwarder on loopback, because it can't show a client certificate. It
does what our loop refuses to do: it fetches the bundle that a run comes with and runs it. Ours only
names installed code, but nothing here holds the hub to that; the node's log says so.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from federated.client_app import NODE_VARIABLE
from federated.runtime.environment import QUIET, STOP_SECONDS
from fusion.errors import EnvironmentUnfit
from fusion.identity.keys import fleet_openssh
from fusion.link.loopback import free_port
from fusion.services.files import write_atomic
from fusion.services.node import forwarder_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusion.link.dial import Link
    from fusion.ports import Stop
    from fusion.services.homes import NodeHome

READY_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 0.1
_READY_MARK: Final = b"SuperNode ID"


def serve_stock(
    node: NodeHome,
    link: Link,
    *,
    stop: Stop,
    say: Callable[[str], None],
    on_ready: Callable[[], None],
) -> None:
    """Serve through Flower's SuperNode until ``stop``.

    Raises:
        EnvironmentUnfit: It ended, or did not come up in time.
    """
    say("serving through Flower's SuperNode: slow, and the bundle of a run is fetched and run")
    forwarder = forwarder_of(node, link)
    forwarder.start()
    log = node.path / "supernode.log"
    key = node.forward / "fleet.pem"
    # Flower reads no encrypted key: this copy is there only while its program runs.
    write_atomic(key, fleet_openssh(node.fleet_private_key()))
    try:
        process = _start(node, forwarder.port, log)
        try:
            _await_ready(process, log)
            on_ready()
            while not stop.wait(_LOOK_SECONDS):
                _check(process, log)
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    finally:
        key.unlink(missing_ok=True)
        forwarder.stop()


def _start(node: NodeHome, port: int, log: Path) -> subprocess.Popen[bytes]:
    home = node.path / "flower"
    home.mkdir(mode=0o700, exist_ok=True)
    environment = {
        **os.environ,
        **QUIET,
        NODE_VARIABLE: str(node.path),
        "FLWR_HOME": str(home),
        "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.2",
        # Flower starts its programs by name.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
    }
    command = [
        sys.executable, "-m", "federated.runtime.tethered", str(os.getpid()), "flower-supernode",
        "--superlink", f"127.0.0.1:{port}",
        "--root-certificates", str(node.forward_ca),
        "--auth-supernode-private-key", str(node.forward / "fleet.pem"),
        "--host", "127.0.0.1", "--port", str(free_port()),
    ]  # fmt: skip
    with log.open("wb") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            cwd=home,
        )


def _await_ready(process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + READY_SECONDS
    while _READY_MARK not in log.read_bytes():
        _check(process, log)
        if time.monotonic() > until:
            msg = f"Flower's SuperNode did not come up within {READY_SECONDS:g} s."
            raise EnvironmentUnfit(msg, hint=f"Read {log}.")
        time.sleep(_LOOK_SECONDS)


def _check(process: subprocess.Popen[bytes], log: Path) -> None:
    if process.poll() is not None:
        msg = f"Flower's SuperNode ended with {process.returncode}."
        raise EnvironmentUnfit(msg, hint=f"Read {log}.")
