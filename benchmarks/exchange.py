"""One exchange between the hub and its nodes: real processes, TLS, node keys, durable SuperLink.

``python -m benchmarks.exchange [--nodes 4] [--count 60] [--settle 35] [--idle 20]``

Makes a federation in a scratch folder with the command line's own verbs, has the hub exchange an
empty message with all nodes ``--count`` times, then watches the idle nodes for ``--idle`` seconds.
Prints a table: time of an exchange, and memory and CPU of an idle node (all its processes).
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import threading
import time
from pathlib import Path

from federated.engine import ENGINE
from fusion.services.homes import HubHome
from tests.deployment.processes import Deployment


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--count", type=int, default=60)
    # Nodes look often for a while after the last message; that is not idling.
    parser.add_argument("--settle", type=float, default=35.0)
    parser.add_argument("--idle", type=float, default=20.0)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="banyan-exchange-"))
    names = [f"node-{number}" for number in range(1, options.nodes + 1)]
    try:
        with Deployment(folder, names) as deployment:
            print(f"{options.nodes} nodes, {options.count} exchanges", flush=True)
            _exchanges(deployment, options.count)
            time.sleep(options.settle)
            _idle(deployment, names, options.idle)
    finally:
        shutil.rmtree(folder)


def _exchanges(deployment: Deployment, count: int) -> None:
    hub = HubHome.open(deployment.hub)
    before = deployment.cpu_seconds("hub")
    job = ENGINE.ping(hub, count)
    events = list(ENGINE.follow(hub, job, stop=threading.Event()))
    seconds = sorted(event["seconds"] for event in events if event["event"] == "exchange")
    missing = sum(bool(event["missing"]) for event in events if event["event"] == "exchange")
    print(f"mean                  {statistics.mean(seconds):8.3f} s")
    print(f"median                {statistics.median(seconds):8.3f} s")
    print(f"90th percentile       {seconds[int(0.9 * len(seconds))]:8.3f} s")
    print(f"longest               {seconds[-1]:8.3f} s")
    print(f"without an answer     {missing:8d}")
    spent = (deployment.cpu_seconds("hub") - before) / count
    print(f"hub's CPU             {spent:8.3f} s an exchange")


def _idle(deployment: Deployment, names: list[str], seconds: float) -> None:
    before = {name: deployment.cpu_seconds(name) for name in [*names, "hub"]}
    time.sleep(seconds)
    for name in [*names, "hub"]:
        used = (deployment.cpu_seconds(name) - before[name]) / seconds
        memory = deployment.resident_bytes(name) / 2**20
        print(f"idle {name:<16} {memory:8.1f} MiB {100 * used:6.2f} % of a core")


if __name__ == "__main__":
    main()
