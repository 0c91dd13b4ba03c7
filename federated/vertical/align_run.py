"""An alignment by itself at the hub: tells how far it is, and hands on what parties tell.

What a party tells is sealed to the operator: the hub is not told how many records are common.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from federated.vertical.coordinator import Coordinator
from fusion.alignment.study import AlignmentStudy

if TYPE_CHECKING:
    from federated.vertical.coordinator import JointRun
    from federated.vertical.keeping import Mark

TELL_SECONDS: Final = 5.0
"""Between two events about bytes."""


class AlignmentCoordinator(Coordinator[AlignmentStudy]):
    """See the module."""

    def __init__(self, run: JointRun[AlignmentStudy]) -> None:
        """Take what is to be run."""
        super().__init__(run)
        self._told, self._since = 0, float("-inf")

    def begun(self, number: int, start: Mark | None) -> None:
        """See :class:`Coordinator`."""
        del number, start

    def looked(self, number: int) -> None:
        """See :class:`Coordinator`."""
        del number
        now, sent = self.run.clock.monotonic(), self.sent()
        if sent > self._told and now - self._since >= TELL_SECONDS:
            self._told, self._since = sent, now
            self.run.emit({"event": "sent", "bytes": sent})

    def finish(self, number: int) -> None:
        """See :class:`Coordinator`."""
        del number
        self.run.emit({"event": "sent", "bytes": self.sent()})
        for organisation in self.run.study.organisations:
            standing = self.heard[organisation].standing
            if standing is not None:
                told = standing.told
                self.run.emit({"event": "told", "organisation": organisation, "told": told})
