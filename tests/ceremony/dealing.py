"""A ceremony that was held, for tests to look at what it left."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fusion.identity.ceremony import KeyDocument, ShareFile, read_file

if TYPE_CHECKING:
    from pathlib import Path

    from fusion.services import ceremony
    from fusion.services.homes import HubHome, NodeHome

HOLDERS = ("a.example", "b.example", "c.example")


@dataclass(frozen=True, slots=True)
class Dealing:
    """A hub, four members, and a ceremony held for three of them."""

    hub: HubHome
    nodes: dict[str, NodeHome]
    held: ceremony.Ceremony
    progress: list[ceremony.Search] = field(default_factory=list)

    def document(self) -> KeyDocument:
        """The public file, as it was written."""
        return read_file(KeyDocument, self.held.document.read_bytes())

    def share_file(self, org: str) -> ShareFile:
        """One holder's file, as it was written."""
        return read_file(ShareFile, self.held.files[org].read_bytes())


def imported(node: NodeHome) -> list[Path]:
    """Return every file that was imported into a folder."""
    return [path for path in node.paillier.rglob("*") if path.is_file()]
