"""One owner's node for all attacks of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.attacks import pipeline
from tests.attacks.harness import Arena

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.attacks.pipeline import Owner


@pytest.fixture(scope="package")
def owner() -> Iterator[Owner]:
    """A node with room for datasets."""
    with pipeline.owner() as found:
        yield found


@pytest.fixture(scope="package")
def arena(owner: Owner) -> Arena:
    """What runs attacks."""
    return Arena(owner)
