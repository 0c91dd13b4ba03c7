"""A library that was taken over, in place of spu: what it reaches from inside."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

import fusion
from fusion.engine_ports import Rr22Task
from fusion.errors import EnvironmentUnfit
from sandbox import service_user
from sandbox.rr22.confined import start
from tests.alignment.parties import BANK
from tests.rr22.python import stand_in

HOSTILE = """
import ctypes, os, socket, sys

def attempt(name, act):
    try:
        act()
    except OSError:
        sys.stderr.write(f"shut {name};")
    else:
        sys.stderr.write(f"open {name};")

def written(path):
    with open(path, "w") as file:
        file.write("x")

def unshared():
    if ctypes.CDLL(None, use_errno=True).unshare(0x10000000):
        raise OSError(ctypes.get_errno())

attempt("loopback of the machine", lambda: socket.create_connection(("127.0.0.1", PORT), 2))
attempt("network", lambda: socket.create_connection(("192.0.2.1", 80), 2))
attempt("local socket", lambda: socket.socket(socket.AF_UNIX))
attempt("netlink", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW))
attempt("secret", lambda: open("SECRET"))
attempt("accounts", lambda: open("/etc/passwd"))
attempt("processes", lambda: os.listdir("/proc/1"))
attempt("own code", lambda: written(__file__))
attempt("other code", lambda: os.listdir("CODE"))
attempt("namespaces", unshared)
attempt("signals", lambda: os.kill(1, 0))
attempt("scratch", lambda: written("/scratch/x"))
raise ImportError("done")
"""


def test_it_reaches_its_scratch_folder_and_nothing_else(tmp_path: Path, python: Path) -> None:
    del python  # skips where nothing confines it
    secret = tmp_path / "secret"
    secret.write_text("secret", "utf-8")
    secret.chmod(0o644)
    found = stand_in(tmp_path / "hostile")
    (module,) = (tmp_path / "hostile").glob("lib/*/site-packages/spu/libspu.py")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        text = HOSTILE.replace("PORT", str(server.getsockname()[1])).replace("SECRET", str(secret))
        module.write_text(text.replace("CODE", str(Path(fusion.__file__).parent)), "utf-8")
        process = start(found, Rr22Task(0, BANK, b"x" * 16, 10), service_user.DEFAULT)
        with pytest.raises(EnvironmentUnfit):
            process.wait_ready()
        process.close()
        with pytest.raises(TimeoutError):
            server.accept()
    said = bytes(process._worker.log).decode().split(";")
    assert [each for each in said if each.startswith("open ")] == ["open scratch"]
    assert len([each for each in said if each.startswith("shut ")]) == 11
