"""Grants over the real port: handed in by one party, fetched by the others and nobody else."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from fusion.errors import HubRefused
from fusion.grants.signing import Standing
from fusion.services import grant_exchange, grants
from fusion.services.dialling import link_of
from fusion.services.grant_exchange import GRANTS, Index
from fusion.services.node_link import Connection
from tests.grants.grants import document
from tests.link.federation import admit, at_port, make_hub, make_node, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fusion.services.homes import HubHome, NodeHome

TEXT = json.dumps(document({}))
NAMES = ("tax", "bank", "customs", "outsider")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[tuple[HubHome, dict[str, NodeHome]]]:
    """A hub that serves, and members; one of them is no party to any grant."""
    hub = make_hub(tmp_path / "hub")
    made = {name: admit(hub, make_node(hub, tmp_path / name, name)) for name in NAMES}
    with serving(hub, 1) as port:
        nodes = {name: at_port(node, port.port) for name, node in made.items()}
        for node in nodes.values():
            node.keep_epoch(hub.roster(), hub.roster_file.read_bytes())
        yield hub, nodes


def _exchange(node: NodeHome) -> tuple[list[str], list[str]]:
    notes: list[str] = []
    with link_of(node) as link:
        return grant_exchange.exchange(node, link, notes.append), notes


def test_a_grant_goes_round_and_comes_back_signed(
    world: tuple[HubHome, dict[str, NodeHome]],
) -> None:
    hub, nodes = world
    first = grants.propose(nodes["tax"], TEXT, "grant.yaml")
    grant_exchange.hand_in(nodes["tax"], first.signed.envelope)
    for name in ("customs", "bank"):
        taken, _ = _exchange(nodes[name])
        assert len(taken) == 1
        kept = grants.folder_of(nodes[name]).get(first.signed.id)
        grants.sign(nodes[name], kept.signed.envelope)
        # What was signed here and not handed in goes with the next exchange.
        assert _exchange(nodes[name]) == ([], [])
    grants.sign(hub, grants.folder_of(hub).get(first.signed.id).signed.envelope)
    for name in ("tax", "bank", "customs"):
        _exchange(nodes[name])
        assert grants.folder_of(nodes[name]).get(first.signed.id).standing is Standing.FINALIZED
        assert _exchange(nodes[name]) == ([], [])


def test_who_is_no_party_sees_and_hands_in_nothing(
    world: tuple[HubHome, dict[str, NodeHome]],
) -> None:
    _, nodes = world
    kept = grants.propose(nodes["tax"], TEXT, "grant.yaml")
    with link_of(nodes["outsider"]) as link:
        with pytest.raises(HubRefused, match="one of its parties"):
            link.hand_in(GRANTS, kept.signed.envelope)
        grant_exchange.hand_in(nodes["tax"], kept.signed.envelope)
        assert Index.from_bytes(link.read(GRANTS, 1000) or b"").items == {}
        for name in (kept.path.name, "../hub.toml", f"../grants/{kept.path.name}"):
            assert link.read(f"{GRANTS}/{name}", 1000) is None


@pytest.mark.parametrize(
    "change", [lambda d: d[:-2], lambda d: d.replace(b"tax", b"bax"), lambda _: b""]
)
def test_what_does_not_verify_is_not_taken(
    world: tuple[HubHome, dict[str, NodeHome]], change: Callable[[bytes], bytes]
) -> None:
    hub, nodes = world
    kept = grants.propose(nodes["tax"], TEXT, "grant.yaml")
    with link_of(nodes["tax"]) as link, pytest.raises(HubRefused):
        link.hand_in(GRANTS, change(kept.signed.envelope))
    assert grants.folder_of(hub).all() == []


def test_a_file_that_a_hub_made_up_is_left_out(
    world: tuple[HubHome, dict[str, NodeHome]],
) -> None:
    """The hub's port shows what is in its folder; a node verifies it anew."""
    hub, nodes = world
    kept = grants.propose(nodes["tax"], TEXT, "grant.yaml")
    grant_exchange.hand_in(nodes["tax"], kept.signed.envelope)
    assert len(_exchange(nodes["bank"])[0]) == 1
    forged = hub.grants / kept.path.name.replace(grants.GRANT_SUFFIX, grants.REVOCATION_SUFFIX)
    forged.write_bytes(b'{"payload":"e30=","payloadType":"x","signatures":[]}')
    taken, notes = _exchange(nodes["bank"])
    assert not taken
    assert "left out" in notes[0]
    assert not grants.folder_of(nodes["bank"]).revoked(kept.signed.id)


def test_a_revocation_reaches_nodes_that_are_up_within_a_second_or_two(
    world: tuple[HubHome, dict[str, NodeHome]],
) -> None:
    _, nodes = world
    kept = grants.propose(nodes["tax"], TEXT, "grant.yaml")
    said: list[str] = []
    with Connection(nodes["bank"]) as connection:
        connection.serve(said.append)
        assert connection.link.wait_attached(60)
        grant_exchange.hand_in(nodes["tax"], kept.signed.envelope)
        folder = grants.folder_of(nodes["bank"])
        _until(lambda: any(each.signed.id == kept.signed.id for each in folder.all()))
        _, data = grants.revoke(nodes["tax"], kept.signed.id, "no longer agreed")
        grant_exchange.hand_in(nodes["tax"], data)
        _until(lambda: folder.revoked(kept.signed.id))
    assert said == [
        f"grant {kept.path.name[:16]} came in; to be signed by bank, customs, hub",
        f"grant {kept.path.name[:16]} is revoked",
    ]


def _until(true: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not true():
        assert time.monotonic() < until
        time.sleep(0.02)
