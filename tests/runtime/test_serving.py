"""One process serves a folder: a second one is refused and leaves the first one's files alone."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from federated.runtime.node import serve_node
from federated.runtime.supervisor import serve_hub
from fusion.errors import EnvironmentUnfit
from tests.link.federation import admit, make_hub, make_node

if TYPE_CHECKING:
    from pathlib import Path


def test_a_second_hub_is_refused_and_leaves_the_first_one_alone(tmp_path: Path) -> None:
    hub = make_hub(tmp_path / "hub")
    files = (hub.ready, hub.requests_bell, hub.replies_bell)
    with hub.serving():
        for file in files:
            file.write_bytes(b"the first one's")
        with pytest.raises(EnvironmentUnfit, match="is up already"):
            serve_hub(hub, stop=threading.Event(), say=pytest.fail)
        assert [file.read_bytes() for file in files] == [b"the first one's"] * 3


def test_a_second_node_is_refused_and_leaves_the_first_one_alone(tmp_path: Path) -> None:
    hub = make_hub(tmp_path / "hub")
    node = admit(hub, make_node(hub, tmp_path / "node", "a.example"))
    with node.serving():
        node.ready.write_bytes(b"the first one's")
        with pytest.raises(EnvironmentUnfit, match="is up already"):
            serve_node(node, stop=threading.Event(), say=pytest.fail)
        assert node.ready.read_bytes() == b"the first one's"


def test_what_a_killed_process_left_does_not_count_and_nothing_is_left(tmp_path: Path) -> None:
    hub = make_hub(tmp_path / "hub")
    hub.ready.write_bytes(b"of a process that was killed")
    with hub.serving():
        assert not hub.ready.exists()
        hub.ready.write_bytes(b"ours")
    assert not hub.ready.exists()
    with hub.serving():
        pass
