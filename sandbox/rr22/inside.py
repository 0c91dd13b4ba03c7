"""What runs confined: takes a set, has spu find what is common, gives that back.

Run by the interpreter that its owner has named, in a sandbox of :mod:`sandbox.rr22.confined`:
standard input and output are frames (:mod:`sandbox.rr22.frames`), what libraries print goes to
standard error. Nobody believes what comes out. Python 3.9 and later; of packages spu alone.

The call is ``spu.psi.psi_execute`` with ``PROTOCOL_RR22`` (Raghuraman and Rindal, CCS 2022); the
second party's result is never broadcast by spu. Before it begins spu compares a digest of the two
whole sets; one random item on each side, put there by who calls, makes that digest say nothing.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import socket
import sys
import threading
from pathlib import Path
from typing import Any, List  # noqa: UP035 - of Python 3.9

from sandbox.rr22.bridge import HERE, Bridge
from sandbox.rr22.frames import (
    DONE,
    FOUND,
    ITEM,
    ITEMS,
    LINK,
    READY,
    START,
    Reader,
    frame,
    in_frames,
)

_SCRATCH = Path("/scratch")
_COLUMN = "ID"
_HOUR_MS = 3_600_000


def main() -> None:
    """Serve one set and end the process."""
    if os.getuid() == 0 or os.geteuid() == 0:
        sys.exit("it never runs as root")
    facts = json.loads(sys.argv[1])
    said = os.dup(1)  # not for what this starts: dup() closes it there
    came = os.dup(0)
    os.dup2(2, 1)
    nothing = os.open("/dev/null", os.O_RDONLY)
    os.dup2(nothing, 0)
    _limit(facts["limits"])
    sys.setswitchinterval(0.001)
    # Under limits already, and in this process alone.
    libspu, psi = importlib.import_module("spu.libspu"), importlib.import_module("spu.psi")
    out = Out(said)
    out.say(frame(READY))
    reader = Reader(frozenset((ITEMS, START, *LINK)))
    items = _items(came, reader, _SCRATCH / "in.csv")
    own_port = _free_port()
    bridge = Bridge(facts["rank"], own_port, out.say)
    threading.Thread(target=_carry, args=(came, reader, bridge, items), daemon=True).start()
    _run(libspu, psi, facts["rank"], own_port, bridge.port)
    if facts["rank"] == 0:
        _tell_found(out, _SCRATCH / "out.csv")
    out.say(frame(DONE))
    # What it said last may be on its way through the bridge, and the peer's may wait for it: it
    # is killed, or ends with its input, when both have their results.
    threading.Event().wait()


class Out:
    """Standard output as it was."""

    def __init__(self, descriptor: int) -> None:
        """Take the descriptor."""
        self._descriptor = descriptor
        self._lock = threading.Lock()

    def say(self, data: bytes) -> None:
        """Write a frame, whole."""
        with self._lock:
            left = memoryview(data)
            while left:
                left = left[os.write(self._descriptor, left) :]


def _limit(limits: Any) -> None:  # noqa: ANN401 - JSON
    bounds = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_CPU: limits["cpu_seconds"],
        resource.RLIMIT_AS: limits["memory_bytes"],
        resource.RLIMIT_FSIZE: limits["scratch_bytes"],
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_NOFILE: limits["open_files"],
        resource.RLIMIT_NPROC: limits["threads"],
    }
    for what, most in bounds.items():
        _, hard = resource.getrlimit(what)
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (least, least))


def _items(came: int, reader: Reader, table: Path) -> List[Any]:  # noqa: UP006 - of Python 3.9
    """Write the items as a table; return the frames that came after them already."""
    with table.open("w", encoding="ascii") as file:
        file.write(_COLUMN + "\n")
        while True:
            frames = reader.take(_read(came))
            for each in frames:
                if each.kind == START:
                    return list(frames)
                data = each.payload.hex()
                file.writelines(
                    data[at : at + 2 * ITEM] + "\n" for at in range(0, len(data), 2 * ITEM)
                )


def _carry(came: int, reader: Reader, bridge: Bridge, first: List[Any]) -> None:  # noqa: UP006
    try:
        for each in first:
            bridge.take(each)
        while True:
            for each in reader.take(_read(came)):
                bridge.take(each)
    finally:
        os._exit(1)  # without the other side spu would wait for ever


def _read(came: int) -> bytes:
    data = os.read(came, 1 << 18)
    if not data:
        os._exit(1)  # who wanted this is gone
    return data


def _free_port() -> int:
    with socket.create_server((HERE, 0)) as taken:
        return int(taken.getsockname()[1])


def _run(libspu: Any, psi: Any, rank: int, own_port: int, other_port: int) -> None:  # noqa: ANN401 - modules
    desc = libspu.link.Desc()
    for party in range(2):
        port = own_port if party == rank else other_port
        desc.add_party(f"party-{party}", f"{HERE}:{port}")
    # A peer may be slow; how long this may take in all is decided outside.
    desc.recv_timeout_ms = desc.http_timeout_ms = _HOUR_MS
    desc.connect_retry_times, desc.connect_retry_interval_ms = 3_000, 100
    config = psi.PsiExecuteConfig(
        protocol_conf=psi.PsiProtocolConfig(
            protocol=psi.PsiProtocol.PROTOCOL_RR22, receiver_rank=0, broadcast_result=False
        ),
        input_params=psi.InputParams(
            path=str(_SCRATCH / "in.csv"), selected_keys=[_COLUMN], keys_unique=True
        ),
        output_params=psi.OutputParams(path=str(_SCRATCH / "out.csv"), disable_alignment=True),
    )
    context = libspu.link.create_brpc(desc, rank)
    # This and psi_execute both say "connect", without a number: the library drops a second one that
    # comes before the first was taken, and that side waits for ever. After this both have taken it.
    context.barrier()
    psi.psi_execute(config, context)
    context.stop_link()


def _tell_found(out: Out, table: Path) -> None:
    with table.open(encoding="ascii") as file:
        next(file)
        found = b"".join(bytes.fromhex(line.strip().strip('"')) for line in file)
    for each in in_frames(FOUND, found):
        out.say(each)


if __name__ == "__main__":
    main()
