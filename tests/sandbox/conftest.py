"""Made-up tables for tests of restricted queries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from examples.restricted_query.make_data import make

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """2,000 people with 15,000 visits."""
    folder = tmp_path_factory.mktemp("made")
    make(folder, 2000, 15_000)
    return {name: folder / f"{name}.parquet" for name in ("persons", "visits", "regions")}
