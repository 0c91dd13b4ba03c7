"""Holders of a model: folders on this machine, admitted by a hub."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from fusion.services import node as node_service
from fusion.services.model_facts import Holder, Identifier, ModelFacts, Own, Shared
from tests.link.federation import admit, make_hub

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fusion.services.homes import HubHome, NodeHome

LABEL, FIRST, SECOND = "bank", "registry", "tax"
PURPOSE = "dpv:CreditChecking"
D = hashlib.sha256(b"d").hexdigest()


def make_nodes(
    path: Path, data: Mapping[str, Mapping[str, Path]]
) -> tuple[HubHome, list[NodeHome]]:
    """Make a hub and its members, each with its tables; all know all."""
    hub = make_hub(path / "hub")
    nodes = [
        admit(hub, node_service.init(path / name, hub=str(hub.invitation), org=name, data=tables))
        for name, tables in data.items()
    ]
    for node in nodes:
        node.keep_epoch(hub.roster(), hub.roster_file.read_bytes())
    return hub, nodes


def shared(parts: Mapping[str, bytes], **changes: Any) -> Shared:  # noqa: ANN401 - fields
    """Return what the holders of these parts share; the first is the label party."""
    holders = [
        Holder(
            organisation=name,
            role="feature" if at else "label",
            part=hashlib.sha256(part).hexdigest(),
        )
        for at, (name, part) in enumerate(parts.items())
    ]
    content = {
        "name": "credit",
        "study": D,
        "job": "job-1",
        "kind": "boosting",
        "purpose": PURPOSE,
        "identifier": Identifier(field="id", kind="text"),
        "holders": tuple(holders),
        "made": "2026-01-01T00:00:00Z",
        **changes,
    }
    return Shared(**content)


def facts(of: Shared, who: str, **changes: Any) -> ModelFacts:  # noqa: ANN401 - fields
    """Return what one of the holders knows."""
    content = {
        "organisation": who,
        "dataset": "people",
        "identifier": "id",
        "columns": ("age",),
        "label": "default" if who == of.label_party else None,
        "schema_digest": D,
        **changes,
    }
    return ModelFacts(shared=of, own=Own(**content))
