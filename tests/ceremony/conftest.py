"""One ceremony for all tests of this folder; each imports into folders of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fusion.services import ceremony
from fusion.services.homes import NodeHome
from tests.ceremony.dealing import HOLDERS, Dealing
from tests.link.federation import admit, make_hub, make_node


@pytest.fixture(scope="package")
def dealing(tmp_path_factory: pytest.TempPathFactory) -> Dealing:
    """A hub, members, and the files of a ceremony."""
    path = tmp_path_factory.mktemp("ceremony")
    hub = make_hub(path / "hub")
    names = (*HOLDERS, "d.example")
    nodes = {name: admit(hub, make_node(hub, path / name, name)) for name in names}
    progress: list[ceremony.Search] = []
    held = ceremony.hold(hub.roster(), HOLDERS, 2, 2048, path / "new" / "out", progress.append)
    return Dealing(hub, nodes, held, progress)


@pytest.fixture
def nodes(dealing: Dealing, tmp_path: Path) -> dict[str, NodeHome]:
    """The members' folders, with nothing imported yet."""
    return {
        name: NodeHome.open(Path(shutil.copytree(node.path, tmp_path / name)))
        for name, node in dealing.nodes.items()
    }
