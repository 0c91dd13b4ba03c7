"""A hub and three members whose logs are witnessed over the hub's real port."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from fusion.services.board import LOOK_SECONDS, Board
from fusion.services.clock import SystemClock
from fusion.services.dialling import link_of
from fusion.services.ledger import Book
from fusion.services.witness import Witness, Witnessing
from tests.link.federation import admit, at_port, make_hub, make_node, serving, superlink

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from fusion.link.dial import Link
    from fusion.link.port import Port
    from fusion.services.homes import HubHome, NodeHome

NAMES = ("a.example", "b.example", "c.example")


class Hands:
    """A clock that tests put forward."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def now(self) -> datetime:
        return SystemClock().now()

    def monotonic(self) -> float:
        return self.ahead


@dataclass
class Federation:
    """What a test finds running."""

    hub: HubHome
    nodes: dict[str, NodeHome]
    port: Port
    clock: Hands = field(default_factory=Hands)
    said: list[str] = field(default_factory=list)
    witnesses: dict[str, Witness] = field(default_factory=dict)
    board: Any = None
    links: list[Link] = field(default_factory=list)

    def start(self) -> None:
        """Open the board, and a witness for each node."""
        self.board = Board(self.hub, self.said.append, self.clock)
        for name, node in self.nodes.items():
            self.witnesses[name] = self.witness(node)

    def witness(self, node: NodeHome) -> Witness:
        """A witness, over a connection of its own."""
        link = link_of(node)
        self.links.append(link)
        return Witness(node, link, self.said.append, self.clock)

    def begin_witnessing(self, node: NodeHome) -> None:
        """Do what a node does before it serves."""
        link = link_of(node)
        self.links.append(link)
        Witnessing(node, link, self.said.append).__enter__()

    def round(self, names: tuple[str, ...] = NAMES, ahead: float = LOOK_SECONDS) -> bool:
        """Everybody exchanges once; say whether all are settled."""
        self.clock.ahead += ahead
        settled = [self.witnesses[name].exchange() for name in names]
        self.board.tend()
        return all(settled)

    def settle(self, names: tuple[str, ...] = NAMES) -> int:
        """Exchange until there is nothing to do; return the rounds it took."""
        for number in range(1, 12):
            if self.round(names):
                return number
        return -1

    def book(self, name: str) -> Book:
        return Book(self.hub if name == "hub" else self.nodes[name], self.clock)

    def close(self) -> None:
        for link in self.links:
            link.close()


@pytest.fixture
def federation(tmp_path: Path) -> Iterator[Federation]:
    """A federation of three."""
    hub = make_hub(tmp_path / "hub")
    made = {name: admit(hub, make_node(hub, tmp_path / name, name)) for name in NAMES}
    for node in made.values():
        node.roster_file.write_bytes(hub.roster_file.read_bytes())
    with superlink(hub) as stand_in, serving(hub, stand_in.port) as port:
        nodes = {name: at_port(node, port.port) for name, node in made.items()}
        found = Federation(hub, nodes, port)
        found.start()
        try:
            yield found
        finally:
            found.close()
