"""SecretFlow's spu beside ours, in an environment of its own (``benchmarks/peers-spu.txt``).

``--spu PYTHON`` names its interpreter; nothing of it is imported here. The two parties of a set
intersection are two processes; what they send goes through a door in this one, which counts bytes.
"""

from __future__ import annotations

import json
import socket
import subprocess
import tempfile
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.spu_side import MARK

if TYPE_CHECKING:
    from collections.abc import Sequence

SIDE: Final = Path(__file__).with_name("spu_side.py")
MISSING: Final = "name its Python with --spu (benchmarks/peers-spu.txt)"
PSI_PROTOCOLS: Final = ("ECDH", "RR22")
_PIECE: Final = 1 << 16


class Door:
    """Listens, passes on to a port, and counts the bytes of both directions."""

    def __init__(self, port: int) -> None:
        """Take the port that is behind it."""
        self._behind = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        self.bytes = 0
        self._lock = threading.Lock()
        threading.Thread(target=self._open, daemon=True).start()

    def _open(self) -> None:
        with suppress(OSError):  # until it is closed
            while True:
                caller, _ = self._listening.accept()
                try:
                    called = socket.create_connection(("127.0.0.1", self._behind))
                except OSError:
                    caller.close()  # who calls tries again
                    continue
                threading.Thread(target=self._serve, args=(caller, called), daemon=True).start()

    def _serve(self, caller: socket.socket, called: socket.socket) -> None:
        with caller, called:
            back = threading.Thread(target=self._pass, args=(called, caller), daemon=True)
            back.start()
            self._pass(caller, called)
            back.join()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(_PIECE):
                with self._lock:
                    self.bytes += len(data)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Listen no longer."""
        self._listening.close()


def psi(python: str, items: int, protocol: str) -> dict[str, Any]:
    """Measure a set intersection in which one party learns.

    Raises:
        ChildProcessError: spu does not run, or its intersection is wrong.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        ports = [_free() for _ in range(2)]
        doors = [Door(port) for port in ports]
        for door in doors:
            stack.callback(door.close)
        sides = []
        for rank in range(2):
            seen = [ports[i] if i == rank else doors[i].port for i in range(2)]
            words = ["psi", rank, items, protocol, folder, *seen]
            sides.append(_started(stack, python, words))
        found = [_finished(side) for side in sides]
        sent = sum(door.bytes for door in doors)
    if found[0]["size"] != items - items // 2:
        msg = f"The intersection by spu {protocol} is wrong."
        raise ChildProcessError(msg)
    cpu = sum(each["cpu_s"] for each in found)
    return {
        "system": "spu",
        "engine": protocol,
        "cpu_s": round(cpu, 3),
        "wall_s": round(max(each["wall_s"] for each in found), 3),
        "us_an_item": round(1e6 * cpu / items, 1),
        "bytes_an_item": round(sent / items, 1),
        "steps_us": {},
    }


def logistic(python: str, rows: int, columns: int, epochs: int, protocol: str) -> dict[str, Any]:
    """Measure epochs of a logistic model: ``CHEETAH`` has no third party, ``SEMI2K`` one.

    Raises:
        ChildProcessError: spu does not run.
    """
    with ExitStack() as stack:
        words = ["logistic", rows, columns, epochs, protocol]
        found = _finished(_started(stack, python, words))
    found["cpu_s_an_epoch"] = round(found["cpu_s_an_epoch"], 4)
    return {"system": f"spu {protocol}", "rows": rows, "columns": columns, **found}


def _free() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def _started(stack: ExitStack, python: str, words: Sequence[object]) -> subprocess.Popen[str]:
    """Start a side that ends, at the latest, with the stack."""
    command = [python, "-I", str(SIDE), *map(str, words)]
    side = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    stack.enter_context(side)
    stack.callback(side.kill)
    return side


def _finished(side: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = side.communicate()
    if side.returncode:
        msg = f"spu ended with {side.returncode}: {err.strip().splitlines()[-1:]}"
        raise ChildProcessError(msg)
    (line,) = (each for each in out.splitlines() if each.startswith(MARK))
    made: dict[str, Any] = json.loads(line.removeprefix(MARK))
    return made
