"""All parties of a run in one place: every message goes through bytes, and is counted.

For simulations, tests and benchmarks; between organisations the same machines talk over the link.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from federated.protocols.vertical.messages import Outgoing


class Machine(Protocol):
    """A party: bytes in, bytes out."""

    def receive(self, sender: str, data: bytes) -> list[Outgoing]:
        """Take a message and return the answers."""
        ...


def converse(
    machines: Mapping[str, Machine],
    first: Iterable[tuple[str, Outgoing]],
    watch: Callable[[str, str, int], None] = lambda *_: None,
    timed: Callable[[str, Callable[[], list[Outgoing]]], list[Outgoing]] = lambda _, act: act(),
) -> dict[tuple[str, str], int]:
    """Deliver messages in order until there is none left.

    Args:
        machines: By name.
        first: Sender and message of those that begin.
        watch: Told sender, receiver and bytes of each message, before it is delivered.
        timed: Calls what a party does, and may measure it.

    Returns:
        Bytes by sender and receiver.
    """
    waiting = deque(first)
    sent: dict[tuple[str, str], int] = {}
    while waiting:
        sender, out = waiting.popleft()
        sent[sender, out.to] = sent.get((sender, out.to), 0) + len(out.data)
        watch(sender, out.to, len(out.data))
        act = partial(machines[out.to].receive, sender, out.data)
        waiting.extend((out.to, each) for each in timed(out.to, act))
    return sent
