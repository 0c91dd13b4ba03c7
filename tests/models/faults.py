"""What stands between a label party and its feature parties, where a test wants something else."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fusion.services.score_service import ScoreService
    from tests.models.world import Served


@contextmanager
def between(world: Served, put: Any) -> Iterator[None]:  # noqa: ANN401 - a function
    """Have something else stand between label party and feature parties.

    Args:
        world: Parties.
        put: Told who answers, the question and the answer; returns the answer.
    """

    def reply(service: ScoreService, name: str) -> None:
        answer = type(service).reply

        def answered(caller: str, frame: bytes, stop: Any) -> bytes:  # noqa: ANN401
            found: bytes = put(name, frame, answer(service, caller, frame, stop))
            return found

        service.reply = answered  # type: ignore[method-assign]

    for name, service in world.services.items():
        reply(service, name)
    try:
        yield
    finally:
        for service in world.services.values():
            del service.reply


class At:
    """Does something to one answer of one feature party."""

    def __init__(self, who: str, number: int, act: Callable[[bytes], bytes]) -> None:
        """Take whose answer it is, how many come before it, and what becomes of it."""
        self._who, self._left, self._act = who, number, act

    def __call__(self, name: str, _: bytes, answer: bytes) -> bytes:
        """Return what the label party gets."""
        if name != self._who:
            return answer
        self._left -= 1
        return self._act(answer) if self._left == -1 else answer
