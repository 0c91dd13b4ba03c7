"""The commands of the page about deploying lead where it says, those in its text after the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.deployment.walk import Walk, commands

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.deployment, pytest.mark.soak, pytest.mark.timeout(420)]


@pytest.fixture
def walk(tmp_path: Path) -> Iterator[Walk]:
    """The machines of a reader of the page."""
    walking = Walk(tmp_path, "hub.fed.example:8443", "docs/deploy.md", label="y", bits=2048)
    yield walking
    walking.close()


def test_the_pages_commands_lead_to_a_trained_model(walk: Walk) -> None:
    # A line that the page shows twice is run once.
    for line in dict.fromkeys(commands("docs/deploy.md")):
        walk.run(line)
    assert "<svg" in (walk.operator / "report.html").read_text("utf-8")
