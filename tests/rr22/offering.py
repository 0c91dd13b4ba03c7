"""Nodes that offer RR22, and a study that asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fusion.services.homes import NODE_FILE, NodeHome
from tests.aligning.world import study_text

if TYPE_CHECKING:
    from pathlib import Path

    from tests.aligning.world import World


def offer(world: World, name: str, python: Path | None, others: list[str] | None = None) -> None:
    """Have a node name a Python that has spu, or none, and with whom it is used: with all."""
    node = world.nodes[name]
    path = node.path / NODE_FILE
    lines = [each for each in path.read_text("utf-8").splitlines() if "rr22_" not in each]
    own = [f"rr22_parties = {others or sorted(world.nodes.keys() - {name})}"]
    own += [] if python is None else [f'rr22_python = "{python}"']
    path.write_text("\n".join([*own, *lines]) + "\n", "utf-8")
    world.nodes[name] = NodeHome.open(node.path)


def rr22_text(**said: Any) -> str:  # noqa: ANN401 - values of the section
    """Return a study of two parties by RR22."""
    text = study_text(**{"outcome": "both", **said})
    return text.replace("[alignment]", '[alignment]\nprotocol = "rr22"')
