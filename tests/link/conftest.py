"""One federation for all tests of the port: a hub, two members, an outsider."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from fusion.link.rules import FrontLimits
from tests.link.federation import StandIn, admit, make_hub, make_node, serving, superlink

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusion.link.front import Front
    from fusion.services.homes import HubHome, NodeHome


@dataclass(frozen=True, slots=True)
class Federation:
    """What a test finds running."""

    hub: HubHome
    a: NodeHome
    b: NodeHome
    superlink: StandIn
    front: Front


@pytest.fixture(scope="session")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    """A federation that is up; tests do not change it."""
    path = tmp_path_factory.mktemp("federation")
    hub = make_hub(path / "hub")
    a, b = (admit(hub, make_node(hub, path / org, f"{org}.example")) for org in "ab")
    limits = FrontLimits(linger=0.2, hold=0.0)
    with superlink(hub) as stand_in, serving(hub, stand_in.port, limits) as front:
        yield Federation(hub, a, b, stand_in, front)
