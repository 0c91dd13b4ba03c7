"""A world for each test to break."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.doctor.homes import World, member, new_hub, write_node
from tests.federation import write_table
from tests.link.federation import serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.keys import Dealt


@pytest.fixture
def world(tmp_path: Path, dealt: Dealt) -> Iterator[World]:
    """A hub that serves, and a member that holds a share; nothing is wrong with either."""
    hub = new_hub(tmp_path / "hub")
    table = write_table(tmp_path / "people.csv")
    node = member(hub, tmp_path, table, dealt)
    with serving(hub, 1) as port:
        made = World(hub, node, table, port)
        yield World(hub, write_node(made, node), table, port)
