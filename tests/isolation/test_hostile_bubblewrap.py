"""Every script of the corpus in bubblewrap: reaches nothing, changes nothing, ends in time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.isolation.hostile import SCRIPTS, judge, opened

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sandbox.isolate import Isolation
    from tests.isolation.conftest import Scene


@pytest.fixture(scope="module")
def isolation() -> Iterator[Isolation]:
    """One for all scripts."""
    yield from opened("bubblewrap")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name.split(".")[0])
def test_a_hostile_script(isolation: Isolation, scene: Scene, script: Path) -> None:
    judge(isolation, scene, script)
