"""The parties over Flower's Grid: who is asked, who has answered in time, what an error means."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from flwr.app import ConfigRecord, Error, Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.supercore.inflatable.inflatable_utils import ObjectPushError

from federated.cohort import Reply, Request
from federated.runtime.grid import PUSH_PAUSES, Bells, GridCohort, bells_of
from fusion.errors import GateRefused, MessageInvalid, PartyUnreachable, UnknownOrganisation
from fusion.link.bell import Bell
from fusion.types import OrgId
from tests.link.federation import make_hub
from tests.strategy.grid import InProcessGrid, with_task_identity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from flwr.proto.node_pb2 import NodeInfo

    from federated.cohort import Replies

A, B, C = map(OrgId, ("a", "b", "c"))
ALL = (A, B, C)
LONG = 1e6
NAMES = ("requests", "replies", "restarts")


@pytest.fixture(autouse=True)
def _task_identity() -> Iterator[None]:
    yield from with_task_identity()


class Clock:
    """Time that passes when somebody waits for a bell, or when a test says so."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        return self.seconds


@dataclass(frozen=True, slots=True)
class Timed(Bells):
    """Bells whose waiting costs the clock's time and none of the test's."""

    clock: Clock
    waits: list[float] = field(default_factory=list)

    def await_reply(self, heard: int, seconds: float) -> int:
        self.waits.append(seconds)
        self.clock.seconds += seconds
        return heard


@dataclass
class Echo:
    """A party that answers with what it was asked."""

    name: OrgId
    asked: list[Request] = field(default_factory=list)

    def handle(self, request: Request) -> Reply:
        self.asked.append(request)
        if request.head.get("refuse") == self.name:
            raise GateRefused("No.", hint="Ask later.")
        if request.head.get("break") == self.name:
            message = "a cell of a table"
            raise ZeroDivisionError(message)
        return Reply(self.name, {"kind": request.kind, **request.head}, request.blobs)


class World(InProcessGrid):
    """A grid with nodes that are not there yet, and replies that are late, wrong or errors."""

    def __init__(self, clock: Clock) -> None:
        self.parties = {name: Echo(name) for name in ALL}
        super().__init__(dict(self.parties))
        self.clock = clock
        self.registered = set(ALL)
        self.late: set[OrgId] = set()
        self.instead: dict[OrgId, Callable[[Message], Message]] = {}
        self.ttl: list[float] = []
        self.refusals = 0
        self.sent: list[Message] = []
        self.pull_seconds = 0.0
        self.pulls = 0
        self.before_pull: dict[int, Callable[[], object]] = {}
        self._whose: dict[str, OrgId] = {}

    def get_nodes(self) -> Iterable[NodeInfo]:
        # In an order that says nothing, as Flower's.
        nodes = list(super().get_nodes())[::-1]
        return [node for node in nodes if OrgId(node.public_key.decode()) in self.registered]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        sent = list(messages)
        self.sent += sent
        if self.refusals:
            self.refusals -= 1
            raise ObjectPushError("object", 1, "session")
        identifiers = list(super().push_messages(sent))
        for message, identifier in zip(sent, identifiers, strict=True):
            name, _ = self._nodes[message.metadata.dst_node_id]
            self._whose[identifier] = name
            self.ttl.append(message.metadata.ttl)
            if name in self.instead:
                self._replies[identifier] = self.instead[name](message)
        return identifiers

    def forget_all(self) -> None:
        """Lose every reply that was not fetched."""
        self._replies.clear()

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        self.pulls += 1
        self.before_pull.get(self.pulls, int)()
        self.clock.seconds += self.pull_seconds
        return super().pull_messages(
            name for name in message_ids if self._whose[name] not in self.late
        )


@dataclass(frozen=True, slots=True)
class Setting:
    """A cohort over a world."""

    world: World
    clock: Clock
    bells: Timed
    cohort: GridCohort

    def ask(
        self, *names: OrgId, seconds: float = 5.0, head: dict[str, str] | None = None
    ) -> Replies:
        request = Request("submit", head or {}, {"blob": b"\x00\xff"})
        return self.cohort.ask(dict.fromkeys(names or ALL, request), seconds=seconds)


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    """Three parties, a clock of their own."""
    clock = Clock()
    world = World(clock)
    requests, replies, restarts = (Bell(tmp_path / name) for name in NAMES)
    bells = Timed(requests, replies, restarts, clock)
    return Setting(world, clock, bells, GridCohort(world, world.keys, clock, bells))


# -------------------------------------------------------------------- asking


def test_each_party_is_asked_its_own_and_answers_for_itself(setting: Setting) -> None:
    requests = {name: Request("decrypt", {"to": name}, {"x": name.encode()}) for name in ALL}
    told: list[Reply] = []
    replies = setting.cohort.ask(requests, seconds=5.0, on_reply=told.append)
    assert replies == {
        name: Reply(name, {"kind": "decrypt", "to": name}, {"x": name.encode()}) for name in ALL
    }
    assert {reply.organisation for reply in told} == set(ALL)
    assert [party.asked for party in setting.world.parties.values()] == [
        [requests[name]] for name in ALL
    ]


@pytest.mark.parametrize(
    "kind",
    ["hello", "setup", "join", "contribute", "submit", "witness", "decrypt", "dispute", "close"],
)
def test_every_kind_of_request_arrives(setting: Setting, kind: str) -> None:
    request = Request(kind)  # type: ignore[arg-type]
    assert setting.cohort.ask({A: request}, seconds=5.0)[A].head == {"kind": kind}


def test_a_large_vector_goes_and_comes(setting: Setting) -> None:
    vector = bytes(range(256)) * 10_000
    request = Request("submit", blobs={"vector": vector})
    assert setting.cohort.ask({A: request}, seconds=5.0)[A].blobs == {"vector": vector}


def test_nobody_waits_once_all_have_answered(setting: Setting) -> None:
    assert set(setting.ask()) == set(ALL)
    assert setting.bells.waits == []
    assert setting.bells.requests.rings() == 1


def test_a_party_that_is_late_is_left_out_at_the_deadline(setting: Setting) -> None:
    setting.world.late = {B}
    began = setting.clock.seconds
    assert set(setting.ask(seconds=3.0)) == {A, C}
    assert setting.clock.seconds == pytest.approx(began + 3.0)
    # A message outlives its deadline, so that the late party answers into nothing.
    assert min(setting.world.ttl) > 3.0


def test_who_has_not_answered_is_asked_again_once_the_superlink_was_started_again(
    setting: Setting,
) -> None:
    world = setting.world
    world.late = {A, B}

    def restarted() -> None:
        # It comes back without what it had handed out before it ended.
        setting.bells.restarts.ring()
        world.forget_all()
        world.late = set()

    world.before_pull[2] = restarted
    assert set(setting.ask(seconds=5.0)) == set(ALL)
    assert [len(party.asked) for party in world.parties.values()] == [2, 2, 1]


def test_a_second_answer_of_who_was_asked_again_is_nobodys(setting: Setting) -> None:
    world = setting.world
    world.late = {A}
    world.before_pull[2] = setting.bells.restarts.ring
    world.before_pull[4] = world.late.clear
    told: list[Reply] = []
    request = Request("submit")
    replies = setting.cohort.ask(dict.fromkeys(ALL, request), seconds=9.0, on_reply=told.append)
    assert set(replies) == set(ALL)
    assert sorted(reply.organisation for reply in told) == sorted(ALL)
    assert len(world.parties[A].asked) == 2


def test_a_late_answer_is_not_taken_for_the_next_one(setting: Setting) -> None:
    setting.world.late = {B}
    setting.ask(seconds=1.0, head={"round": "1"})
    setting.world.late = set()
    replies = setting.ask(head={"round": "2"})
    assert {reply.head["round"] for reply in replies.values()} == {"2"}
    assert len(replies) == 3


def test_enough_answers_end_the_waiting(setting: Setting) -> None:
    setting.world.late = {C}
    request = Request("submit")
    replies = setting.cohort.ask(
        dict.fromkeys(ALL, request), seconds=LONG, enough=lambda found: len(found) >= 2
    )
    assert set(replies) == {A, B}
    assert setting.bells.waits == []


def test_an_outage_of_the_superlink_moves_the_deadline(setting: Setting) -> None:
    setting.world.late = {B}
    setting.world.pull_seconds = 100.0
    setting.ask(B, seconds=10.0)
    # One look alone took longer than the deadline; there were as many as in 10 s without outage.
    looks, setting.world.pulls, setting.world.pull_seconds = setting.world.pulls, 0, 0.0
    setting.ask(B, seconds=10.0)
    assert looks == setting.world.pulls > 1


# -------------------------------------------------------------------- what goes wrong


def _error(code: int) -> Callable[[Message], Message]:
    return lambda message: Message(Error(code, "why"), reply_to=message)


@pytest.mark.parametrize("code", [ErrorCode.NODE_UNAVAILABLE, ErrorCode.MESSAGE_UNAVAILABLE])
def test_an_error_that_stands_for_silence_is_no_answer(setting: Setting, code: int) -> None:
    setting.world.instead[B] = _error(code)
    assert set(setting.ask()) == {A, C}


@pytest.mark.parametrize("code", [ErrorCode.INVALID_FAB, ErrorCode.UNKNOWN])
def test_any_other_error_is_that_partys_failure(setting: Setting, code: int) -> None:
    setting.world.instead[B] = _error(code)
    replies = setting.ask()
    failure = replies[B].failure
    assert failure is not None
    assert (failure.code, failure.message) == (MessageInvalid.code, "Its node failed: why")
    assert replies[A].failure is replies[C].failure is None


def _garbled(message: Message) -> Message:
    return Message(RecordDict({"banyan": ConfigRecord({"banyan": b"junk"})}), reply_to=message)


def test_an_answer_that_can_not_be_read_is_that_partys_failure(setting: Setting) -> None:
    setting.world.instead[B] = _garbled
    replies = setting.ask()
    failure = replies[B].failure
    assert failure is not None
    assert failure.code == MessageInvalid.code
    assert replies[A].failure is replies[C].failure is None


def test_a_refusal_comes_as_the_party_made_it(setting: Setting) -> None:
    failure = setting.ask(head={"refuse": "b"})[B].failure
    assert failure is not None
    assert (failure.code, failure.exit_code) == (GateRefused.code, 4)
    assert failure.message == "No. Ask later."


def test_what_went_wrong_inside_a_party_stays_there(setting: Setting) -> None:
    failure = setting.ask(head={"break": "b"})[B].failure
    assert failure is not None
    assert (failure.code, failure.exit_code) == ("F-000", 1)
    assert "cell" not in failure.message
    assert "ZeroDivision" not in failure.message


def test_messages_that_were_not_taken_are_sent_again(setting: Setting) -> None:
    setting.world.refusals = len(PUSH_PAUSES)
    assert set(setting.ask()) == set(ALL)
    assert setting.bells.requests.rings() == 1


def test_a_superlink_that_takes_nothing_ends_the_run_in_words(setting: Setting) -> None:
    setting.world.refusals = len(PUSH_PAUSES) + 1
    with pytest.raises(PartyUnreachable, match=r"superlink\.log"):
        setting.ask()


def test_no_two_greetings_are_the_same_bytes(setting: Setting) -> None:
    """The SuperLink keeps equal objects once: a second one would be there before it was sent."""
    for _ in range(2):
        setting.cohort.ask({A: Request("hello")}, seconds=1.0)
    first, second = (message.content["banyan"].object_id for message in setting.world.sent)
    assert first != second


# -------------------------------------------------------------------- who is which node


def test_a_party_without_a_node_is_not_waited_for_and_found_later(setting: Setting) -> None:
    setting.world.registered = {A, C}
    assert set(setting.ask()) == {A, C}
    assert setting.bells.waits == []
    setting.world.registered = set(ALL)
    assert set(setting.ask()) == set(ALL)


def test_without_any_node_nothing_is_sent(setting: Setting) -> None:
    setting.world.registered = set()
    assert setting.ask() == {}
    assert setting.bells.requests.rings() == 0


def test_who_is_not_in_the_roster_is_not_asked(setting: Setting) -> None:
    with pytest.raises(UnknownOrganisation, match="stranger"):
        setting.ask(OrgId("stranger"))


def test_a_node_whose_key_is_not_in_the_roster_is_nobody(setting: Setting) -> None:
    keys = {A: setting.world.keys[A], B: "bm9ib2R5"}
    cohort = GridCohort(setting.world, keys, setting.clock, setting.bells)
    assert set(cohort.ask(dict.fromkeys((A, B), Request("hello")), seconds=1.0)) == {A}
    assert not setting.world.parties[B].asked


# -------------------------------------------------------------------- knocking


def _greetings(setting: Setting) -> list[int]:
    return [len(setting.world.parties[name].asked) for name in ALL]


def test_a_knock_greets_once_and_hears_the_answer_later(setting: Setting) -> None:
    setting.world.late = {B}
    assert setting.cohort.knock([A, B]) == set()
    assert setting.cohort.knock([A, B]) == {A}
    for _ in range(3):
        assert setting.cohort.knock([B]) == set()
    # b has one greeting under way, however often was knocked; c was not asked for.
    assert _greetings(setting) == [1, 1, 0]
    setting.world.late = set()
    assert setting.cohort.knock([B]) == {B}
    assert setting.bells.waits == []


def test_who_has_answered_is_greeted_anew_the_next_time(setting: Setting) -> None:
    setting.cohort.knock([A])
    assert setting.cohort.knock([A]) == {A}
    assert setting.cohort.knock([A]) == set()
    assert setting.cohort.knock([A]) == {A}
    assert _greetings(setting) == [2, 0, 0]


def test_only_those_asked_for_are_named(setting: Setting) -> None:
    setting.cohort.knock([A, B])
    assert setting.cohort.knock([B]) == {B}


def test_a_greeting_that_was_never_delivered_is_sent_again(setting: Setting) -> None:
    setting.world.instead[A] = _error(ErrorCode.NODE_UNAVAILABLE)
    assert setting.cohort.knock([A]) == set()
    assert setting.cohort.knock([A]) == set()
    setting.world.instead.clear()
    heard: Sequence[set[OrgId]] = [setting.cohort.knock([A]) for _ in range(2)]
    assert {A} in heard


def test_a_greeting_outlives_a_long_absence(setting: Setting) -> None:
    setting.cohort.knock([A])
    assert setting.world.ttl == [3600.0]


# -------------------------------------------------------------------- the bells of a hub


class Following(Bell):
    """A bell that rings once more when somebody has just been woken by it."""

    def wait(self, heard: int, seconds: float) -> int:
        rings = super().wait(heard, seconds)
        self.ring()
        return rings


def test_a_reply_wakes_the_run_and_those_that_come_with_it_are_taken_together(
    tmp_path: Path,
) -> None:
    bells = Bells(
        Bell(tmp_path / "requests"), Following(tmp_path / "replies"), Bell(tmp_path / "restarts")
    )
    heard = bells.heard()
    bells.replies.ring()
    assert bells.await_reply(heard, LONG) == heard + 2


def test_without_a_reply_the_wait_ends_by_itself(tmp_path: Path) -> None:
    bells = Bells(*(Bell(tmp_path / name) for name in NAMES))
    assert bells.await_reply(0, 0.0) == 0


def test_the_bells_are_those_of_the_hubs_folder(tmp_path: Path) -> None:
    hub = make_hub(tmp_path / "hub")
    bells = bells_of(hub)
    bells.announce()
    assert (hub.requests_bell.stat().st_size, hub.replies_bell.exists()) == (1, False)
    Bell(hub.replies_bell).ring()
    assert bells.heard() == 1
