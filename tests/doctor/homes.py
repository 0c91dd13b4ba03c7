"""A hub that serves and a node that is a member and a holder, for the doctor to look at."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from fusion.identity.ceremony import KeyDocument, ShareFile
from fusion.services import keys
from fusion.services.doctor import examine
from fusion.services.files import toml_text, write_atomic
from fusion.services.homes import NodeHome
from fusion.services.leaves import ensure_leaf
from tests.link.federation import admit, make_hub, make_node

if TYPE_CHECKING:
    from pathlib import Path

    from fusion.link.port import Port
    from fusion.ports import Clock
    from fusion.services.findings import Finding
    from fusion.services.homes import HubHome
    from tests.keys import Dealt

HOLDERS = ("a.example", "b.example", "c.example", "d.example")


class Later:
    """A clock that is ahead, or behind."""

    def __init__(self, days: float) -> None:
        self._days = days

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(days=self._days)

    def monotonic(self) -> float:
        return 0.0


@dataclass(frozen=True, slots=True)
class World:
    """What a test breaks."""

    hub: HubHome
    node: NodeHome
    table: Path
    port: Port


def member(hub: HubHome, path: Path, table: Path, dealt: Dealt) -> NodeHome:
    """A member that holds a share of a key that the hub knows, too."""
    node = admit(hub, make_node(hub, path / "a", HOLDERS[0]))
    sealing = hub.roster().member(HOLDERS[0]).sealing_key
    sealed_to = [sealing.hex, *(f"{number:064x}" for number in range(3))]
    document = KeyDocument.of(dealt.key, HOLDERS, sealed_to, dealt.proof)
    write_atomic(path / "key.json", document.to_bytes())
    keys.import_public(hub, path / "key.json", document.transcript())
    empty = ShareFile(document=document, organisation=HOLDERS[0], sealed="00")
    sealed = sealing.seal(dealt.shares[0].to_bytes(256, "big"), empty.context())
    file = empty.model_copy(update={"sealed": sealed.hex()})
    write_atomic(path / "share", file.to_bytes())
    keys.import_share(node, path / "share", document.transcript())
    # The doctor dials, and would make it.
    ensure_leaf(node, hub.config.federation, datetime.now(UTC))
    config = node.config.model_copy(update={"data": {"people": table}})
    return NodeHome(node.path, config)


def write_node(world: World, node: NodeHome, *, port: int = 0) -> NodeHome:
    """Write a node's configuration with the port on which its hub came to be."""
    url = f"https://127.0.0.1:{port or world.port.port}"
    config = node.config.model_copy(update={"hub_url": url})
    write_atomic(node.path / "node.toml", toml_text(config.model_dump(mode="json")))
    return NodeHome.open(node.path)


def new_hub(path: Path) -> HubHome:
    """A hub on a port that the system chooses."""
    return make_hub(path)


def found_of(home: HubHome | NodeHome, check: str, clock: Clock | None = None) -> list[Finding]:
    """Return the findings of one check."""
    return [f for f in examine(home.path, clock=clock) if f.check == check]


def the(home: HubHome | NodeHome, check: str) -> Finding:
    """Return the only finding of a check."""
    (found,) = found_of(home, check)
    return found
