"""The commands of the README lead where it says, in its order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.deployment.walk import Walk, commands

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.deployment, pytest.mark.timeout(420)]


@pytest.fixture
def walk(tmp_path: Path) -> Iterator[Walk]:
    """The machines of a reader of the README."""
    walking = Walk(tmp_path, "hub.example:8443", "README.md", bits=2048)
    yield walking
    walking.close()


def test_the_readmes_commands_lead_to_a_trained_model(walk: Walk) -> None:
    for line in commands("README.md"):
        walk.run(line)
    assert "<svg" in (walk.operator / "report.html").read_text("utf-8")
    assert "<svg" in (walk.desk / "report.html").read_text("utf-8")


def test_the_chinese_readme_shows_the_same_commands() -> None:
    assert commands("README.zh-CN.md") == commands("README.md")
