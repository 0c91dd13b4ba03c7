"""Enrolment end to end: a node, a hub, the port between them; and everything that must not pass."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from typing import TYPE_CHECKING

import pytest

from fusion.crypto.signing import SigningKey
from fusion.errors import (
    FusionError,
    PartyUnreachable,
    UnknownOrganisation,
    VerificationFailed,
)
from fusion.identity.roster import sign_roster
from fusion.identity.trust import Trust, open_trust, sign_trust
from fusion.link.loopback import free_port
from fusion.services import enrolment, rosters
from fusion.services import hub as hub_service
from fusion.services.clock import SystemClock
from fusion.services.enrolment import enrol, refresh_roster
from fusion.services.files import write_atomic
from fusion.services.hub_port import port_of
from tests.link.federation import at_port, make_hub, make_node, serving
from tests.members import SINCE, Keys, with_keys

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fusion.link.port import Port
    from fusion.services.homes import HubHome, NodeHome


@dataclasses.dataclass(frozen=True, slots=True)
class World:
    """A hub that serves, and a node that has asked to be admitted."""

    hub: HubHome
    node: NodeHome
    port: Port
    path: Path

    def enrol(self, seconds: float = 100) -> list[str]:
        """Enrol the node, for some seconds at most; return what was said."""
        said: list[str] = []
        stop = threading.Event()
        timer = threading.Timer(seconds, stop.set)
        timer.start()
        try:
            enrol(self.node, stop=stop, say=said.append, poll=0.02)
        finally:
            timer.cancel()
        return said

    def admit(self) -> None:
        """The data authority's decision."""
        rosters.admit(self.hub, self.node.request.read_bytes())


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """The hub is up; nobody is admitted yet."""
    hub = make_hub(tmp_path / "hub")
    with serving(hub, 1) as port:
        node = at_port(make_node(hub, tmp_path / "a", "a.example"), port.port)
        yield World(hub, node, port, tmp_path)


@contextlib.contextmanager
def showing(world: World, trust: bytes) -> Iterator[World]:
    """The hub with another trust document in its certificate."""
    write_atomic(world.hub.trust_file, trust)
    hub_service._write_server_certificate(world.hub, SystemClock().now())
    with serving(world.hub, 1) as port:
        yield dataclasses.replace(world, node=at_port(world.node, port.port), port=port)


def test_a_node_becomes_a_member_once_it_is_admitted(world: World) -> None:
    admission = threading.Timer(0.3, world.admit)
    admission.start()
    said = world.enrol()
    admission.join()
    assert world.node.enrolled
    assert world.node.roster() == world.hub.roster()
    assert world.node.trust().federation == "federation.local"
    assert said[-1].startswith("Admitted")


def test_a_hub_that_is_not_up_yet_is_waited_for(tmp_path: Path) -> None:
    hub = make_hub(tmp_path / "hub", free_port())
    node = make_node(hub, tmp_path / "a", "a.example")
    rosters.admit(hub, node.request.read_bytes())
    late, said = port_of(hub, 1), list[str]()

    def say(line: str) -> None:
        said.append(line)
        if len(said) == 1:  # it has asked, and is about to ask again
            late.start()

    try:
        enrol(node, stop=threading.Event(), say=say, poll=0.02)
    finally:
        late.stop()
    assert node.enrolled
    assert "does not answer" in said[0]


def test_waiting_can_be_ended(world: World) -> None:
    stop = threading.Event()
    timer = threading.Timer(0.2, stop.set)
    timer.start()
    enrol(world.node, stop=stop, say=lambda _: None, poll=0.02)
    timer.join()
    assert not world.node.enrolled


def test_a_hub_with_another_key_than_the_pinned_one_is_refused(world: World) -> None:
    impostor = make_hub(world.path / "impostor")
    with serving(impostor, 1) as port:
        node = at_port(world.node, port.port)
        with pytest.raises(VerificationFailed, match="another key than the invitation"):
            dataclasses.replace(world, node=node).enrol()
    assert not world.node.trust_file.exists()
    assert not world.node.enrolled


def test_one_flipped_byte_in_the_trust_document_is_found(world: World) -> None:
    world.admit()
    good = world.hub.trust_file.read_bytes()
    for position in range(20, len(good), 97):
        changed = bytearray(good)
        changed[position] ^= 1
        with showing(world, bytes(changed)) as shown, pytest.raises(FusionError) as refusal:
            shown.enrol()
        assert refusal.value.exit_code == 5
    assert not world.node.enrolled


def test_a_ca_that_is_not_the_hubs_is_noticed_by_tls(world: World) -> None:
    """The authority vouches for another CA than the one this port's certificate comes from."""
    other = make_hub(world.path / "other")
    trust = dataclasses.replace(_trust_of(world.hub), ca_pem=other.ca.read_text("ascii"))
    signed = sign_trust(trust, world.hub.authority_key)
    with (
        showing(world, signed) as shown,
        pytest.raises(VerificationFailed, match="not of this federation"),
    ):
        shown.enrol()


def test_a_roster_of_another_authority_is_refused(world: World) -> None:
    world.admit()
    stranger = SigningKey.generate()
    forged = dataclasses.replace(world.hub.roster(), authority_key=stranger.public)
    # The port lets nobody in under it: it is as if nobody had been admitted.
    write_atomic(world.hub.roster_file, sign_roster(forged, stranger))
    world.enrol(seconds=1.0)
    assert not world.node.enrolled


def test_a_roster_with_other_keys_than_the_nodes_is_refused(world: World) -> None:
    world.admit()
    roster = world.hub.roster()
    swapped = with_keys(roster.member("a.example"), statement_key=SigningKey.generate().public)
    data = sign_roster(roster.with_member(swapped, SINCE), world.hub.authority_key)
    write_atomic(world.hub.roster_file, data)
    with pytest.raises(VerificationFailed, match="other keys"):
        world.enrol()
    assert not world.node.enrolled


def test_a_roster_without_the_node_is_refused(world: World) -> None:
    world.admit()
    emptied = dataclasses.replace(world.hub.roster(), members=(), epoch=9)
    data = sign_roster(emptied, world.hub.authority_key)
    write_atomic(world.hub.roster_file, data)
    world.enrol(seconds=1.0)
    # A hub that lets it in all the same does not get further.
    with pytest.raises(UnknownOrganisation):
        enrolment._keep(world.node, _trust_of(world.hub), data)
    assert not world.node.enrolled


def test_a_ca_that_is_not_the_nodes_is_refused(world: World) -> None:
    """A hub that lists a CA of its own could pose as the member to everybody else."""
    world.admit()
    roster = world.hub.roster()
    posing = with_keys(roster.member("a.example"), ca=Keys("a.example").ca)
    data = sign_roster(roster.with_member(posing, SINCE), world.hub.authority_key)
    write_atomic(world.hub.roster_file, data)
    world.enrol(seconds=1.0)
    # A hub that lets it in all the same does not get further.
    with pytest.raises(VerificationFailed, match="other keys"):
        enrolment._keep(world.node, _trust_of(world.hub), data)
    assert not world.node.enrolled


def test_a_swapped_key_of_somebody_else_is_refused(world: World) -> None:
    world.admit()
    other = make_node(world.hub, world.path / "b", "b.example")
    rosters.admit(world.hub, other.request.read_bytes())
    world.enrol()
    roster = world.hub.roster()
    for change in ({"ca": Keys("b.example").ca}, {"statement_key": SigningKey.generate().public}):
        swapped = with_keys(roster.member("b.example"), **change)
        data = sign_roster(roster.with_member(swapped, SINCE), world.hub.authority_key)
        write_atomic(world.hub.roster_file, data)
        with pytest.raises(VerificationFailed, match=r"other keys for b\.example"):
            refresh_roster(world.node)
    assert world.node.roster() == roster


def test_a_member_follows_the_roster(world: World) -> None:
    world.admit()
    world.enrol()
    other = make_node(world.hub, world.path / "b", "b.example")
    rosters.admit(world.hub, other.request.read_bytes())
    assert [m.id for m in refresh_roster(world.node).members] == ["a.example", "b.example"]
    assert world.node.roster() == world.hub.roster()


def test_a_roster_never_goes_back(world: World) -> None:
    world.admit()
    world.enrol()
    old = world.hub.roster_file.read_bytes()
    other = make_node(world.hub, world.path / "b", "b.example")
    rosters.admit(world.hub, other.request.read_bytes())
    refresh_roster(world.node)
    write_atomic(world.hub.roster_file, old)
    with pytest.raises(VerificationFailed, match="never goes back"):
        refresh_roster(world.node)
    assert world.node.roster().epoch == 3


def test_two_rosters_of_one_epoch_are_noticed(world: World) -> None:
    world.admit()
    world.enrol()
    roster = world.hub.roster()
    renamed = dataclasses.replace(roster.members[0], name="another")
    fork = dataclasses.replace(roster, members=(renamed,))
    write_atomic(world.hub.roster_file, sign_roster(fork, world.hub.authority_key))
    with pytest.raises(VerificationFailed, match="Two different rosters"):
        refresh_roster(world.node)


def test_one_flipped_byte_in_a_nodes_own_copies_is_found(world: World) -> None:
    world.admit()
    world.enrol()
    for file, read in (
        (world.node.roster_file, world.node.roster),
        (world.node.trust_file, world.node.trust),
    ):
        good = file.read_bytes()
        changed = bytearray(good)
        changed[len(good) // 2] ^= 1
        write_atomic(file, bytes(changed))
        with pytest.raises(FusionError) as refusal:
            read()
        assert refusal.value.exit_code == 5
        write_atomic(file, good)


def test_a_hub_that_is_gone_is_named(world: World) -> None:
    world.admit()
    world.enrol()
    world.port.stop()
    with pytest.raises(PartyUnreachable, match="does not answer"):
        refresh_roster(world.node)


def test_a_member_that_was_revoked_does_not_get_in(world: World) -> None:
    world.admit()
    world.enrol()
    rosters.revoke(world.hub, "a.example", "left")
    with pytest.raises(PartyUnreachable):
        refresh_roster(world.node)


def test_others_learn_who_was_revoked(world: World) -> None:
    world.admit()
    world.enrol()
    other = make_node(world.hub, world.path / "b", "b.example")
    rosters.admit(world.hub, other.request.read_bytes())
    rosters.revoke(world.hub, "b.example", "left")
    roster = refresh_roster(world.node)
    assert [m.id for m in roster.active] == ["a.example"]
    assert roster.listed("b.example").revoked is not None
    assert "b.example" not in roster.statement_keys()


def _trust_of(hub: HubHome) -> Trust:
    return open_trust(hub.trust_file.read_bytes(), hub.invitation.pin)
