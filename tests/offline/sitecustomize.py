"""Loaded by every Python process that a test starts: no host but this machine is reached.

``tests/conftest.py`` puts this folder on PYTHONPATH and names a folder in ``BANYAN_WATCH``. An
address outside goes into its file ``outside``, and the call fails; what was reached on this machine
goes into ``seen``, so that a test can tell silence from blindness. Imports nothing of ours.
"""

from __future__ import annotations

import ipaddress
import os
import sys

WATCH = "BANYAN_WATCH"
_LOCAL_NAMES = {"", "localhost", "localhost.localdomain"}


def is_local(host: object) -> bool:
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


def host_of(event: str, arguments: tuple[object, ...]) -> tuple[object] | None:
    """Return the host that an audited call is about, in a tuple; nothing if it is about none."""
    if event == "socket.getaddrinfo":
        return (arguments[0],)
    if event in {"socket.connect", "socket.sendto", "socket.sendmsg"}:
        address = arguments[1]
        return (address[0],) if isinstance(address, tuple) else None  # or a Unix socket
    return None


def _watch(folder: str) -> None:
    seen: set[str] = set()

    def note(file: str, host: object) -> None:
        line = f"{host!r} {os.getpid()} {' '.join(sys.argv)}\n".encode()
        descriptor = os.open(f"{folder}/{file}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(descriptor, line)
        os.close(descriptor)

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        found = host_of(event, arguments)
        if found is None:
            return
        (host,) = found
        if not is_local(host):
            note("outside", host)
            message = f"a test's process tried to reach {host!r}; tests are offline"
            raise PermissionError(message)
        if str(host) not in seen:
            seen.add(str(host))
            note("seen", host)

    sys.addaudithook(hook)


# A folder that is gone belongs to a session that is over.
if __name__ == "sitecustomize" and os.path.isdir(os.environ.get(WATCH, "")):  # noqa: PTH112 - every process pays for pathlib
    _watch(os.environ[WATCH])
