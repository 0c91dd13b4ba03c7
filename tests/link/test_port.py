"""The hub's one port: who gets in, which calls there are, what reaches the SuperLink."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest

from fusion.errors import EnvironmentUnfit, HubRefused, PartyUnreachable
from fusion.identity.certificates import trust_of
from fusion.identity.roster import open_roster
from fusion.identity.trust import open_trust
from fusion.link import rules
from fusion.link.bell import Bell
from fusion.link.dial import Identity, Link
from fusion.link.introduction import introduced
from fusion.link.loopback import free_port
from fusion.link.rules import FLEET_CALLS, PortLimits
from fusion.services import rosters
from fusion.services.dialling import identity_of, link_of
from fusion.services.enrolment import ROSTER
from fusion.services.hub_port import WITNESS, port_of
from fusion.wire.limits import MAX_ROSTER_BYTES
from tests.link.federation import (
    admit,
    at_port,
    fleet_key,
    linked,
    make_hub,
    make_node,
    serving,
    superlink,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fusion.services.homes import HubHome, NodeHome
    from tests.link.conftest import Federation


@pytest.fixture
def link(federation: Federation) -> Iterator[Link]:
    """The connection of member a."""
    with link_of(federation.a) as found:
        yield found


# ------------------------------------------------------------------------- who gets in


def test_anybody_sees_the_trust_document_and_nothing_else(federation: Federation) -> None:
    shown = introduced(federation.a.invitation.address)
    trust = open_trust(trust_of(shown), federation.a.config.pin)
    assert trust.ca_pem == federation.hub.ca.read_text("ascii")


def _as(node: NodeHome, identity: Identity) -> Link:
    return Link(node.invitation.address, lambda: identity)


def _refused_at_the_door(link: Link) -> None:
    with link, pytest.raises(PartyUnreachable) as refusal:
        link.read(ROSTER, MAX_ROSTER_BYTES)
    # No handshake, no call: not even a refusal with a rule in it.
    assert not isinstance(refusal.value, HubRefused)


def test_who_is_not_admitted_does_not_get_in(federation: Federation, tmp_path: Path) -> None:
    stranger = make_node(federation.hub, tmp_path / "x", "x.example")
    stranger.ca.write_bytes(federation.hub.ca.read_bytes())
    stranger.trust_file.write_bytes(federation.hub.trust_file.read_bytes())
    _refused_at_the_door(link_of(at_port(stranger, federation.port.port)))


def test_a_member_of_another_federation_does_not_get_in(
    federation: Federation, tmp_path: Path
) -> None:
    elsewhere = make_hub(tmp_path / "hub")
    namesake = admit(elsewhere, make_node(elsewhere, tmp_path / "a", "a.example"))
    theirs = identity_of(namesake)
    shown = Identity(
        ca=federation.hub.ca.read_bytes(), certificate=theirs.certificate, key=theirs.key
    )
    _refused_at_the_door(_as(federation.a, shown))


def test_a_hub_of_another_federation_is_not_believed(
    federation: Federation, tmp_path: Path
) -> None:
    elsewhere = make_hub(tmp_path / "hub")
    mine = identity_of(federation.a)
    _refused_at_the_door(_as(federation.a, replace(mine, ca=elsewhere.ca.read_bytes())))


def test_without_a_certificate_nobody_gets_in(federation: Federation) -> None:
    async def ask() -> None:
        credentials = grpc.ssl_channel_credentials(federation.hub.ca.read_bytes())
        address = f"127.0.0.1:{federation.port.port}"
        async with grpc.aio.secure_channel(address, credentials) as channel:
            call = channel.unary_stream(rules.method(rules.READ))
            async for _ in call(b"", timeout=60, metadata=((rules.DOCUMENT, ROSTER),)):
                pass

    with link_of(federation.a) as link, pytest.raises(grpc.aio.AioRpcError) as failure:
        link.run(ask())
    assert failure.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_member_admitted_while_the_hub_serves_is_known_at_once(tmp_path: Path) -> None:
    hub = make_hub(tmp_path / "hub")
    first = admit(hub, make_node(hub, tmp_path / "a", "a.example"))
    with serving(hub, 1) as port:
        with linked(port, first) as link:
            assert link.read(ROSTER, MAX_ROSTER_BYTES)
        second = admit(hub, make_node(hub, tmp_path / "b", "b.example"))
        with linked(port, second) as link:
            data = link.read(ROSTER, MAX_ROSTER_BYTES) or b""
    assert [m.id for m in open_roster(data, hub.authority_public).members] == [
        "a.example",
        "b.example",
    ]


def test_a_hub_without_members_lets_nobody_in(tmp_path: Path) -> None:
    hub = make_hub(tmp_path / "hub")
    node = make_node(hub, tmp_path / "a", "a.example")
    node.ca.write_bytes(hub.ca.read_bytes())
    node.trust_file.write_bytes(hub.trust_file.read_bytes())
    with serving(hub, 1) as port:
        _refused_at_the_door(link_of(at_port(node, port.port)))


def test_a_member_that_is_revoked_is_cut_off_within_its_connection(tmp_path: Path) -> None:
    hub = make_hub(tmp_path / "hub")
    node = admit(hub, make_node(hub, tmp_path / "a", "a.example"))
    with serving(hub, 1) as port, linked(port, node) as link:
        link.attach()
        assert link.wait_attached(60)
        rosters.revoke(hub, "a.example", "left the federation")
        with pytest.raises(HubRefused, match="member"):
            link.read(ROSTER, MAX_ROSTER_BYTES)
        until = time.monotonic() + 60
        while link.attached and time.monotonic() < until:
            time.sleep(0.02)
        assert not link.attached


def test_a_roster_that_the_authority_did_not_sign_serves_nobody(tmp_path: Path) -> None:
    hub = make_hub(tmp_path / "hub")
    node = admit(hub, make_node(hub, tmp_path / "a", "a.example"))
    forger = make_hub(tmp_path / "forger")
    admit(forger, make_node(forger, tmp_path / "b", "b.example"))
    with serving(hub, 1) as port, linked(port, node) as link:
        assert link.read(ROSTER, MAX_ROSTER_BYTES)
        hub.roster_file.write_bytes(forger.roster_file.read_bytes())
        with pytest.raises(HubRefused):
            link.read(ROSTER, MAX_ROSTER_BYTES)


# ------------------------------------------------------------------------- the hub's services


def test_a_member_hands_in_under_its_own_name_and_reads_what_is_published(
    federation: Federation, link: Link
) -> None:
    link.hand_in(WITNESS, b"a packet")
    kept = federation.hub.witness_inbox / "a.example.json"
    assert kept.read_bytes() == b"a packet"
    kept.unlink()
    assert link.read(f"{WITNESS}/a.example", 1000) is None
    (federation.hub.witness / "a.example.json").write_bytes(b"published")
    assert link.read(f"{WITNESS}/a.example", 1000) == b"published"


@pytest.mark.parametrize(
    "name", ["", "roster2", "trust", "../hub.toml", "witness2/x", "keys/authority.pem"]
)
def test_there_are_no_other_documents(link: Link, name: str) -> None:
    with pytest.raises(HubRefused, match="document"):
        link.read(name, 1000)


@pytest.mark.parametrize("name", ["witness/../hub", "witness/.hidden", "witness/A", "roster/x"])
def test_no_name_leads_out_of_its_folder(link: Link, name: str) -> None:
    assert link.read(name, 1000) is None


def test_nothing_else_is_taken(link: Link) -> None:
    with pytest.raises(HubRefused, match="document"):
        link.hand_in("roster", b"mine")
    with pytest.raises(HubRefused, match="size"):
        link.hand_in(WITNESS, bytes(1024 * 1024 + 1))


@pytest.mark.parametrize(
    "name",
    [
        "/fusion.link.v1.Hub/StartRun",
        "/flwr.proto.Control/StartRun",
        "/flwr.proto.Fleet/PullMessages",
        "/v1/control/list-runs",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.health.v1.Health/Check",
    ],
)
def test_there_are_no_other_calls(link: Link, name: str) -> None:
    async def ask() -> None:
        await link._open().unary_unary(name)(b"", timeout=60)

    with pytest.raises(grpc.aio.AioRpcError) as failure:
        link.run(ask())
    assert failure.value.code() is grpc.StatusCode.UNIMPLEMENTED


# ------------------------------------------------------------------------- the SuperLink


def _fleet(
    federation: Federation, link: Link, name: str, body: bytes, **more: str
) -> tuple[int, str, bytes]:
    headers = {"content-type": "application/x-protobuf", **fleet_key(federation.hub, "a.example")}
    return link.fleet(name, {**headers, **more}, body)


@pytest.mark.parametrize("name", sorted(FLEET_CALLS))
def test_a_member_reaches_the_fleet_interface(
    federation: Federation, link: Link, name: str
) -> None:
    assert _fleet(federation, link, name, b"body") == (200, "application/x-protobuf", b"body")
    assert federation.superlink.requests[-1].path == f"/v1/fleet/{name}"


def test_only_what_is_needed_is_passed_on(federation: Federation, link: Link) -> None:
    _fleet(federation, link, "get-run", b"x", **{"flwr-signature": "s"})
    passed = federation.superlink.requests[-1].headers
    flower = {"flwr-public-key", "flwr-signature"}
    added = {"host", "accept", "accept-encoding", "connection", "user-agent", "content-length"}
    assert set(passed) - added == flower | {"content-type"}


@pytest.mark.parametrize("size", [0, 1, 256 * 1024, 256 * 1024 + 1, 1_000_000])
def test_bodies_of_any_permitted_size_pass_unchanged(
    federation: Federation, link: Link, size: int
) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    assert _fleet(federation, link, "push-object", body[:size])[2] == body[:size]


def test_a_larger_body_is_not_passed_on(federation: Federation, link: Link) -> None:
    before = len(federation.superlink.requests)
    with pytest.raises(HubRefused, match="size"):
        _fleet(federation, link, "push-object", bytes(1_000_001))
    assert len(federation.superlink.requests) == before


@pytest.mark.parametrize("said", [1, 3, 100])
def test_a_body_that_is_not_as_long_as_was_said_is_not_passed_on(
    federation: Federation, link: Link, said: int
) -> None:
    fields = [(rules.CALL, "get-run"), (rules.LENGTH, str(said))]
    key = fleet_key(federation.hub, "a.example")
    fields += [(f"{rules.HEADER_PREFIX}{name}", value) for name, value in key.items()]
    before = [request.body for request in federation.superlink.requests]
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        link.run(link._fleet(tuple(fields), b"ab"), 60)
    assert failure.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert [request.body for request in federation.superlink.requests] == before


@pytest.mark.parametrize(
    ("rule", "name", "headers"),
    [
        ("path", "register-node", {}),
        ("path", "../control/start-run", {}),
        ("fleet-key", "get-run", {"flwr-public-key": "b.example"}),
        ("headers", "get-run", {"host": "127.0.0.1"}),
        ("headers", "get-run", {"transfer-encoding": "chunked"}),
    ],
)
def test_the_rules_hold_on_the_wire(
    federation: Federation, link: Link, rule: str, name: str, headers: dict[str, str]
) -> None:
    if headers.get("flwr-public-key") == "b.example":
        headers = fleet_key(federation.hub, "b.example")
    before = len(federation.superlink.requests)
    with pytest.raises(HubRefused, match=rule):
        _fleet(federation, link, name, b"", **headers)
    assert len(federation.superlink.requests) == before


def test_members_are_served_side_by_side_and_get_their_own_answers(
    federation: Federation, link: Link
) -> None:
    def ask(number: int) -> bool:
        body = f"request {number}".encode() * 1000
        return _fleet(federation, link, "get-run", body)[2] == body

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(64)))


def test_a_member_has_a_limited_number_of_calls_under_way(tmp_path: Path) -> None:
    hub = make_hub(tmp_path / "hub")
    node = admit(hub, make_node(hub, tmp_path / "a", "a.example"))
    held = threading.Event()
    with superlink(hub, hold=held) as stand_in:
        limits = PortLimits(calls=2)
        with serving(hub, stand_in.port, limits) as port, linked(port, node) as link:
            headers = fleet_key(hub, "a.example")
            with ThreadPoolExecutor(2) as pool:
                waiting = [pool.submit(link.fleet, "get-run", headers, b"x") for _ in range(2)]
                until = time.monotonic() + 60
                while len(stand_in.requests) < 2 and time.monotonic() < until:
                    time.sleep(0.01)
                with pytest.raises(HubRefused, match="calls"):
                    link.fleet("get-run", headers, b"x")
                held.set()
                assert [future.result(60)[0] for future in waiting] == [200, 200]


def test_a_superlink_that_is_away_is_named(tmp_path: Path) -> None:
    hub = make_hub(tmp_path / "hub")
    node = admit(hub, make_node(hub, tmp_path / "a", "a.example"))
    with (
        serving(hub, 1) as port,
        linked(port, node) as link,
        pytest.raises(PartyUnreachable, match="SuperLink"),
    ):
        link.fleet("get-run", fleet_key(hub, "a.example"), b"")


def test_a_superlink_of_another_hub_is_not_talked_to(tmp_path: Path) -> None:
    hub, other = make_hub(tmp_path / "hub"), make_hub(tmp_path / "other")
    node = admit(hub, make_node(hub, tmp_path / "a", "a.example"))
    with superlink(other) as stand_in, serving(hub, stand_in.port) as port:
        with linked(port, node) as link, pytest.raises(PartyUnreachable, match="SuperLink"):
            link.fleet("get-run", fleet_key(hub, "a.example"), b"")
        assert not stand_in.requests


# ------------------------------------------------------------------------- bells


def _post(hub: HubHome, link: Link, name: str) -> None:
    assert link.fleet(name, fleet_key(hub, "a.example"), b"reply")[0] == 200


def test_a_push_rings_for_the_run_and_nothing_else_does(federation: Federation, link: Link) -> None:
    bell = Bell(federation.hub.replies_bell)
    before = bell.rings()
    for name in sorted(FLEET_CALLS - rules.FLEET_PUSHES):
        _post(federation.hub, link, name)
    with pytest.raises(HubRefused):
        link.fleet("push-messages", fleet_key(federation.hub, "b.example"), b"")
    assert bell.rings() == before
    for count, name in enumerate(sorted(rules.FLEET_PUSHES), 1):
        _post(federation.hub, link, name)
        assert bell.wait(before + count - 1, 60) == before + count


def test_an_attached_node_is_woken(federation: Federation, link: Link) -> None:
    bell = link.bell(rules.FLEET_BELL)
    link.attach()
    assert link.wait_attached(60)
    heard = bell.wait(0, 60)  # what may have been missed before
    for _ in range(3):
        Bell(federation.hub.requests_bell).ring()
        now = bell.wait(heard, 60)
        assert now > heard
        heard = now


def test_a_new_roster_is_announced(tmp_path: Path) -> None:
    hub = make_hub(tmp_path / "hub")
    node = admit(hub, make_node(hub, tmp_path / "a", "a.example"))
    with serving(hub, 1) as port, linked(port, node) as link:
        bell = link.bell(ROSTER)
        link.attach()
        assert link.wait_attached(60)
        heard = bell.rings()
        admit(hub, make_node(hub, tmp_path / "b", "b.example"))
        assert bell.wait(heard, 60) > heard


def test_a_node_finds_a_hub_that_comes_back(tmp_path: Path) -> None:
    # A port that nobody is handed while the hub is away.
    hub = make_hub(tmp_path / "hub", free_port())
    node = admit(hub, make_node(hub, tmp_path / "a", "a.example"))
    with serving(hub, 1):
        link = link_of(node)
        link.attach()
        assert link.wait_attached(60)
        bell = link.bell(rules.FLEET_BELL)
        heard = bell.wait(0, 60)
    with link:
        # Whoever waits is told to look for itself while nobody can ring.
        assert bell.wait(heard, 60) > heard
        with serving(hub, 1):
            assert link.wait_attached(60)
            assert link.read(ROSTER, MAX_ROSTER_BYTES)


def test_a_newer_session_takes_the_older_ones_place(federation: Federation) -> None:
    with link_of(federation.b) as old, link_of(federation.b) as new:
        old.attach()
        assert old.wait_attached(60)
        new.attach()
        assert new.wait_attached(60)


# ------------------------------------------------------------------------- beginning and end


def test_a_taken_port_is_named(federation: Federation) -> None:
    hub = federation.hub
    taken = hub.config.model_copy(update={"listen": f"127.0.0.1:{federation.port.port}"})
    with pytest.raises(EnvironmentUnfit, match="can't be opened"):
        port_of(type(hub)(hub.path, taken), 1).start()


def test_a_port_that_stops_ends_what_is_under_way(tmp_path: Path) -> None:
    hub = make_hub(tmp_path / "hub")
    node = admit(hub, make_node(hub, tmp_path / "a", "a.example"))
    held = threading.Event()
    found: list[Any] = []
    with superlink(hub, hold=held) as stand_in:
        with serving(hub, stand_in.port) as port, linked(port, node) as link:
            thread = threading.Thread(target=_hanging, args=(hub, link, found))
            thread.start()
            until = time.monotonic() + 60
            while not stand_in.requests and time.monotonic() < until:
                time.sleep(0.01)
            port.stop()
            thread.join(60)
        held.set()
    assert [type(error) for error in found] == [PartyUnreachable]


def _hanging(hub: HubHome, link: Link, found: list[Any]) -> None:
    try:
        link.fleet("get-run", fleet_key(hub, "a.example"), b"x")
    except PartyUnreachable as error:
        found.append(error)


def test_a_link_that_is_closed_tells_who_waits(federation: Federation) -> None:
    found: list[str] = []

    def wait(link: Link) -> None:
        async def forever() -> None:
            begun.set()
            await asyncio.Event().wait()

        with pytest.raises(PartyUnreachable) as told:
            link.run(forever(), None)
        found.append(told.value.message)

    begun = threading.Event()
    with link_of(federation.a) as link:
        thread = threading.Thread(target=wait, args=(link,))
        thread.start()
        assert begun.wait(60)
    thread.join(60)
    assert found == ["The connection to the hub is closed."]


def test_a_closed_link_says_so(federation: Federation) -> None:
    link = link_of(federation.a)
    link.close()
    with pytest.raises(PartyUnreachable, match="closed"):
        link.read(ROSTER, 1000)
