"""The hub's one port, as those who are allowed to use it see it: real sockets, real TLS."""

from __future__ import annotations

import asyncio
import json
import socket
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import pytest
from flwr.supernode.fleet_http_client import FleetHttpClient

from fusion.errors import EnvironmentUnfit
from fusion.identity.roster import open_roster
from fusion.identity.trust import open_trust
from fusion.link.rules import FLEET_PATHS, FrontLimits
from fusion.services import hub as hub_service
from tests.link.federation import (
    admit,
    client,
    fleet_key,
    make_hub,
    make_node,
    serving,
    superlink,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.link.conftest import Federation


def test_anybody_may_read_the_trust_document(federation: Federation) -> None:
    with client(federation.front, None, federation.hub.ca) as stranger:
        answer = stranger.get("/v1/federation")
    assert answer.status_code == 200
    trust = open_trust(answer.content, federation.hub.invitation.pin)
    assert trust.federation == "federation.local"


def test_anybody_with_the_digest_may_read_what_became_of_a_request(federation: Federation) -> None:
    digest = next(federation.hub.requests.iterdir()).stem
    with client(federation.front, None, federation.hub.ca) as stranger:
        answer = stranger.get(f"/v1/federation/enrolment/{digest}")
        unknown = stranger.get(f"/v1/federation/enrolment/{'0' * 64}")
    roster = open_roster(answer.json()["roster"].encode(), federation.hub.authority_public)
    assert roster == federation.hub.roster()
    assert unknown.status_code == 404
    assert unknown.json()["rule"] == "admission"


def test_a_member_reads_the_roster(federation: Federation) -> None:
    with client(federation.front, federation.a) as member:
        data = member.get("/v1/federation/roster").content
    roster = open_roster(data, federation.hub.authority_key.public)
    assert [m.id for m in roster.members] == ["a.example", "b.example"]


def test_a_member_hands_in_under_its_own_name_and_reads_what_is_published(
    federation: Federation,
) -> None:
    folder = federation.hub.witness
    with client(federation.front, federation.a) as member:
        assert member.post("/v1/federation/witness", content=b"packet").status_code == 200
        assert member.get("/v1/federation/witness/b.example").json()["rule"] == "witness"
        (folder / "b.example.json").write_bytes(b"{}")
        (folder / "index.json").write_bytes(b"[]")
        assert member.get("/v1/federation/witness/b.example").content == b"{}"
        assert member.get("/v1/federation/witness").content == b"[]"
        large = member.post("/v1/federation/witness", content=bytes(1024 * 1024 + 1))
    assert (large.status_code, large.json()["rule"]) == (413, "size")
    assert [(f.name, f.read_bytes()) for f in (folder / "inbox").iterdir()] == [
        ("a.example.json", b"packet")
    ]


def test_the_hub_tells_the_time_in_its_own_answers(federation: Federation) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    with client(federation.front, None, federation.hub.ca) as stranger:
        answers = [stranger.get(path) for path in ("/v1/federation", "/v1/federation/roster")]
    for answer in answers:
        moment = parsedate_to_datetime(answer.headers["date"])
        assert before <= moment <= datetime.now(UTC)
    assert [answer.status_code for answer in answers] == [200, 403]


@pytest.mark.parametrize("path", sorted(path.decode() for path in FLEET_PATHS))
def test_a_member_reaches_the_fleet_interface(federation: Federation, path: str) -> None:
    with client(federation.front, federation.a) as member:
        answer = member.post(path, content=b"ping", headers=fleet_key(federation.hub, "a.example"))
    assert (answer.status_code, answer.content) == (200, b"ping")
    assert answer.headers["content-type"] == "application/x-protobuf"
    assert federation.superlink.requests[-1].path == path


def test_the_paths_are_those_that_flowers_nodes_use() -> None:
    class Recorder(FleetHttpClient):
        def _unary_unary(self, *, path: str, **_: Any) -> Any:  # noqa: ANN401 - Flower's signature
            used.add(path.encode())

    used: set[bytes] = set()
    recorder = Recorder("https://127.0.0.1:1", verify=False)
    calls = [name for name in vars(FleetHttpClient) if name[0].isupper()]
    for name in calls:
        getattr(recorder, name)(None)
    recorder.close()
    # A node is registered by the hub after admission, never by itself.
    assert used - FLEET_PATHS == {b"/v1/fleet/register-node", b"/v1/fleet/unregister-node"}
    assert used >= FLEET_PATHS


def test_only_what_is_needed_is_passed_on(federation: Federation) -> None:
    headers = {
        **fleet_key(federation.hub, "a.example"),
        "flwr-signature": "c2ln",
        "content-type": "application/x-protobuf",
        "x-forwarded-for": "10.0.0.1",
        "authorization": "Bearer x",
        "cookie": "a=b",
        "forwarded": "for=10.0.0.1",
    }
    with client(federation.front, federation.a) as member:
        answer = member.post("/v1/fleet/get-run", content=b"x", headers=headers)
    assert {"server", "date"}.isdisjoint(answer.headers)
    seen = federation.superlink.requests[-1].headers
    assert seen["flwr-signature"] == "c2ln"
    assert {"x-forwarded-for", "authorization", "cookie", "forwarded"}.isdisjoint(seen)
    assert seen["host"] == "superlink.local"


@pytest.mark.parametrize("size", [0, 1, 262_144, 262_145, 20_000_000])
def test_bodies_of_any_permitted_size_pass_unchanged(federation: Federation, size: int) -> None:
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    with client(federation.front, federation.a) as member:
        answer = member.post(
            "/v1/fleet/push-object", content=body, headers=fleet_key(federation.hub, "a.example")
        )
    assert answer.content == body


def test_many_requests_use_one_connection_to_the_superlink(federation: Federation) -> None:
    before = len(federation.superlink.connections)
    with client(federation.front, federation.a) as member:
        for _ in range(20):
            member.post(
                "/v1/fleet/pull-messages",
                content=b"",
                headers=fleet_key(federation.hub, "a.example"),
            )
    assert len(federation.superlink.connections) <= before + 1


def test_members_are_served_side_by_side_and_get_their_own_answers(federation: Federation) -> None:
    def exchange(number: int) -> bool:
        org, node = ("a.example", federation.a) if number % 2 else ("b.example", federation.b)
        body = str(number).encode() * 10_000
        with client(federation.front, node) as member:
            headers = fleet_key(federation.hub, org)
            answers = [
                member.post("/v1/fleet/pull-object", content=body, headers=headers).content
                for _ in range(5)
            ]
        return answers == [body] * 5

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(exchange, range(24)))


def test_a_member_admitted_while_the_hub_serves_is_known_at_once(tmp_path: Path) -> None:
    hub = make_hub(tmp_path / "hub")
    with serving(hub, 1) as front:
        a = admit(hub, make_node(hub, tmp_path / "a", "a.example"))
        with client(front, a) as member:
            assert member.get("/v1/federation/roster").status_code == 200


def test_a_silent_superlink_is_named(tmp_path: Path) -> None:
    hub = make_hub(tmp_path / "hub")
    a = admit(hub, make_node(hub, tmp_path / "a", "a.example"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with serving(hub, port) as front, client(front, a) as member:
        answer = member.post("/v1/fleet/get-run", content=b"x", headers=fleet_key(hub, "a.example"))
    assert (answer.status_code, answer.json()["rule"]) == (503, "superlink")


def test_a_superlink_of_another_hub_is_not_talked_to(
    federation: Federation, tmp_path: Path
) -> None:
    other = make_hub(tmp_path / "other")
    with superlink(other) as impostor, serving(federation.hub, impostor.port) as front:
        with client(front, federation.a) as member:
            answer = member.post(
                "/v1/fleet/get-run",
                content=b"secret",
                headers=fleet_key(federation.hub, "a.example"),
            )
        assert answer.status_code == 503
        assert not impostor.requests


def test_the_superlink_may_be_restarted(federation: Federation) -> None:
    hub = federation.hub
    headers = fleet_key(hub, "a.example")
    with superlink(hub) as first:
        port = first.port
        with serving(hub, port) as front, client(front, federation.a) as member:
            assert member.post("/v1/fleet/get-run", content=b"1", headers=headers).content == b"1"
            first.server.shutdown()
            first.server.server_close()
            statuses = {
                member.post("/v1/fleet/get-run", content=b"2", headers=headers).status_code
                for _ in range(3)
            }
            # Connections that were open may still be answered; new ones are not.
            assert statuses <= {200, 502, 503}


def test_a_taken_port_is_named(federation: Federation) -> None:
    hub = federation.hub
    taken = hub.config.model_copy(update={"listen": f"127.0.0.1:{federation.front.port}"})
    second = hub_service.front_of(type(hub)(hub.path, taken), 1)
    with pytest.raises(EnvironmentUnfit, match="can't be opened"):
        second.start()


def test_the_port_can_be_served_in_a_loop_of_ones_own(federation: Federation) -> None:
    async def serve_briefly() -> int:
        front = hub_service.front_of(federation.hub, 1)
        stop = asyncio.Event()
        front.bind()
        task = asyncio.create_task(front.serve(stop))
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        stop.set()
        await task
        left = await reader.read()
        writer.close()
        return len(left)

    assert asyncio.run(serve_briefly()) == 0


def test_limits_of_a_hub_can_be_set(federation: Federation) -> None:
    limits = FrontLimits(body=10)
    headers = fleet_key(federation.hub, "a.example")
    with (
        serving(federation.hub, federation.superlink.port, limits) as front,
        client(front, federation.a) as member,
    ):
        assert member.post("/v1/fleet/get-run", content=b"x" * 10, headers=headers).is_success
        refused = member.post("/v1/fleet/get-run", content=b"x" * 11, headers=headers)
    assert refused.status_code == 413
    assert json.loads(refused.content)["rule"] == "size"
