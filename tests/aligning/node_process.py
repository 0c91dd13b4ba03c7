"""A node that answers the hub, alone: ``python -m tests.aligning.node_process DIR [WHAT NUMBER]``.

Prints ``up``, answers a request a line until its standard input ends or it is killed. After it has
taken so many messages it does WHAT: ``die``, ``freeze``, or ``lie`` in each message that it makes
from then on; ``late``: it dies when its peers have ended, before it has written what it learned.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from federated.cohort import Request
from federated.seats import seat_of, vertical_seat_of
from federated.vertical import align_job
from federated.vertical.party import VerticalParty
from fusion.alignment.rr22_talker import Rr22Talker
from fusion.alignment.talkers import MemberTalker, SessionTalker
from fusion.services.homes import NodeHome
from fusion.services.node_link import Connection


def faulty(base: Any, what: str, at: int) -> type:  # noqa: ANN401 - a class of talkers
    """Return a talker that fails after so many messages."""

    class Faulty(base):  # type: ignore[misc]
        count = 0

        def take(self, peer: str, data: bytes) -> None:
            super().take(peer, data)
            self.count += 1
            if self.count == at and what in {"die", "freeze"}:
                os.kill(os.getpid(), signal.SIGKILL if what == "die" else signal.SIGSTOP)

        def message(self, peer: str, number: int) -> bytes:
            data: bytes = super().message(peer, number)
            if what == "lie" and self.count >= at:
                return data[:-1] + bytes((data[-1] ^ 1,))
            return data

    return Faulty


def _die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Serve."""
    node = NodeHome.open(Path(sys.argv[1]))
    if len(sys.argv) > 2:
        what, at = sys.argv[2], int(sys.argv[3])
        if what == "late":
            setattr(align_job.AlignJob, "_finish", _die)  # noqa: B010 - as below
        for base in (SessionTalker, MemberTalker, Rr22Talker):
            setattr(align_job, base.__name__, faulty(base, what, at))

    def say(text: str) -> None:
        sys.stderr.write(f"{node.config.id}: {text}\n")

    with Connection(node) as connection:
        connection.serve(say)
        assert connection.link.wait_attached(60)
        seat = seat_of(node, say, connection.link)
        party = VerticalParty(vertical_seat_of(node, seat, connection.conversations))
        sys.stdout.write("up\n")
        sys.stdout.flush()
        for line in sys.stdin:
            asked = json.loads(line)
            reply = party.handle(Request(asked["kind"], asked["head"]))
            failure = None if reply.failure is None else asdict(reply.failure)
            said = {
                "organisation": reply.organisation, "head": dict(reply.head), "failure": failure,
            }  # fmt: skip
            sys.stdout.write(json.dumps(said) + "\n")
            sys.stdout.flush()
        party.close()


if __name__ == "__main__":
    main()
