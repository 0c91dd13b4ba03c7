"""A node that runs alignments, alone: ``python -m tests.aligning.node_process DIR [WHAT NUMBER]``.

Prints ``up``, serves until its standard input ends or it is killed. After it has taken so many
messages it does WHAT: ``die``, ``freeze``, or ``lie`` in each message that it makes from then on;
``late``: it dies when its peers have ended, and before it has written down what it learned.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusion.alignment.talkers import SessionTalker
from fusion.services import align_part
from fusion.services.align_service import AlignPort, alignments_run
from fusion.services.homes import NodeHome
from fusion.services.node_link import Connection

if TYPE_CHECKING:
    from fusion.alignment.session import Session


class Faulty(SessionTalker):
    """A party that fails after so many messages."""

    what, number = "", -1

    def __init__(self, session: Session, on_taken: Any) -> None:  # noqa: ANN401 - as the base has it
        super().__init__(session, on_taken)
        self._count = 0

    def take(self, peer: str, data: bytes) -> None:
        super().take(peer, data)
        self._count += 1
        if self._count == self.number and self.what in {"die", "freeze"}:
            os.kill(os.getpid(), signal.SIGKILL if self.what == "die" else signal.SIGSTOP)

    def message(self, peer: str, number: int) -> bytes:
        data = super().message(peer, number)
        if self.what == "lie" and self._count >= self.number:
            return data[:-1] + bytes((data[-1] ^ 1,))
        return data


def _die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Serve."""
    node = NodeHome.open(Path(sys.argv[1]))
    if len(sys.argv) > 2:
        if sys.argv[2] == "late":
            setattr(align_part._Part, "_learned", _die)  # noqa: B010 - as below
        Faulty.what, Faulty.number = sys.argv[2], int(sys.argv[3])
        setattr(align_part, "SessionTalker", Faulty)  # noqa: B010 - a class is no variable
    port = AlignPort(node)

    def say(text: str) -> None:
        sys.stderr.write(f"{node.config.id}: {text}\n")

    with Connection(node) as connection:
        connection.serve(say, (port.handler(),))
        with alignments_run(port, node, connection.conversations, say):
            assert connection.link.wait_attached(60)
            node.ready.write_bytes(b"{}")
            sys.stdout.write("up\n")
            sys.stdout.flush()
            sys.stdin.read()


if __name__ == "__main__":
    main()
