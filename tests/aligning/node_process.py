"""A node that runs alignments, alone: ``python -m tests.aligning.node_process DIR``.

Prints ``up``, serves until its standard input ends or it is killed.
"""

from __future__ import annotations

import sys
from pathlib import Path

from fusion.services.align_service import AlignPort, alignments_run
from fusion.services.homes import NodeHome
from fusion.services.node_link import Connection


def main() -> None:
    """Serve."""
    node = NodeHome.open(Path(sys.argv[1]))
    port = AlignPort(node)
    with Connection(node) as connection:
        connection.serve(lambda text: print(text, file=sys.stderr), (port.handler(),))  # noqa: T201
        with alignments_run(
            port,
            node,
            connection.conversations,
            lambda text: print(text, file=sys.stderr),  # noqa: T201
        ):
            assert connection.link.wait_attached(60)
            node.ready.write_bytes(b"{}")
            sys.stdout.write("up\n")
            sys.stdout.flush()
            sys.stdin.read()


if __name__ == "__main__":
    main()
