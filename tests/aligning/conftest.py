"""A federation that is up, for the tests of alignments between nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.aligning.world import BANK, GOV, TAX, make_world
from tests.link.federation import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.aligning.world import World


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Three nodes with grants for the bank; their hub is up."""
    found = make_world(tmp_path_factory.mktemp("aligning") / "world")
    with serving(found.hub, 1) as port:
        found.at(port.port)
        for owner in (BANK, GOV, TAX):
            found.grant(owner)
        yield found
