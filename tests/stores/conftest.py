"""The stores in a database: SQLite in a folder, PostgreSQL where it is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.postgres import new_schema, running
from tests.stores.places import Place

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """A PostgreSQL server, or a skipped test."""
    with running() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A new place in each of the two databases."""
    if request.param == "sqlite":
        return Place(tmp_path / "state.sqlite")
    return Place(new_schema(request.getfixturevalue("server")))
