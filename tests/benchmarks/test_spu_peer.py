"""The way to spu: what goes through a door is counted; a Python without spu is said by name."""

from __future__ import annotations

import socket
import sys

import pytest

from benchmarks.spu_peer import Door, logistic, psi


def test_a_door_passes_both_ways_and_counts() -> None:
    with socket.create_server(("127.0.0.1", 0)) as behind:
        door = Door(behind.getsockname()[1])
        with socket.create_connection(("127.0.0.1", door.port)) as caller:
            called, _ = behind.accept()
            with called:
                caller.sendall(b"a" * 1000)
                assert called.recv(1000, socket.MSG_WAITALL) == b"a" * 1000
                called.sendall(b"b" * 200)
                assert caller.recv(200, socket.MSG_WAITALL) == b"b" * 200
        assert door.bytes == 1200
        door.close()


def test_a_python_without_spu_is_said() -> None:
    with pytest.raises(ChildProcessError, match="No module named 'spu'"):
        psi(sys.executable, 20, "RR22")
    with pytest.raises(ChildProcessError, match="No module named 'jax'"):
        logistic(sys.executable, 20, 2, 1, "CHEETAH")
