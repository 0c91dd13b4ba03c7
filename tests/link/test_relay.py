"""Node to node through the hub: who is let through, what the hub sees of it, what it costs."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest

from fusion.crypto import rng
from fusion.errors import FusionError, HubRefused, PartyUnreachable, UnknownOrganisation
from fusion.identity.certificates import from_der, node_host, pem
from fusion.link import frames, peers, rules
from fusion.link.dial import unreachable
from fusion.link.loopback import free_port
from fusion.link.rules import PortLimits
from fusion.services import rosters
from fusion.services.dialling import identity_of, link_of
from fusion.services.node_link import Connection
from tests.link.federation import admit, at_port, make_hub, make_node, serving
from tests.link.wire import hub_process, tapped

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fusion.link.dial import Link
    from fusion.services.homes import HubHome, NodeHome
    from tests.link.conftest import Federation

MEBI = 1024 * 1024
A, B, C = "a.example", "b.example", "c.example"


def _echo() -> Any:
    async def echo(pieces: Any, context: Any) -> None:
        async for piece in pieces:
            await context.write(piece)

    async def count(pieces: Any, _: Any) -> bytes:
        total = 0
        async for piece in pieces:
            total += len(piece)
        return str(total).encode()

    return grpc.method_handlers_generic_handler(
        "tests.Echo",
        {
            "Echo": grpc.stream_stream_rpc_method_handler(echo),
            "Count": grpc.stream_unary_rpc_method_handler(count),
        },
    )


@contextlib.contextmanager
def serving_node(node: NodeHome) -> Iterator[Connection]:
    """A node that is attached and serves its peers."""
    said: list[str] = []
    with Connection(node) as connection:
        connection.serve(said.append, (_echo(),))
        assert connection.link.wait_attached(60)
        yield connection
    assert not said


@pytest.fixture
def pair(federation: Federation) -> Iterator[tuple[Connection, Connection]]:
    """Two members that serve."""
    with serving_node(federation.a) as a, serving_node(federation.b) as b:
        yield a, b


def _members(path: Path, *names: str, port: int = 0) -> tuple[HubHome, list[NodeHome]]:
    hub = make_hub(path / "hub", port)
    nodes = [admit(hub, make_node(hub, path / name, name)) for name in names]
    for node in nodes:
        node.keep_epoch(hub.roster(), hub.roster_file.read_bytes())
    return hub, nodes


# ------------------------------------------------------------------------- what passes


@pytest.mark.parametrize("size", [0, 1, 1024, 262_144, MEBI])
def test_bytes_come_back_as_they_were(pair: tuple[Connection, Connection], size: int) -> None:
    a, b = pair
    data = rng.token(size)
    assert a.ping(B, data) > 0
    assert b.ping(A, data) > 0


def test_streams_pass_both_ways_at_once(pair: tuple[Connection, Connection]) -> None:
    a, _ = pair
    sent = [rng.token(100_000) for _ in range(40)]

    async def stream() -> list[bytes]:
        async def pieces() -> Any:
            for piece in sent:
                yield piece

        call = a_channel.stream_stream("/tests.Echo/Echo")(pieces(), timeout=80)
        return [piece async for piece in call]

    a_channel = a.channel(B)
    assert a.link.run(stream(), 90) == sent


# ------------------------------------------------------------------------- who is let through


def _tunnel(connection_link: Any, *fields: tuple[str, str]) -> grpc.aio.AioRpcError:
    async def ask() -> None:
        stub = connection_link._open().stream_stream(rules.method(rules.TUNNEL))
        call = stub(timeout=80, metadata=fields)
        async for _ in call:
            pass

    with pytest.raises(grpc.aio.AioRpcError) as failure:
        connection_link.run(ask(), 90)
    return failure.value


@pytest.mark.parametrize("target", [A, "nobody.example", "", "hub", "superlink", "127.0.0.1:22"])
def test_a_tunnel_leads_to_another_member_and_nowhere_else(
    federation: Federation, target: str
) -> None:
    with link_of(federation.a) as link:
        failure = _tunnel(link, (rules.TARGET, target))
    assert failure.code() is grpc.StatusCode.PERMISSION_DENIED
    assert (failure.details() or "").startswith("target")


def test_a_member_that_is_away_is_named(federation: Federation) -> None:
    with Connection(federation.a) as connection, pytest.raises(PartyUnreachable, match=B):
        connection.ping(B, b"")
    with Connection(federation.a) as connection, pytest.raises(UnknownOrganisation):
        connection.ping("nobody.example", b"")


@pytest.mark.parametrize("token", ["0" * 32, "x", "../" * 10])
def test_a_tunnel_is_picked_up_with_its_token_only(federation: Federation, token: str) -> None:
    with link_of(federation.a) as link:
        failure = _tunnel(link, (rules.TOKEN, token))
    assert failure.code() is grpc.StatusCode.PERMISSION_DENIED


def test_who_calls_a_member_that_goes_away_does_not_wait_for_it(tmp_path: Path) -> None:
    hub, (a, b) = _members(tmp_path, A, B)
    with serving(hub, 1, PortLimits(rendezvous=600.0)) as port:
        a, b = at_port(a, port.port), at_port(b, port.port)
        with link_of(a) as caller, link_of(b) as called:

            async def attach_and_go() -> None:
                """Go once the hub has told that somebody calls."""
                attach = called._open().unary_stream(rules.method(rules.ATTACH))(b"", timeout=80)
                async for data in attach:
                    frame = frames.from_bytes(data)
                    if isinstance(frame, frames.Hello):
                        attached.set()
                    if isinstance(frame, frames.PickUp):
                        break
                attach.cancel()

            attached = threading.Event()
            going = threading.Thread(target=called.run, args=(attach_and_go(), 90))
            going.start()
            assert attached.wait(60)
            failure = _tunnel(caller, (rules.TARGET, B))
            going.join()
    assert failure.code() is grpc.StatusCode.UNAVAILABLE
    assert failure.details() == f"{B} is gone."


def test_nobody_else_picks_a_tunnel_up(tmp_path: Path) -> None:
    hub, (a, b, c) = _members(tmp_path, A, B, C)
    with serving(hub, 1) as port:
        a, b, c = (at_port(node, port.port) for node in (a, b, c))
        with link_of(a) as caller, link_of(b) as called, link_of(c) as thief:

            async def token_of_b() -> str:
                attach = called._open().unary_stream(rules.method(rules.ATTACH))(b"", timeout=80)
                async for data in attach:
                    frame = frames.from_bytes(data)
                    if isinstance(frame, frames.Hello):
                        threading.Thread(target=_call, args=(caller, B)).start()
                    if isinstance(frame, frames.PickUp):
                        return frame.token
                return ""

            token = called.run(token_of_b(), 90)
            failure = _tunnel(thief, (rules.TOKEN, token))
    assert failure.code() is grpc.StatusCode.PERMISSION_DENIED


def _call(link: Link, organisation: str) -> None:
    async def call() -> None:
        with contextlib.suppress(grpc.aio.AioRpcError):
            await link.tunnel(organisation).read()

    with contextlib.suppress(PartyUnreachable):
        link.run(call(), 90)


def test_a_member_has_a_limited_number_of_tunnels(tmp_path: Path) -> None:
    hub, (a, b) = _members(tmp_path, A, B)
    # Of its own hub: what an earlier test called for may not be over yet.
    with serving(hub, 1, PortLimits(rendezvous=60.0, tunnels=3)) as port:
        a, b = at_port(a, port.port), at_port(b, port.port)
        with serving_node(b), link_of(a) as link:

            async def open_four() -> list[Any]:
                calls = [link.tunnel(B) for _ in range(4)]
                until = time.monotonic() + 60
                while not any(call.done() for call in calls) and time.monotonic() < until:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
                ended = [await call.code() for call in calls if call.done()]
                for call in calls:
                    call.cancel()
                return ended

            assert link.run(open_four(), 80) == [grpc.StatusCode.PERMISSION_DENIED]


def test_who_answers_in_anothers_place_is_found_out(tmp_path: Path) -> None:
    """A hub that leads a tunnel elsewhere: the TLS inside is not that of the member called."""
    hub, (a, _, c) = _members(tmp_path, A, B, C)
    with serving(hub, 1) as port:
        a, c = at_port(a, port.port), at_port(c, port.port)
        with serving_node(c), Connection(a) as connection:
            ca = pem(from_der(a.roster().member(B).ca))

            async def ask() -> None:
                path = await connection._tunnels.listen(C)
                async with peers.channel(path, identity_of(a), ca, node_host(B)) as channel:
                    ping = channel.unary_unary(f"/{peers.PEER_SERVICE}/{peers.PING}")
                    await ping(b"secret", timeout=80)

            with pytest.raises(grpc.aio.AioRpcError) as failure:
                connection.link.run(ask(), 90)
            assert failure.value.code() is grpc.StatusCode.UNAVAILABLE
            assert connection.ping(C, b"") > 0


def test_a_member_that_is_revoked_loses_its_tunnels(tmp_path: Path) -> None:
    hub, (a, b) = _members(tmp_path, A, B)
    with serving(hub, 1) as port:
        a, b = at_port(a, port.port), at_port(b, port.port)
        with Connection(a) as caller, Connection(b) as called:
            called.serve(lambda _: None, (_echo(),))
            assert called.link.wait_attached(60)
            assert caller.ping(B, b"") > 0

            async def hold() -> str:
                call = channel.stream_stream("/tests.Echo/Echo")(timeout=80)
                await call.write(b"x")
                assert await call.read() == b"x"
                rosters.revoke(hub, A, "left the federation")
                try:
                    await call.read()
                except grpc.aio.AioRpcError as error:
                    return str(error.code().name)
                return "nothing"

            channel = caller.channel(B)
            # Cut off, and not left to its time.
            assert caller.link.run(hold(), 90) == "UNAVAILABLE"
            with pytest.raises(PartyUnreachable):
                caller.ping(B, b"")


# ------------------------------------------------------------------------- what the hub sees


def test_the_hub_sees_no_plaintext(tmp_path: Path) -> None:
    hub, (a, b) = _members(tmp_path, A, B)
    secret, shown = b"secret " + rng.token(24).hex().encode(), b"packet " + rng.token(24)
    with hub_process(hub.path) as process, tapped(process.port) as tap:
        a, b = at_port(a, tap.port), at_port(b, tap.port)
        with serving_node(b), Connection(a) as caller:
            held = caller.channel(B)

            async def talk() -> int:
                """Send the secret many times and stop in the middle, with buffers full of it."""
                call = held.stream_stream("/tests.Echo/Echo")(timeout=80)
                for _ in range(20):
                    await call.write(secret * 1000)
                    assert await call.read() == secret * 1000
                return 20

            assert caller.link.run(talk(), 90) == 20
            # What is meant for the hub is found there: the scan can see.
            caller.link.hand_in("witness", shown * 1000)
            assert not process.memory_has(secret)
            assert process.memory_has(shown)
        assert tap.connections == 2
        assert len(tap.seen) > 20 * 2 * len(secret) * 1000
        assert secret not in bytes(tap.seen)
        assert shown not in bytes(tap.seen)


# ------------------------------------------------------------------------- what it costs


def test_memory_is_bounded_whatever_passes(tmp_path: Path) -> None:
    hub, (a, b) = _members(tmp_path, A, B)
    with hub_process(hub.path) as process:
        a, b = at_port(a, process.port), at_port(b, process.port)
        with serving_node(b), Connection(a) as caller:
            caller.ping(B, b"")
            before = process.resident_mb()
            channel = caller.channel(B)

            async def send() -> int:
                async def pieces() -> Any:
                    piece = bytes(MEBI)
                    for _ in range(128):
                        yield piece

                return int(await channel.stream_unary("/tests.Echo/Count")(pieces(), timeout=80))

            assert caller.link.run(send(), 90) == 128 * MEBI
            assert process.peak_mb() - before < 40


def test_who_does_not_read_stops_itself_and_nobody_else(
    pair: tuple[Connection, Connection],
) -> None:
    a, _ = pair
    channel = a.channel(B)

    async def stall() -> int:
        """Write without reading until no more is taken."""
        call = channel.stream_stream("/tests.Echo/Echo")(timeout=100)
        written = 0
        with contextlib.suppress(TimeoutError):
            while written < 512:
                async with asyncio.timeout(1.0):
                    await call.write(bytes(MEBI))
                written += 1
        ping = channel.unary_unary(f"/{peers.PEER_SERVICE}/{peers.PING}")
        assert await ping(b"still there", timeout=60) == b"still there"
        call.cancel()
        return written

    assert a.link.run(stall(), 100) < 64


def test_a_hub_that_comes_back_is_used_again(tmp_path: Path) -> None:
    # A port that nobody is handed while the hub is away.
    hub, (a, b) = _members(tmp_path, A, B, port=free_port())
    with serving(hub, 1):
        called, caller = Connection(b), Connection(a)
        called.serve(lambda _: None)
        assert called.link.wait_attached(60)
        assert caller.ping(B, b"") > 0
    with called, caller:
        with pytest.raises(PartyUnreachable):
            caller.ping(B, b"")
        with serving(hub, 1):
            assert called.link.wait_attached(60)
            until = time.monotonic() + 60
            while True:
                try:
                    assert caller.ping(B, b"again") > 0
                    break
                except PartyUnreachable:
                    assert time.monotonic() < until
                    time.sleep(0.1)


def test_errors_are_said_in_the_projects_words() -> None:
    def made(code: grpc.StatusCode) -> PartyUnreachable:
        nothing = grpc.aio.Metadata()
        return unreachable(grpc.aio.AioRpcError(code, nothing, nothing, details="rule: text"))

    assert isinstance(made(grpc.StatusCode.PERMISSION_DENIED), HubRefused)
    assert not isinstance(made(grpc.StatusCode.UNAVAILABLE), HubRefused)


# --------------------------------------------------------------------- why there is no answer


def test_hub_away_node_away_and_oneself_are_told_apart(tmp_path: Path) -> None:
    """Each with what to do, and no socket of this machine's in it."""
    hub, (a, _) = _members(tmp_path, A, B)
    said: dict[str, FusionError] = {}
    with serving(hub, 1) as port:
        up = at_port(a, port.port)
        for name, other in (("node", B), ("oneself", A)):
            with Connection(up) as connection, pytest.raises(FusionError) as failed:
                connection.ping(other, b"")
            said[name] = failed.value
    with Connection(up) as connection, pytest.raises(FusionError) as failed:
        connection.ping(B, b"")
    said["hub"] = failed.value
    assert {name: (error.message, error.exit_code) for name, error in said.items()} == {
        "node": (f"The node of {B} is not up: the hub has no connection to it.", 6),
        "oneself": (f"{A} is this node's own organisation, which asks itself nothing.", 2),
        "hub": ("The hub does not answer, and the way to other nodes leads through it.", 6),
    }
    for error in said.values():
        assert error.hint
        assert "unix:" not in str(error)
        assert "banyan-" not in str(error)
