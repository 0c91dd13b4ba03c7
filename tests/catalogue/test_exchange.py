"""Descriptors over the hub's real port: handed in by their owner, fetched by everybody."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from fusion.errors import HubRefused
from fusion.services import catalogue, datasets
from fusion.services.catalogue import CATALOGUE
from fusion.services.dialling import link_of
from fusion.services.homes import NodeHome
from fusion.services.node_link import Connection
from tests.catalogue.tables import text, write
from tests.link.federation import at_port, serving

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fusion.services.homes import HubHome


def _signed(node: NodeHome) -> bytes:
    file = write(node.path.parent / "firms.csv")
    datasets.add(node, file, dataset="firms", text=text(), origin="d.yaml")
    return datasets.publish(NodeHome.open(node.path), "firms").envelope


def _names(node: NodeHome) -> list[str]:
    return [signed.descriptor.name for signed in catalogue.folder_of(node).all()]


def test_what_one_publishes_the_others_see(hub: HubHome, nodes: Mapping[str, NodeHome]) -> None:
    with serving(hub, 1) as port:
        tax, bank, health = (at_port(nodes[n], port.port) for n in ("tax", "bank", "health"))
        said: list[str] = []
        with Connection(bank) as connection:
            connection.serve(said.append)
            assert connection.link.wait_attached(60)
            with link_of(tax) as link:
                link.hand_in(CATALOGUE, _signed(tax))
            until = time.monotonic() + 60
            while _names(bank) != ["tax/firms"]:
                assert time.monotonic() < until
                time.sleep(0.02)
        assert not said
        assert bank.catalogue.stat().st_mode & 0o777 == 0o700
        with link_of(health) as link:
            assert catalogue.fetch(health, link).new == ["tax/firms"]
            assert catalogue.fetch(health, link).kept == ["tax/firms"]


def test_nobody_publishes_for_another(hub: HubHome, nodes: Mapping[str, NodeHome]) -> None:
    with serving(hub, 1) as port:
        signed = _signed(nodes["tax"])
        with link_of(at_port(nodes["bank"], port.port)) as link:
            with pytest.raises(HubRefused, match="hands in a descriptor of tax"):
                link.hand_in(CATALOGUE, signed)
            with pytest.raises(HubRefused):
                link.hand_in(CATALOGUE, signed[:-3])
    assert catalogue.folder_of(hub).all() == []
