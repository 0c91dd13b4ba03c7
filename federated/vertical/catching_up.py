"""A node that was away when runs ended asks the hub how they did, as soon as it answers."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final, Self

from fusion.errors import FusionError, PartyUnreachable

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS: Final = 60.0
"""Between two times of asking."""
AGAIN_SECONDS: Final = 2.0
"""After which a hub that did not answer is asked again."""


class CatchingUp:
    """A thread that has a party catch up, from its start on, now and again."""

    def __init__(self, act: Callable[[], None], say: Callable[[str], None]) -> None:
        """Take what is to be done.

        Args:
            act: :meth:`federated.vertical.party.VerticalParty.catch_up`, with the hub to ask.
            say: Told what the owner should know.
        """
        self._act, self._say = act, say
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="catching-up", daemon=True)

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End; what is being asked is waited for."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        said, pause = "", 0.0
        while not self._stop.wait(pause):
            pause = SECONDS
            try:
                self._act()
            except PartyUnreachable:
                pause = AGAIN_SECONDS
            except (FusionError, OSError) as error:
                if str(error) != said:
                    self._say(f"runs that have ended: {error}")
                said = str(error)
