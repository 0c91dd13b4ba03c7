"""A process that dies at any of its durable steps, in memory: what is on disk stays."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fusion.services import files
from fusion.stores.sqlite import Database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest


class Killed(BaseException):
    """The process is gone."""


class Mains:
    """What a process under a folder lives on: cut off, it writes nothing there any more.

    Attributes:
        steps: Durable steps that were done: transactions that write, and files replaced.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Stand between the stores of a folder and its disk."""
        self.steps = 0
        self._folder, self._left = folder, float("inf")
        used, replace = Database._used, files._replace

        @contextmanager
        def _used(database: Database, begin: str) -> Iterator[Any]:
            if begin == "BEGIN IMMEDIATE":
                self._step(database._path)
            with used(database, begin) as connection:
                yield connection

        def _replace(path: Path, *rest: Any) -> None:  # noqa: ANN401 - as it takes them
            self._step(path)
            replace(path, *rest)

        monkeypatch.setattr(Database, "_used", _used)
        monkeypatch.setattr(files, "_replace", _replace)

    @property
    def dead(self) -> bool:
        """Whether the process was killed."""
        return self._left < 0

    def cut(self, after: int) -> None:
        """Kill the process when it has done so many more steps, before the next."""
        self.steps, self._left = 0, after

    def restore(self) -> None:
        """Have power again."""
        self._left = float("inf")

    def _step(self, path: Path) -> None:
        if self._folder not in path.parents:
            return
        self._left -= 1
        if self._left < 0:
            raise Killed
        self.steps += 1
