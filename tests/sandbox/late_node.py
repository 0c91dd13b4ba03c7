"""An owner's node, as far as time goes, on a scripted clock: what the work needs is said."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fusion.errors import QueryFailed, QueryRefused
from fusion.stores.lateness import Asker, SqlLateness
from sandbox.lateness import Lateness, Question, shape_of
from sandbox.policy import Time

if TYPE_CHECKING:
    from pathlib import Path

ASKER = Asker(dataset="persons", party="bank")
NOBODY = threading.Event()
GONE = threading.Event()
GONE.set()


class Scripted:
    """A clock that goes on when something waits, and what the work does meanwhile."""

    def __init__(self) -> None:
        self.passed = 0.0
        self.month = 11
        self.done_at = float("inf")
        self.work: Future[bytes] = Future()
        self.fails: Exception | None = None

    def now(self) -> datetime:
        return datetime(2026, self.month, 26, tzinfo=UTC)

    def monotonic(self) -> float:
        return self.passed

    def is_set(self) -> bool:
        return False

    def wait(self, timeout: float | None = None) -> bool:
        """Pass the time; work that needs no longer is done then."""
        self.passed += timeout or 0.0
        if self.passed >= self.done_at and not self.work.done():
            if self.fails is not None:
                self.work.set_exception(self.fails)
            else:
                self.work.set_result(b"answer")
        return False


class Node:
    """An owner's node, as far as time goes, and who asks it."""

    def __init__(self, path: Path, **time: int) -> None:
        self.time = Time.model_validate(time)
        self.path, self.said = path, list[str]()
        self.clock = Scripted()
        self.asked = 0
        self.restart()

    def restart(self) -> None:
        self.store = SqlLateness.in_file(self.path / "budgets.sqlite")
        self.late = Lateness(self.store, self.clock, self.said.append)

    def question(
        self, statement: str = "select 1", seconds: float = 60, asker: Asker = ASKER
    ) -> Question:
        self.asked += 1
        return Question(
            job=f"q-{self.asked}",
            caller="bank",
            asker=asker,
            shape=shape_of(statement),
            seconds=seconds,
            time=self.time,
        )

    def ask(
        self,
        needs: float,
        statement: str = "select 1",
        *,
        seconds: float = 60,
        asker: Asker = ASKER,
        gone: bool = False,
        fails: Exception | None = None,
    ) -> tuple[float, bool]:
        """Ask what takes so long; return when something left, and whether it was the answer."""
        clock = self.clock
        with self.late.course(self.question(statement, seconds, asker)) as course:
            began = clock.monotonic()
            clock.work, clock.done_at, clock.fails = Future(), began + needs, fails
            course.begin()
            try:
                course.answer(clock.work, GONE if gone else NOBODY, clock)
            except QueryRefused:
                return clock.monotonic() - began, False
            except QueryFailed:
                assert course.over.is_set()
                return clock.monotonic() - began, False
            return clock.monotonic() - began, True

    def events(self, asker: Asker = ASKER) -> int:
        month = f"2026-{self.clock.month:02d}"
        return self.store.known(asker, month, "")[0]
