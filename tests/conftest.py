"""The conditions every test runs under: offline, quiet, repeatable.

A test that tries to reach a host other than this machine fails here, whatever library it came
through in this process; ``tests/docs`` and the deployment tests watch the processes they start.
"""

from __future__ import annotations

import ipaddress
import os
import sys

import hypothesis
import pytest

from tests.keys import Dealt, deal_for_tests

# Inherited by every process a test starts.
os.environ.update(
    FLWR_TELEMETRY_ENABLED="0",
    FLWR_DISABLE_UPDATE_CHECK="1",
    FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION="1",
    NO_COLOR="1",
)

# The same examples on every run: a failure on one machine is a failure on all.
hypothesis.settings.register_profile(
    "banyan", deadline=None, derandomize=True, database=None, max_examples=50
)
hypothesis.settings.load_profile("banyan")

_LOCAL_NAMES = {"", "localhost", "localhost.localdomain"}


def _is_local(host: object) -> bool:
    """Whether ``host`` (as sockets take it) names this machine."""
    if host is None:
        return True
    text = host.decode("ascii", "replace") if isinstance(host, bytes) else str(host)
    if text in _LOCAL_NAMES:
        return True
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _refuse_outside_hosts(event: str, arguments: tuple[object, ...]) -> None:
    """Audit hook: raise where a test's process leaves this machine."""
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event in {"socket.connect", "socket.sendto"}:
        address = arguments[1]
        if not isinstance(address, tuple):
            return  # a Unix socket
        host = address[0]
    else:
        return
    if not _is_local(host):
        message = f"a test tried to reach {host!r}; tests are offline"
        raise PermissionError(message)


sys.addaudithook(_refuse_outside_hosts)


@pytest.fixture(scope="session")
def dealt() -> Dealt:
    """A threshold key with its shares."""
    return deal_for_tests()
