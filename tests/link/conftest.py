"""One federation for all tests of the port: a hub, two members, an outsider."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from fusion.link.rules import PortLimits
from tests.link.federation import StandIn, admit, at_port, make_hub, make_node, serving, superlink

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusion.link.port import Port
    from fusion.services.homes import HubHome, NodeHome


@dataclass(frozen=True, slots=True)
class Federation:
    """What a test finds running."""

    hub: HubHome
    a: NodeHome
    b: NodeHome
    superlink: StandIn
    port: Port


@pytest.fixture(scope="session")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    """A federation that is up; tests do not change it."""
    path = tmp_path_factory.mktemp("federation")
    hub = make_hub(path / "hub")
    a, b = (admit(hub, make_node(hub, path / org, f"{org}.example")) for org in "ab")
    limits = PortLimits(rendezvous=60.0, body=1_000_000)
    with superlink(hub) as stand_in, serving(hub, stand_in.port, limits) as port:
        # Whoever joined first knows the other one, too.
        a.keep_epoch(hub.roster(), hub.roster_file.read_bytes())
        yield Federation(hub, at_port(a, port.port), at_port(b, port.port), stand_in, port)
