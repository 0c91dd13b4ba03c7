"""A bank and a registry whose nodes offer RR22, by a stand-in for spu."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fusion.errors import IsolationUnavailable
from sandbox import service_user
from sandbox.choice import choose
from tests.aligning.world import BANK, GOV, make_world
from tests.link.federation import serving
from tests.rr22.offering import offer
from tests.rr22.python import stand_in

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.aligning.world import World


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stand-in's Python; skips where nothing confines it."""
    try:
        choose("bubblewrap", service_user.DEFAULT)
    except IsolationUnavailable as error:
        pytest.skip(f"bubblewrap does not work here: {error}")
    # Not below a folder that only this user can pass: it runs as another one.
    folder = tmp_path_factory.mktemp("stand-in")
    return stand_in(folder / "spu")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, python: Path) -> Iterator[World]:
    """Nodes with grants for the bank that offer RR22; their hub is up."""
    found = make_world(tmp_path_factory.mktemp("rr22") / "world")
    with serving(found.hub, 1) as port:
        found.at(port.port)
        for owner in (BANK, GOV):
            offer(found, owner, python)
            found.grant(owner)
        yield found
