"""What the hub's relay carries between two nodes, and what it costs the hub.

A hub and two nodes in processes of their own on this machine: gRPC with mutual TLS between the
nodes, inside gRPC with mutual TLS between each and the hub. Then twenty streams whose reader takes
four messages a second: what the hub keeps of them in memory.

    python -m benchmarks.relay [--megabytes 1024] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Final

import grpc

from fusion.link.loopback import free_port
from fusion.services import hub as hub_service
from fusion.services import node as node_service
from fusion.services import rosters
from fusion.services.enrolment import enrol
from fusion.services.homes import HubHome, NodeHome
from fusion.services.hub_port import port_of
from fusion.services.node_link import Connection

MESSAGE_BYTES: Final = 1024 * 1024
PINGS: Final = 1000
SLOW_STREAMS: Final = 20
_BULK: Final = "benchmarks.Bulk"


# -------------------------------------------------------------------------- the processes


def _serve_hub(path: Path) -> None:
    hub = HubHome.open(path)
    port = port_of(hub, 1)
    port.start()
    print(port.port, flush=True)
    before = _peak()
    _until_told()
    print(json.dumps({"start_mb": before, "peak_mb": _peak(), "cpu_s": _cpu()}), flush=True)
    port.stop()


def _serve_node(path: Path) -> None:
    node = NodeHome.open(path)
    with Connection(node) as connection:
        connection.serve(lambda text: print(text, file=sys.stderr), (_bulk(),))
        connection.link.wait_attached(10)
        print("up", flush=True)
        _until_told()
        print(json.dumps({"peak_mb": _peak(), "cpu_s": _cpu()}), flush=True)


def _bulk() -> Any:  # noqa: ANN401 - gRPC has no types
    async def take(pieces: Any, _: Any) -> bytes:  # noqa: ANN401
        count = 0
        async for piece in pieces:
            count += len(piece)
        return str(count).encode()

    async def give(request: bytes, context: Any) -> None:  # noqa: ANN401
        piece = bytes(MESSAGE_BYTES)
        for _ in range(int(request)):
            await context.write(piece)

    return grpc.method_handlers_generic_handler(
        _BULK,
        {
            "Take": grpc.stream_unary_rpc_method_handler(take),
            "Give": grpc.unary_stream_rpc_method_handler(give),
        },
    )


def _until_told() -> None:
    told = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told.set())
    told.wait()


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


# -------------------------------------------------------------------------- the measurements


def _measure(connection: Connection, to: str, megabytes: int) -> dict[str, float]:
    began = time.perf_counter()
    connection.ping(to, b"first")
    first = time.perf_counter() - began
    times = sorted(connection.ping(to, bytes(1024)) for _ in range(PINGS))
    return {
        "first_ms": 1000 * first,
        "round_trip_p50_ms": 1000 * statistics.median(times),
        "round_trip_p99_ms": 1000 * times[PINGS * 99 // 100],
        "there_mb_s": _rate(megabytes, lambda: _there(connection, to, megabytes)),
        "back_mb_s": _rate(megabytes, lambda: _back(connection, to, megabytes)),
    }


def _rate(megabytes: int, work: Any) -> float:  # noqa: ANN401
    began = time.perf_counter()
    work()
    return megabytes * MESSAGE_BYTES / 1e6 / (time.perf_counter() - began)


def _there(connection: Connection, to: str, count: int) -> None:
    channel = connection.channel(to)

    async def send() -> bytes:
        async def pieces() -> Any:  # noqa: ANN401
            piece = bytes(MESSAGE_BYTES)
            for _ in range(count):
                yield piece

        taken: bytes = await channel.stream_unary(f"/{_BULK}/Take")(pieces())
        return taken

    if int(connection.link.run(send(), 600)) != count * MESSAGE_BYTES:
        raise SystemExit("bytes are missing")


def _back(connection: Connection, to: str, count: int) -> None:
    channel = connection.channel(to)

    async def fetch() -> int:
        count_back = 0
        async for piece in channel.unary_stream(f"/{_BULK}/Give")(str(count).encode()):
            count_back += len(piece)
        return count_back

    if connection.link.run(fetch(), 600) != count * MESSAGE_BYTES:
        raise SystemExit("bytes are missing")


def _slow(connection: Connection, to: str, seconds: float) -> None:
    """Have many streams come in at once, and read each at a trickle."""
    channel = connection.channel(to)

    async def one() -> None:
        call = channel.unary_stream(f"/{_BULK}/Give")(b"100000")
        until = asyncio.get_running_loop().time() + seconds
        async for _ in call:
            await asyncio.sleep(0.25)
            if asyncio.get_running_loop().time() > until:
                break
        call.cancel()

    async def every() -> None:
        await asyncio.gather(*(one() for _ in range(SLOW_STREAMS)))

    connection.link.run(every(), seconds + 60)


# -------------------------------------------------------------------------- together


class _Process:
    """One of this module's own roles, in a process of its own."""

    def __init__(self, role: str, path: Path) -> None:
        command = [sys.executable, "-m", "benchmarks.relay", "--role", role, "--folder", str(path)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.said = self._line()

    def _line(self) -> str:
        if self._process.stdout is None:
            raise SystemExit("a process has no output")
        return self._process.stdout.readline().strip()

    def resident_mb(self) -> float:
        pages = int(Path(f"/proc/{self._process.pid}/statm").read_text("ascii").split()[1])
        return pages * resource.getpagesize() / 2**20

    def end(self) -> dict[str, float]:
        self._process.terminate()
        found: dict[str, float] = json.loads(self._line() or "{}")
        self._process.wait(20)
        return found


def _federation(folder: Path) -> tuple[Path, _Process, list[NodeHome]]:
    """Make a hub that is up, and two members of it."""
    hub_service.init(folder / "hub", address=f"127.0.0.1:{free_port()}")
    hub = HubHome.open(folder / "hub")
    nodes = [
        node_service.init(folder / name, hub=str(hub.invitation), org=name)
        for name in ("a.example", "b.example")
    ]
    for node in nodes:
        rosters.admit(hub, node.request.read_bytes())
    process = _Process("hub", hub.path)
    for node in nodes:
        enrol(node, stop=threading.Event(), say=lambda _: None)
    return hub.path, process, nodes


def measure(megabytes: int) -> dict[str, Any]:
    """Return all figures, as the module's ``--json`` prints them."""
    with tempfile.TemporaryDirectory(prefix="banyan-relay-") as scratch:
        _, hub, (a, b) = _federation(Path(scratch))
        other = _Process("node", b.path)
        try:
            with Connection(a) as connection:
                figures = _measure(connection, b.config.id, megabytes)
                before = hub.resident_mb()
                _slow(connection, b.config.id, 10.0)
                figures["hub_slow_readers_mb"] = hub.resident_mb() - before
        finally:
            node_end, hub_end = other.end(), hub.end()
        moved = 2 * megabytes * MESSAGE_BYTES / 1e6
        return {
            "schema": "fusion.bench-relay/1",
            "megabytes": megabytes,
            **{name: round(value, 2) for name, value in figures.items()},
            "hub_start_mb": round(hub_end["start_mb"], 1),
            "hub_peak_mb": round(hub_end["peak_mb"], 1),
            "hub_cpu_s_a_gb": round(hub_end["cpu_s"] / moved * 1000, 2),
            "node_peak_mb": round(node_end["peak_mb"], 1),
        }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--megabytes", type=int, default=1024)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--role", choices=("hub", "node"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role == "hub":
        _serve_hub(options.folder)
    elif options.role == "node":
        _serve_node(options.folder)
    else:
        found = measure(options.megabytes)
        if options.json:
            print(json.dumps(found))
            return
        for name, value in found.items():
            print(f"{name:<24} {value}")


if __name__ == "__main__":
    main()
