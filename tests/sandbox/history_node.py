"""A history on disk for tests, and what is asked of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sandbox.history.epoch import Cohort
from sandbox.history.guard import History, Release
from tests.sandbox.history_people import DEFINED, SCOPE, SECRET, People

if TYPE_CHECKING:
    from pathlib import Path

    from sandbox.history.predicates import Predicate
    from sandbox.history.request import Scope
    from sandbox.history.thresholds import Policy

PEOPLE: Final = People(3000)
COHORT: Final = Cohort(3000, "ab")


class Node:
    """A history on disk, and answers that say how often they were made."""

    def __init__(self, folder: Path, policy: Policy | None = None) -> None:
        self.path = folder / "history.sqlite"
        self.policy = policy
        self.history = History(self.path, SECRET, policy)
        self.made = 0

    def again(self) -> None:
        """Open the file anew."""
        self.history.close()
        self.history = History(self.path, SECRET, self.policy)

    def answer(self, groups: tuple[tuple[int, ...], ...]) -> tuple[str, ...]:
        self.made += 1
        return tuple(f"{self.made}:{','.join(map(str, group))}" for group in groups)

    def ask(self, *predicates: Predicate, scope: Scope = SCOPE, noise: float = 24.0) -> Release:
        request = PEOPLE.table(*predicates, scope=scope, noise=noise)
        return self.history.release(request, DEFINED, COHORT, self.answer)
