"""The tests' own guard works: nothing here reaches another host."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


def test_a_name_outside_is_refused() -> None:
    with pytest.raises(PermissionError, match="offline"):
        socket.getaddrinfo("example.org", 443)


def test_an_address_outside_is_refused() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock,
        pytest.raises(PermissionError, match="offline"),
    ):
        sock.connect(("192.0.2.1", 9))


def test_this_machine_is_allowed() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname(), timeout=200) as client,
    ):
        assert client.getpeername() == server.getsockname()


def _child(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", f"import socket; {code}"],
        env={**os.environ, "BANYAN_WATCH": str(folder)},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


@pytest.mark.parametrize(
    "code",
    [
        "socket.socket().connect(('192.0.2.1', 9))",
        "socket.socket(type=socket.SOCK_DGRAM).sendto(b'', ('192.0.2.1', 53))",
        "socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).connect(('2001:db8::1', 53))",
        "socket.getaddrinfo('example.org', 443)",
    ],
)
def test_a_process_that_a_test_starts_is_refused_and_noted(code: str, tmp_path: Path) -> None:
    done = _child(code, tmp_path)
    assert "PermissionError" in done.stderr
    assert (tmp_path / "outside").read_text("utf-8").count("\n") == 1
    assert not (tmp_path / "seen").exists()


def test_what_such_a_process_reaches_on_this_machine_is_seen(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        done = _child(f"socket.create_connection({server.getsockname()!r}).close()", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "127.0.0.1" in (tmp_path / "seen").read_text("utf-8")
    assert not (tmp_path / "outside").exists()
