"""The hub's port in a process of its own: ``python -m tests.link.hub_process FOLDER``.

Prints the port's number, serves until its standard input ends.
"""

from __future__ import annotations

import sys
from pathlib import Path

from fusion.services.homes import HubHome
from fusion.services.hub_port import port_of


def main() -> None:
    """Serve."""
    port = port_of(HubHome.open(Path(sys.argv[1])), 1)
    port.start()
    sys.stdout.write(f"{port.port}\n")
    sys.stdout.flush()
    sys.stdin.read()
    port.stop()


if __name__ == "__main__":
    main()
