"""A hub's folder with four members and their key, made once; each test gets a copy."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fusion.identity.ceremony import KeyDocument, ShareFile
from fusion.services import keys
from fusion.services import node as node_service
from fusion.services.homes import HubHome, NodeHome
from tests.federation import NAMES, write_table
from tests.link.federation import admit, make_hub

if TYPE_CHECKING:
    from tests.keys import Dealt


@pytest.fixture(scope="package")
def homes(tmp_path_factory: pytest.TempPathFactory, dealt: Dealt) -> Path:
    """A folder with ``hub`` and one folder a member; keys imported everywhere."""
    path = tmp_path_factory.mktemp("homes")
    hub = make_hub(path / "hub")
    for index, name in enumerate(NAMES):
        table = write_table(path / f"{name}.csv", seed=index)
        node = node_service.init(
            path / name,
            hub=str(hub.invitation),
            org=name,
            data={"people": table, "animals": table},
            require_grants=False,
        )
        admit(hub, node)
    roster = hub.roster()
    sealed_to = [roster.member(name).sealing_key for name in NAMES]
    document = KeyDocument.of(dealt.key, NAMES, [key.hex for key in sealed_to], dealt.proof)
    (path / "key.json").write_bytes(document.to_bytes())
    keys.import_public(hub, path / "key.json", document.transcript())
    for name, share, key in zip(NAMES, dealt.shares, sealed_to, strict=True):
        empty = ShareFile(document=document, organisation=name, sealed="00")
        sealed = key.seal(share.to_bytes(256, "big"), empty.context())
        (path / "share").write_bytes(empty.model_copy(update={"sealed": sealed.hex()}).to_bytes())
        keys.import_share(NodeHome.open(path / name), path / "share", document.transcript())
        # Every member knows the roster that has all of them.
        shutil.copy(hub.roster_file, path / name / "roster.json")
    return path


@pytest.fixture
def hub(homes: Path, tmp_path: Path) -> HubHome:
    """The hub's folder; it is not up."""
    return HubHome.open(Path(shutil.copytree(homes / "hub", tmp_path / "hub")))


@pytest.fixture
def nodes(homes: Path, tmp_path: Path) -> dict[str, NodeHome]:
    """The members' folders."""
    return {
        name: NodeHome.open(Path(shutil.copytree(homes / name, tmp_path / name))) for name in NAMES
    }
