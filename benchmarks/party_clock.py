"""Seconds of CPU by party, where all parties are in one process."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from federated.protocols.vertical.messages import Outgoing


class Clock:
    """Seconds of CPU by party."""

    def __init__(self) -> None:
        """Start at 0."""
        self.cpu: dict[str, float] = {}

    def timed(self, party: str, act: Callable[[], list[Outgoing]]) -> list[Outgoing]:
        """Charge what a party does."""
        began = time.process_time()
        answers = act()
        self.cpu[party] = self.cpu.get(party, 0.0) + time.process_time() - began
        return answers

    def less(self, before: Clock, steps: int) -> dict[str, float]:
        """Return seconds a step, of those that this run has more than another."""
        return {p: round((s - before.cpu.get(p, 0.0)) / steps, 4) for p, s in self.cpu.items()}
