"""What is charged for a run that never began is given back, and nothing else; killed anywhere."""

from __future__ import annotations

import itertools
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from federated.cohort import Request
from federated.jobs import JobFolder
from federated.vertical.study import parse_vertical
from fusion.errors import PartyUnreachable
from fusion.grants.budget import Amount
from fusion.ledger.verify import Expectations
from fusion.services import endings
from fusion.services.audit import audit_whole
from fusion.services.ledger import Book
from fusion.services.node_link import Connection
from fusion.services.storage import open_budgets
from tests.conversing.network import network
from tests.engine.dying import Killed, Mains
from tests.engine.test_vertical import made, world
from tests.engine.vertical_world import LABEL, OTHERS
from tests.link.federation import at_port, serving
from tests.vertical.studies import linear, study_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from federated.cohort import Reply
    from fusion.identity.members import Member
    from fusion.services.homes import HubHome, NodeHome
    from tests.engine.vertical_world import World

__all__ = ["world"]

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")

WHO = "south"
TEXT = study_text(linear(epochs=1), OTHERS, label=LABEL)
NOTHING, ONE = Amount(), Amount(runs=1)
PLENTY = {"permissions__align__runs": 1000, "permissions__train__runs": 1000}


def job(number: int) -> str:
    return f"job-{number:012x}"


def head(world: World, name: str) -> dict[str, Any]:
    """Return what the hub says when it has a party agree to a new run."""
    _, order = world.order(TEXT)
    study = parse_vertical(TEXT, "study.toml").canonical().decode()
    return {"job": name, "study": study, "order": order.decode()}


def ask(world: World, kind: Any, **said: Any) -> Reply:  # noqa: ANN401 - a kind of request
    return world.parties[WHO].handle(Request(kind, said))


def used(world: World, grant: str) -> tuple[Amount, Amount]:
    """Return what counts as used, as a process that is started now reads it."""
    budgets = open_budgets(world.nodes[WHO])
    return budgets.used(grant, "align"), budgets.used(grant, "train")


def reserves(world: World) -> list[str]:
    return open_budgets(world.nodes[WHO]).reserved()


def audited(world: World) -> None:
    with Book(world.nodes[WHO]) as book:
        audit_whole(book.bundle(), Expectations(witnessed=False), ())


def dies(mains: Mains, after: int, act: Callable[[], object]) -> bool:
    """Have the process die after so many steps of something; say whether it did."""
    mains.cut(after)
    try:
        act()
    except Killed:
        return True
    finally:
        mains.restore()
    return False


@pytest.mark.parametrize("hears", [True, False])
def test_killed_while_it_agrees_it_gives_back_what_it_was_charged(
    world: World, monkeypatch: pytest.MonkeyPatch, hears: bool
) -> None:
    """Before every step on disk; it hears of the end by the hub, or asks when it is up again."""
    grant = world.grant(WHO, **PLENTY)
    mains = Mains(world.nodes[WHO].path, monkeypatch)
    charged = []
    for number in itertools.count():
        name = job(number)
        said = head(world, name)
        world.start(WHO)
        died = dies(mains, number, lambda said=said: ask(world, "prepare", **said))  # type: ignore[misc]
        charged.append(used(world, grant))
        party = world.start(WHO)
        assert used(world, grant) == charged[-1]  # a start alone gives nothing back
        if hears:
            ask(world, "leave", job=name, status="failed")
        else:
            party.catch_up(lambda _: "")  # it goes on, as the hub says
            assert used(world, grant) == charged[-1]
            party.catch_up(lambda _: "failed")
        assert used(world, grant) == (NOTHING, NOTHING)
        again = ask(world, "prepare", **said)
        if charged[-1] != (NOTHING, NOTHING):
            # What was given back is not charged again under its name.
            assert again.failure is not None
            said_so = ("was given up", "has ended")
            assert any(each in again.failure.message for each in said_so), again.failure
        ask(world, "leave", job=name, status="failed")
        assert used(world, grant) == (NOTHING, NOTHING)
        if not died:
            break
    assert {(NOTHING, NOTHING), (ONE, NOTHING), (ONE, ONE)} == set(charged)
    audited(world)


def test_killed_while_it_gives_back_it_does_so_when_it_is_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    grant = world.grant(WHO, **PLENTY)
    mains = Mains(world.nodes[WHO].path, monkeypatch)
    for number in itertools.count():
        name = job(number)
        world.start(WHO)
        assert ask(world, "prepare", **head(world, name)).failure is None
        assert used(world, grant) == (ONE, ONE)
        world.start(WHO)
        leave = {"job": name, "status": "failed"}
        died = dies(mains, number, lambda leave=leave: ask(world, "leave", **leave))  # type: ignore[misc]
        world.start(WHO).catch_up(lambda _: "failed")
        assert used(world, grant) == (NOTHING, NOTHING)
        if not died:
            break
    assert number > 2
    audited(world)


def test_a_hub_that_does_not_answer_has_nothing_given_back(world: World) -> None:
    grant = world.grant(WHO)
    said = head(world, job(1))
    world.start(WHO)
    assert ask(world, "prepare", **said).failure is None

    def silent(_: str) -> str:
        raise PartyUnreachable("The hub does not answer.")

    party = world.start(WHO)
    with pytest.raises(PartyUnreachable):
        party.catch_up(silent)
    assert used(world, grant) == (ONE, ONE)
    # The same run goes on under the same charge.
    assert ask(world, "prepare", **said).failure is None
    assert used(world, grant) == (ONE, ONE)
    party.catch_up(lambda _: "failed")  # one that this process agreed to, and heard no end of
    assert used(world, grant) == (NOTHING, NOTHING)


class Leaving:
    """The network, and whether anything of a party's conversations has left it."""

    def __init__(self) -> None:
        self.left = False

    def __call__(self, sender: str, _: str, data: bytes) -> bytes:
        if sender == WHO and data[:1] == b"P":
            self.left = True
        return data


def _attempted(world: World, name: str, mains: Mains, after: int) -> bool:
    """Begin an attempt; kill the party after so many steps of it; return whether it died."""
    for who in world.nodes:
        world.start(who)
    said = head(world, name)
    for party in world.parties.values():
        assert party.handle(Request("prepare", said)).failure is None
    mains.cut(after)
    try:
        for party in world.parties.values():
            party.handle(Request("begin", {"job": name, "attempt": 1, "start": None}))
        until = time.monotonic() + 60
        while not mains.dead and _works(world, name):
            assert time.monotonic() < until
            time.sleep(0.01)
    except Killed:
        pass
    died = mains.dead
    world.parties[WHO].close()  # its threads end; nothing of that reaches the disk
    mains.restore()
    return died


def _works(world: World, name: str) -> bool:
    reply = world.parties[WHO].handle(Request("look", {"job": name}))
    return bool(reply.head["standing"]["state"] == "aligning")


@pytest.mark.parametrize(
    "steps", [range(0, 13, 12), pytest.param(range(200), marks=pytest.mark.soak)]
)
def test_killed_in_an_attempt_it_has_spent_what_it_was_charged_if_anything_left(
    hub: HubHome, nodes: dict[str, NodeHome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    steps: range,
) -> None:  # fmt: skip
    """Killed before any step on disk from the beginning of an attempt up to aligned records."""
    leaving = Leaving()
    with network(leaving) as net:
        world = made(hub, nodes, tmp_path, net)
        grant = {name: world.grant(name, **PLENTY) for name in world.nodes}[WHO]
        mains = Mains(world.nodes[WHO].path, monkeypatch)
        before, seen = used(world, grant), set()
        for number in steps:
            leaving.left = False
            died = _attempted(world, job(number), mains, number)
            world.start(WHO)
            for party in world.parties.values():
                party.handle(Request("leave", {"job": job(number), "status": "failed"}))
            now = used(world, grant)
            spent = tuple(b.runs - a.runs for a, b in zip(before, now, strict=True))
            # Both charges or none, wherever it was killed.
            assert spent == (1, 1) if leaving.left else spent in {(0, 0), (1, 1)}
            assert not reserves(world)
            seen.add((leaving.left, spent))
            before = now
            if not died:
                break
        assert (False, (0, 0)) in seen
        assert (True, (1, 1)) in seen
        audited(world)
        for each in world.parties.values():
            each.close()


def test_a_run_goes_on_under_the_charge_of_a_party_that_was_started_anew(world: World) -> None:
    """Between agreeing and beginning; who took part is told of the end, and nobody else."""
    ids = {name: world.grant(name) for name in world.nodes}
    anew: list[str] = []
    said: dict[str, bytes | None] = {}

    def before(name: str, request: Request) -> None:
        run = str(request.head["job"])
        if name == WHO and request.kind == "begin" and not anew:
            said["open"] = endings.document(world.hub, member(world, WHO), run)
            assert used(world, ids[WHO]) == (ONE, ONE)
            anew.append(run)
            world.start(WHO)
        if request.kind == "leave" and name == WHO:
            raise TimeoutError  # it is away when the run ends

    run, events = world.run(TEXT, before=before)
    assert events[-1]["status"] == "done", events[-1]
    assert [run] == anew
    assert [each["number"] for each in events if each["event"] == "attempt"] == [1, 2]
    assert used(world, ids[WHO]) == (ONE, ONE)
    assert reserves(world) == []
    assert said["open"] == b"open"
    JobFolder(world.hub.runs / run).update(status="done")
    others = {who: endings.document(world.hub, member(world, who), run) for who in (WHO, "west")}
    assert others == {WHO: b"done", "west": None}
    assert endings.document(world.hub, member(world, WHO), job(7)) is None
    assert endings.document(world.hub, member(world, WHO), f"../{run}") is None
    kept = world.nodes[WHO].path / "jobs" / run
    assert kept.exists()
    with serving(world.hub, 1) as port, Connection(at_port(world.nodes[WHO], port.port)) as node:
        world.start(WHO).catch_up(partial(endings.ending, node.link))
    assert not kept.exists()
    assert used(world, ids[WHO]) == (ONE, ONE)
    audited(world)


def member(world: World, name: str) -> Member:
    return world.hub.roster().member(name)
