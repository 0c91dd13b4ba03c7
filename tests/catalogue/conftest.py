"""A hub and three members that know each other; each test gets a copy of their folders."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fusion.services import node as node_service
from fusion.services.homes import HubHome, NodeHome
from tests.link.federation import admit, make_hub

if TYPE_CHECKING:
    from collections.abc import Mapping

MEMBERS = ("bank", "health", "tax")


@pytest.fixture(scope="package")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``hub`` and one folder a member."""
    path = tmp_path_factory.mktemp("catalogue")
    hub = make_hub(path / "hub")
    for name in MEMBERS:
        admit(hub, node_service.init(path / name, hub=str(hub.invitation), org=name))
    for name in MEMBERS:
        shutil.copy(hub.roster_file, path / name / "roster.json")
    return path


@pytest.fixture
def hub(folders: Path, tmp_path: Path) -> HubHome:
    """The hub's folder; it is not up."""
    return HubHome.open(Path(shutil.copytree(folders / "hub", tmp_path / "hub")))


@pytest.fixture
def nodes(folders: Path, tmp_path: Path) -> Mapping[str, NodeHome]:
    """The members' folders."""
    return {
        name: NodeHome.open(Path(shutil.copytree(folders / name, tmp_path / name)))
        for name in MEMBERS
    }
