"""What the hub's port refuses, each with its rule; nothing of it reaches the SuperLink."""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import TYPE_CHECKING

import httpx
import pytest

from fusion.link.client import hub_ssl_context
from fusion.link.rules import FrontLimits
from fusion.services import rosters
from fusion.services.files import write_atomic
from tests.link.federation import (
    admit,
    client,
    fleet_key,
    make_hub,
    make_node,
    serving,
)

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

    from fusion.link.front import Front
    from fusion.services.homes import NodeHome
    from tests.link.conftest import Federation

PULL = "/v1/fleet/pull-messages"


def test_a_stranger_gets_the_two_documents_and_nothing_else(federation: Federation) -> None:
    before = len(federation.superlink.requests)
    with client(federation.front, None, federation.hub.ca) as stranger:
        answers = [
            stranger.get("/v1/federation/roster"),
            stranger.get("/v1/federation/witness"),
            stranger.post("/v1/federation/witness", content=b"x"),
            stranger.post(PULL, content=b"x", headers=fleet_key(federation.hub, "a.example")),
            stranger.get("/health"),
        ]
    assert [(a.status_code, a.json()["rule"]) for a in answers] == [(403, "member")] * 5
    assert len(federation.superlink.requests) == before


def test_a_certificate_of_another_federation_does_not_get_in(
    federation: Federation, tmp_path: Path
) -> None:
    other_hub = make_hub(tmp_path / "hub")
    # Same identifier, same federation's name: only the CA differs.
    other = admit(other_hub, make_node(other_hub, tmp_path / "a", "a.example"))
    credentials = replace(other.credentials(), ca=federation.hub.ca)
    url = f"https://127.0.0.1:{federation.front.port}/v1/federation"
    with (
        httpx.Client(verify=hub_ssl_context(credentials), trust_env=False) as impostor,
        pytest.raises(httpx.TransportError),
    ):
        impostor.get(url)


def test_a_hub_of_another_federation_is_not_believed(
    federation: Federation, tmp_path: Path
) -> None:
    other_hub = make_hub(tmp_path / "hub")
    with (
        serving(other_hub, 1) as impostor,
        client(impostor, federation.a) as member,
        pytest.raises(httpx.TransportError, match="certificate"),
    ):
        member.get("/v1/federation")


def test_a_members_certificate_needs_that_members_fleet_key(federation: Federation) -> None:
    before = len(federation.superlink.requests)
    theirs = fleet_key(federation.hub, "b.example")
    with client(federation.front, federation.a) as member:
        answers = [
            member.post(PULL, content=b"x", headers=theirs),
            member.post(PULL, content=b"x"),
            member.post(PULL, content=b"x", headers={"flwr-public-key": ""}),
        ]
    assert [(a.status_code, a.json()["rule"]) for a in answers] == [(403, "fleet-key")] * 3
    assert len(federation.superlink.requests) == before


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("POST", "/v1/control/list-runs"),
        ("POST", "/v1/control/register-node"),
        ("POST", "/v1/runtime/acquire-task"),
        ("POST", "/v1/fleet/register-node"),
        ("POST", "/v1/fleet/unregister-node"),
        ("POST", "/v1/fleet/../control/list-runs"),
        ("POST", "/v1/fleet/%2e%2e/control/list-runs"),
        ("POST", "/v1/fleet/pull-messages?x=/v1/control"),
        ("POST", "/v1/fleet/pull-messages/"),
        ("POST", "//v1/fleet/pull-messages"),
        ("POST", "/V1/FLEET/PULL-MESSAGES"),
        ("POST", "https://127.0.0.1/v1/fleet/pull-messages"),
        ("POST", "/v1/federation/roster"),
        ("PUT", "/v1/fleet/pull-messages"),
        ("GET", "/v1/fleet/pull-messages"),
        ("GET", "/health"),
        ("GET", "/docs"),
        ("GET", "/v1/federation/enrolment/../roster"),
        ("GET", "/v1/federation/witness/../roster"),
        ("GET", "/v1/federation/witness/"),
        ("GET", "/v1/federation/witness/inbox/a.example"),
        ("GET", "/v1/federation/witness/.a"),
        ("POST", "/v1/federation/witness/a.example"),
        ("PUT", "/v1/federation/witness"),
        ("GET", "/v1/federation/enrolment/" + "0" * 63),
        ("GET", "/v1/federation/enrolment/" + "A" * 64),
        ("HEAD", "/v1/federation"),
        ("OPTIONS", "*"),
        ("CONNECT", "127.0.0.1:22"),
    ],
)
def test_a_member_gets_what_is_listed_and_nothing_else(
    federation: Federation, method: str, target: str
) -> None:
    before = len(federation.superlink.requests)
    key = fleet_key(federation.hub, "a.example")["flwr-public-key"]
    request = f"{method} {target} HTTP/1.1\r\nhost: h\r\nflwr-public-key: {key}\r\n"
    answer = _speak(federation.front, federation.a, f"{request}content-length: 0\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert b'"rule":"path"' in answer or method == "HEAD"
    assert len(federation.superlink.requests) == before


@pytest.mark.parametrize(
    ("head", "status"),
    [
        # Two readers of one of these could see two different requests.
        ("content-length: 5\r\ntransfer-encoding: chunked\r\n", 400),
        ("transfer-encoding: chunked\r\n", 400),
        ("content-length: 5\r\ncontent-length: 6\r\n", 400),
        ("content-length: 5\r\nflwr-public-key: {key}\r\n", 400),
        ("content-length: 5\r\nupgrade: h2c\r\n", 400),
        ("content-length: -1\r\n", 400),
        ("content-length: 0x10\r\n", 400),
        ("content-length : 5\r\n", 400),
        ("content-length: 5\r\n folded: x\r\n", 400),
        ("", 411),
        ("content-length: 999999999999\r\n", 413),
        ("content-length: 5\r\nx: " + "y" * 40_000 + "\r\n", 400),
    ],
)
def test_a_head_that_can_be_read_in_two_ways_or_is_too_large_is_refused(
    federation: Federation, head: str, status: int
) -> None:
    before = len(federation.superlink.requests)
    key = fleet_key(federation.hub, "a.example")["flwr-public-key"]
    start = f"POST {PULL} HTTP/1.1\r\nhost: h\r\nflwr-public-key: {key}\r\n"
    data = (start + head.replace("{key}", key) + "\r\n").encode() + b"12345"
    answer = _speak(federation.front, federation.a, data)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"connection: close" in answer
    assert len(federation.superlink.requests) == before


@pytest.mark.parametrize(
    ("data", "status"),
    [(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 403), (b"\x00" * 100, 400), (b"hello\r\n\r\n", 400)],
)
def test_what_is_not_http_is_refused(federation: Federation, data: bytes, status: int) -> None:
    answer = _speak(federation.front, federation.a, data)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())


def test_a_second_request_hidden_behind_the_first_is_judged_on_its_own(
    federation: Federation,
) -> None:
    key = fleet_key(federation.hub, "a.example")["flwr-public-key"]
    first = (
        f"POST {PULL} HTTP/1.1\r\nhost: h\r\nflwr-public-key: {key}\r\ncontent-length: 1\r\n\r\nx"
    )
    second = "POST /v1/control/list-runs HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n"
    answer = _speak(federation.front, federation.a, (first + second).encode())
    assert answer.count(b"HTTP/1.1 ") == 2
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 403 " in answer
    assert federation.superlink.requests[-1].path == PULL


def test_a_get_has_no_body(federation: Federation) -> None:
    data = b"GET /v1/federation HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\n\r\n"
    assert _speak(federation.front, federation.a, data).startswith(b"HTTP/1.1 413 ")


def test_a_body_larger_than_announced_or_allowed_is_not_passed_on(federation: Federation) -> None:
    before = len(federation.superlink.requests)
    limits = FrontLimits(body=1000)
    with (
        serving(federation.hub, federation.superlink.port, limits) as front,
        client(front, federation.a) as member,
    ):
        answer = member.post(
            PULL, content=b"x" * 5_000_000, headers=fleet_key(federation.hub, "a.example")
        )
    assert (answer.status_code, answer.json()["rule"]) == (413, "size")
    assert len(federation.superlink.requests) == before


def test_a_member_that_was_revoked_is_cut_off_within_its_connection(tmp_path: Path) -> None:
    hub = make_hub(tmp_path / "hub")
    a = admit(hub, make_node(hub, tmp_path / "a", "a.example"))
    with serving(hub, 1) as front, client(front, a) as member:
        assert member.get("/v1/federation/roster").status_code == 200
        rosters.revoke(hub, "a.example", "left")
        answer = member.get("/v1/federation/roster")
    assert (answer.status_code, answer.json()["rule"]) == (403, "member")


def test_a_roster_that_the_authority_did_not_sign_serves_nobody(tmp_path: Path) -> None:
    hub = make_hub(tmp_path / "hub")
    a = admit(hub, make_node(hub, tmp_path / "a", "a.example"))
    changed = bytearray(hub.roster_file.read_bytes())
    changed[200] ^= 1
    write_atomic(hub.roster_file, bytes(changed))
    with (
        serving(hub, 1) as front,
        client(front, a) as member,
        pytest.raises(httpx.TransportError),
    ):
        member.get("/v1/federation/roster")


# --------------------------------------------------------------------- time and numbers

IMPATIENT = FrontLimits(handshake=0.4, idle=0.4, stranger=0.4, head=0.4, stall=0.4)


def test_a_head_that_never_ends_is_not_waited_for(federation: Federation) -> None:
    with serving(federation.hub, 1, IMPATIENT) as front:
        answer = _speak(front, federation.a, b"GET /v1/federation HTTP/1.1\r\nx: ", finish=False)
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_a_body_that_never_comes_is_not_waited_for(federation: Federation) -> None:
    key = fleet_key(federation.hub, "a.example")["flwr-public-key"]
    data = f"POST {PULL} HTTP/1.1\r\nhost: h\r\nflwr-public-key: {key}\r\ncontent-length: 9\r\n\r\n"
    with serving(federation.hub, federation.superlink.port, IMPATIENT) as front:
        answer = _speak(front, federation.a, data.encode() + b"part", finish=False)
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_silence_is_not_waited_for(federation: Federation) -> None:
    with serving(federation.hub, 1, IMPATIENT) as front:
        # No handshake at all: the connection ends without a word.
        with socket.create_connection(("127.0.0.1", front.port), timeout=10) as silent:
            assert silent.recv(1) == b""
        assert _speak(front, federation.a, b"", finish=False).startswith(b"HTTP/1.1 408 ")


def test_one_address_has_a_limited_number_of_unknown_connections(federation: Federation) -> None:
    limits = FrontLimits(unknown=3)
    with serving(federation.hub, federation.superlink.port, limits) as front:
        where = ("127.0.0.1", front.port)
        held = [socket.create_connection(where, timeout=10) for _ in range(3)]
        try:
            with socket.create_connection(where, timeout=10) as one_more:
                assert one_more.recv(1) == b""
        finally:
            for connection in held:
                connection.close()


def test_members_from_one_address_do_not_count_as_unknown(federation: Federation) -> None:
    limits = FrontLimits(unknown=2, a_member=4)
    with serving(federation.hub, federation.superlink.port, limits) as front:
        held = [_connect(front, federation.a) for _ in range(4)]
        try:
            with client(front, federation.b) as other:
                assert other.get("/v1/federation/roster").is_success
            with client(front, federation.a) as fifth, pytest.raises(httpx.TransportError):
                fifth.get("/v1/federation/roster")
        finally:
            for connection in held:
                connection.close()


def _connect(front: Front, node: NodeHome) -> ssl.SSLSocket:
    """A member's connection that is known to the hub: it has had an answer."""
    plain = socket.create_connection(("127.0.0.1", front.port), timeout=10)
    connection = hub_ssl_context(node.credentials()).wrap_socket(plain, server_hostname="127.0.0.1")
    connection.sendall(b"GET /v1/federation/roster HTTP/1.1\r\nhost: h\r\n\r\n")
    assert connection.recv(16).startswith(b"HTTP/1.1 200")
    return connection


def _speak(front: Front, node: NodeHome, data: bytes, *, finish: bool = True) -> bytes:
    """Send bytes as a member; return all that comes until the hub closes.

    Args:
        front: The port.
        node: The member.
        data: What is sent.
        finish: Whether a request follows that the hub refuses, so that it closes.
    """
    if finish:
        data += b"GET /the-end HTTP/1.1\r\nhost: h\r\n\r\n"
    with (
        socket.create_connection(("127.0.0.1", front.port), timeout=10) as plain,
        hub_ssl_context(node.credentials()).wrap_socket(
            plain, server_hostname="127.0.0.1"
        ) as connection,
    ):
        connection.sendall(data)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    return answer
