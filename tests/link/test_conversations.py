"""Conversations over the real link: between nodes, and with the hub."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import pytest

from federated.protocols.vertical.messages import Outgoing
from federated.protocols.vertical.outbox import MachineTalker
from fusion.alignment.session import Outcome, Session
from fusion.alignment.talkers import SessionTalker
from fusion.errors import PartyFailed, PartySilent
from fusion.identity.members import AUTHORITY
from fusion.link.rules import PortLimits
from fusion.services import rosters
from fusion.services.conversing import Conversations, Patience
from fusion.services.hub_port import port_of
from fusion.services.node_link import Connection
from tests.alignment.parties import masker, terms
from tests.conversing.parties import counting, talking
from tests.link.federation import admit, at_port, make_hub, make_node
from tests.link.wire import hub_process, tapped

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fusion.services.homes import NodeHome
    from tests.link.conftest import Federation

A, B, C = "a.example", "b.example", "c.example"
PATIENCE = Patience(silence=60.0)


@contextlib.contextmanager
def serving_node(node: NodeHome) -> Iterator[Connection]:
    said: list[str] = []
    with Connection(node) as connection:
        connection.serve(said.append)
        assert connection.link.wait_attached(60)
        yield connection
    assert not said


@pytest.fixture
def pair(federation: Federation) -> Iterator[tuple[Connection, Connection]]:
    with serving_node(federation.a) as a, serving_node(federation.b) as b:
        yield a, b


def test_two_nodes_hear_each_other(pair: tuple[Connection, Connection]) -> None:
    talkers = counting((A, B), 20, 300_000)
    waiting = [
        talking(connection.conversations, talkers[name], patience=PATIENCE)
        for name, connection in zip((A, B), pair, strict=True)
    ]
    assert [each.end() for each in waiting] == [None, None]
    for each in talkers.values():
        each.check_heard()
    assert waiting[0].talk.bytes() == (6_000_000, 6_000_000)


def test_an_alignment_between_two_nodes(pair: tuple[Connection, Connection]) -> None:
    agreed = terms(parties=(A, B), outcome="both")
    keys = {A: [f"k{at}" for at in range(9)], B: [f"k{at}" for at in range(5, 12)]}
    sessions = {name: Session.begin(agreed, name, keys[name], masker) for name in (A, B)}
    waiting = [
        talking(connection.conversations, SessionTalker(sessions[name]), patience=PATIENCE)
        for name, connection in zip((A, B), pair, strict=True)
    ]
    assert [each.end() for each in waiting] == [None, None]
    found = {name: session.outcome() for name, session in sessions.items()}
    assert found[A] == Outcome(4, (5, 6, 7, 8))
    assert found[B] == Outcome(4, (0, 1, 2, 3))


def test_a_connection_that_is_cut_is_made_again(pair: tuple[Connection, Connection]) -> None:
    talkers = counting((A, B), 60, 100_000)
    waiting = [
        talking(connection.conversations, talkers[name], patience=PATIENCE)
        for name, connection in zip((A, B), pair, strict=True)
    ]
    for count in (10, 30):
        while talkers[B].taken(A) < count:
            time.sleep(0.005)
        pair[0].link.run(_cut(pair[0]))
    assert [each.end() for each in waiting] == [None, None]
    for each in talkers.values():
        each.check_heard()


async def _cut(connection: Connection) -> None:
    for task in connection._tunnels._tasks:
        task.cancel()


class Echo:
    """A machine that sends back what comes, one letter longer, up to a length."""

    def __init__(self, peer: str, most: int) -> None:
        self.peer, self.most, self.last = peer, most, 0

    def receive(self, sender: str, data: bytes) -> list[Outgoing]:
        self.last = len(data)
        return [Outgoing(sender, data + b"x")] if len(data) < self.most else []

    def over(self) -> bool:
        return self.last >= self.most - 1


def test_machines_talk_as_they_do_in_one_process(pair: tuple[Connection, Connection]) -> None:
    a, b = Echo(B, 30), Echo(A, 30)
    talkers = {
        A: MachineTalker(a, [B], [Outgoing(B, b"x")], a.over),
        B: MachineTalker(b, [A], [], b.over),
    }
    waiting = [
        talking(connection.conversations, talkers[name], patience=PATIENCE)
        for name, connection in zip((A, B), pair, strict=True)
    ]
    assert [each.end() for each in waiting] == [None, None]
    assert {a.last, b.last} == {29, 30}


def test_a_node_and_the_hub_hear_each_other(tmp_path: Path) -> None:
    hub = make_hub(tmp_path / "hub")
    nodes = [admit(hub, make_node(hub, tmp_path / name, name)) for name in (A, B)]
    talks = Conversations(AUTHORITY)
    port = port_of(hub, 1, conversations=talks)
    port.start()
    try:
        talkers = counting((AUTHORITY, A, B), 5, 200_000)
        for node in nodes:
            node.keep_epoch(hub.roster(), hub.roster_file.read_bytes())
        with (
            serving_node(at_port(nodes[0], port.port)) as a,
            serving_node(at_port(nodes[1], port.port)) as b,
        ):
            registries = {AUTHORITY: talks, A: a.conversations, B: b.conversations}
            waiting = [
                talking(registries[name], talkers[name], patience=PATIENCE) for name in registries
            ]
            assert [each.end() for each in waiting] == [None] * 3
    finally:
        talks.close()
        port.stop()
    for each in talkers.values():
        each.check_heard()


def test_a_node_that_goes_and_comes_back_goes_on(federation: Federation) -> None:
    """The process of one side is another one: what it kept is what it goes on from."""
    talkers = counting((A, B), 60, 100_000)
    with serving_node(federation.a) as a:
        first = talking(a.conversations, talkers[A], patience=PATIENCE)
        with serving_node(federation.b) as b:
            second = b.conversations.open(
                "job-1", 1, talkers[B], patience=PATIENCE, check=lambda: None
            )
            while talkers[B].taken(A) < 10:
                time.sleep(0.01)
            # As in a process that is killed: nobody is told.
            second._ended.set()
            assert second.join(60)
            for line in second.lines.values():
                line.drop()
        with serving_node(federation.b) as b:
            again = talking(b.conversations, talkers[B], patience=PATIENCE)
            assert again.end() is None
        assert first.end() is None
    for each in talkers.values():
        each.check_heard()


def test_the_wire_to_the_hub_is_cut_and_has_no_word_of_it_nor_has_its_memory(
    tmp_path: Path,
) -> None:
    hub = make_hub(tmp_path / "hub")
    nodes = [admit(hub, make_node(hub, tmp_path / name, name)) for name in (A, B)]
    for node in nodes:
        node.keep_epoch(hub.roster(), hub.roster_file.read_bytes())
    talkers = counting((A, B), 200, 40_000)
    with hub_process(hub.path) as served:
        number = served.port
        with tapped(number) as tap:
            with (
                serving_node(at_port(nodes[0], tap.port)) as a,
                serving_node(at_port(nodes[1], tap.port)) as b,
            ):
                waiting = [
                    talking(connection.conversations, talkers[name], patience=PATIENCE)
                    for name, connection in ((A, a), (B, b))
                ]
                while talkers[B].taken(A) < 50:
                    time.sleep(0.01)
                assert not served.memory_has(f"{A} to {B}: 1".encode())
                tap.cut()
                assert [each.end() for each in waiting] == [None, None]
            assert len(tap.seen) > 2 * 200 * 40_000
            assert f"{A} to {B}: ".encode() not in tap.seen
    for each in talkers.values():
        each.check_heard()


def test_who_is_revoked_is_not_talked_to(tmp_path: Path) -> None:
    hub = make_hub(tmp_path / "hub")
    nodes = [admit(hub, make_node(hub, tmp_path / name, name)) for name in (A, B)]
    for node in nodes:
        node.keep_epoch(hub.roster(), hub.roster_file.read_bytes())
    port = port_of(hub, 1, PortLimits(rendezvous=1.0))
    port.start()
    try:
        with (
            serving_node(at_port(nodes[0], port.port)) as a,
            serving_node(at_port(nodes[1], port.port)) as b,
        ):
            # Long enough to be heard before, on whatever machine.
            short = Patience(silence=10.0)
            talkers = counting((A, B), 10**6, 1000)
            waiting = [
                talking(connection.conversations, talkers[name], patience=short)
                for name, connection in ((A, a), (B, b))
            ]
            while talkers[B].taken(A) < 10:
                assert not any(each.talk.ended for each in waiting)
                time.sleep(0.01)
            rosters.revoke(hub, B, "it left")
            errors = [each.end() for each in waiting]
    finally:
        port.stop()
    assert all(isinstance(each, PartySilent | PartyFailed) for each in errors), errors
