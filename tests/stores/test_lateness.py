"""Late answers: counted by month, dataset and organisation; nothing is given back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fusion.errors import EnvironmentUnfit
from fusion.stores.lateness import Asker

if TYPE_CHECKING:
    from tests.stores.places import Place

BANK = Asker(dataset="d", party="bank")


def test_events_are_of_a_month_and_steps_only_grow(place: Place) -> None:
    late = place.lateness()
    assert late.known(BANK, "2026-11", "s") == (0, 0)
    late.late("a", BANK, "2026-11", "s", 1000)
    late.late("b", BANK, "2026-11", "s", 500)
    late.late("c", BANK, "2026-12", "t", 2000)
    assert late.known(BANK, "2026-11", "s") == (2, 1000)
    assert late.known(BANK, "2026-12", "t") == (1, 2000)
    assert late.known(BANK, "2026-12", "s") == (1, 0)
    assert late.known(Asker(dataset="d", party="press"), "2026-11", "s") == (0, 0)
    assert late.known(Asker(dataset="e", party="bank"), "2026-11", "s") == (0, 0)
    late.close()
    assert place.lateness().known(BANK, "2026-11", "s") == (2, 1000)


def test_nothing_is_given_back(place: Place) -> None:
    late = place.lateness()
    late.late("a", BANK, "2026-11", "s", 500)
    for change in ("DELETE FROM late_answer", "UPDATE late_answer SET step = 1"):
        with pytest.raises(EnvironmentUnfit), late._database.transaction() as connection:
            connection.execute(change)
    assert late.known(BANK, "2026-11", "s") == (1, 500)


def test_a_pool_has_the_events_of_its_members(place: Place) -> None:
    """Events stay an organisation's: a pool that is made, or grows, begins with what they had."""
    late = place.lateness()
    late.late("a", BANK, "2026-11", "s", 500)
    late.late("b", Asker(dataset="d", party="press"), "2026-11", "s", 2000)
    late.late("c", Asker(dataset="d", party="shop", others=None), "2026-11", "t", 4000)
    late.late("d", Asker(dataset="e", party="press"), "2026-11", "s", 8000)
    pool = Asker(dataset="d", party="bank", others=frozenset({"press"}))
    assert late.known(pool, "2026-11", "s") == (2, 2000)
    assert late.known(Asker(dataset="d", party="new", others=None), "2026-11", "s") == (3, 2000)
    assert late.known(BANK, "2026-11", "s") == (1, 500)
