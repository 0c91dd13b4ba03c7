"""Alignments with a party whose node is not up, or goes down."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fusion.errors import FusionError, PartyUnreachable
from tests.aligning.world import BANK, GOV, study_text

if TYPE_CHECKING:
    from tests.aligning.world import World


def test_a_party_whose_node_is_down_is_named(world: World) -> None:
    with world.serving(BANK), pytest.raises(PartyUnreachable, match=GOV):
        world.align(study_text())
    with world.serving(GOV):
        world.nodes[BANK].ready.unlink()
        with pytest.raises(FusionError, match="not up"):
            world.align(study_text())
