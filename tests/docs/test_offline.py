"""The tests' own guard works: nothing here reaches another host."""

from __future__ import annotations

import socket

import pytest


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
        socket.create_connection(server.getsockname(), timeout=5) as client,
    ):
        assert client.getpeername() == server.getsockname()
