"""Conversations in memory: carried to the end over broken connections, or ended by name."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING

import pytest

from fusion.errors import (
    ConversationBroken,
    FusionError,
    GrantRefused,
    InputInvalid,
    MessageInvalid,
    PartyFailed,
    PartySilent,
    RunStopped,
)
from fusion.identity.members import AUTHORITY
from fusion.link import talk
from fusion.link.line import MAX_WAITING_BYTES, Line
from fusion.link.rings import Rings
from fusion.services import conversing
from fusion.services.clock import SystemClock
from fusion.services.conversing import Conversations, dials, is_connection
from tests.conversing.network import Cut, Frozen, network
from tests.conversing.parties import LONG, SHORT, Counting, counting, talking, until

if TYPE_CHECKING:
    from collections.abc import Callable

FRAMES = [
    talk.Hello(job="job-1", attempt=1, taken=0, next=2),
    talk.Part(3, 10, 4, b"abc"),
    talk.Part(0, 0, 0, b""),
    talk.Taken(5),
    talk.Alive(),
    talk.Alive(idle=12_345),
    talk.Failed(code="A-63", exit_code=5, reason="A list is not the one."),
    talk.Over(),
    talk.Unknown(),
]


@pytest.mark.parametrize("frame", FRAMES, ids=lambda each: type(each).__name__)
def test_a_frame_comes_back_and_no_other_bytes_do(frame: talk.Frame) -> None:
    data = talk.to_bytes(frame)
    assert talk.from_bytes(data) == frame
    if not isinstance(frame, talk.Part):
        with pytest.raises(MessageInvalid):
            talk.from_bytes(data + b"x")
    if len(data) > 1 and not isinstance(frame, talk.Part):
        with pytest.raises(MessageInvalid):
            talk.from_bytes(data[:-1])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"X",
        b"P" + bytes(15),
        b"P" + bytes(8) + b"\xff\xff\xff\xff" + bytes(4),
        b"P" + bytes(11) + b"\x02" + bytes(3) + b"\x01" + b"ab",
        b"P" + bytes(8) + b"\x00\xff\xff\xff" + bytes(4 + talk.PART_BYTES + 1),
        b'H{"attempt":0,"job":"j","next":0,"taken":0}',
        b'H{"attempt":1,"job":"../j","next":0,"taken":0}',
        b'F{"code":"?","exit_code":1,"reason":""}',
        b"H" + b" " * 5000,
    ],
)
def test_what_is_no_frame_is_refused(data: bytes) -> None:
    with pytest.raises(MessageInvalid):
        talk.from_bytes(data)


def test_a_message_travels_in_parts_and_has_a_limit() -> None:
    data = bytes(range(256)) * 5000
    cut = talk.parts(7, data)
    assert len(cut) == 3
    assert b"".join(part.data for part in cut) == data
    with pytest.raises(MessageInvalid):
        talk.parts(0, bytes(talk.MAX_MESSAGE_BYTES + 1))


def test_one_side_of_a_pair_dials_and_the_hub_never_does() -> None:
    assert [dials(*pair) for pair in (("a", "b"), ("b", "a"))] == [True, False]
    assert [dials("x", AUTHORITY), dials(AUTHORITY, "x")] == [True, False]


@pytest.mark.parametrize("names", ["ab", "abcd"])
@pytest.mark.parametrize("size", [10, 700_000])
def test_everybody_hears_everything(names: str, size: int) -> None:
    with network() as net:
        talkers = counting(names, 6, size)
        waiting = [talking(net.join(name), each) for name, each in talkers.items()]
        assert [each.end() for each in waiting] == [None] * len(names)
    for each in talkers.values():
        each.check_heard()
        assert each.gone


def _at(number: int, sender: str, act: Callable[[bytes], bytes]) -> Callable[..., bytes]:
    """Do something to the frame of a number that somebody sends."""
    seen = 0

    def fault(who: str, peer: str, data: bytes) -> bytes:
        nonlocal seen
        del peer
        if who == sender and data[:1] != b"A":
            seen += 1
            if seen == number + 1:
                return act(data)
        return data

    return fault


def _cut(_: bytes) -> bytes:
    raise Cut


@pytest.mark.parametrize("sender", ["a", "b"])
@pytest.mark.parametrize("number", range(12))
def test_cut_off_at_any_frame_it_goes_on(number: int, sender: str) -> None:
    with network(_at(number, sender, _cut)) as net:
        talkers = counting("ab", 4)
        waiting = [talking(net.join(name), each) for name, each in talkers.items()]
        assert [each.end() for each in waiting] == [None, None]
        assert net.connections <= 3
    for each in talkers.values():
        each.check_heard()


@pytest.mark.parametrize("sender", ["a", "b"])
@pytest.mark.parametrize("number", [0, 1, 4])
def test_rubbish_ends_it_by_name_or_is_as_if_nothing_had_come(number: int, sender: str) -> None:
    with network(_at(number, sender, lambda _: b"rubbish")) as net:
        talkers = counting("ab", 4)
        waiting = {name: talking(net.join(name), each) for name, each in talkers.items()}
        errors = {name: each.end() for name, each in waiting.items()}
    listener = "b" if sender == "a" else "a"
    if number == 0 and sender == "a":  # no hello: the call is not answered, the next one is
        assert errors == {"a": None, "b": None}
        return
    assert isinstance(errors[listener], ConversationBroken)
    assert errors[listener].party == sender  # type: ignore[union-attr]
    told = errors[sender]
    assert isinstance(told, PartyFailed)
    assert (told.code, told.party) == ("F-510", listener)
    assert not is_connection(told)


@pytest.mark.parametrize("sender", ["a", "b"])
def test_a_frozen_party_ends_it_within_the_patience(sender: str) -> None:
    began, listener = time.monotonic(), "b" if sender == "a" else "a"
    with network() as net:

        def fault(who: str, peer: str, data: bytes) -> bytes:
            del peer
            if who == sender and data[:1] == b"P":
                gone.set()
            if who == sender and gone.is_set():
                raise Frozen
            return data

        gone = threading.Event()
        net.fault = fault
        talkers = counting("ab", 4)
        waiting = {
            name: talking(net.join(name), each, patience=SHORT if name == listener else LONG)
            for name, each in talkers.items()
        }
        errors = {name: each.end() for name, each in waiting.items()}
    assert isinstance(errors[listener], PartySilent)
    assert errors[listener].party == sender  # type: ignore[union-attr]
    assert is_connection(errors[listener])  # type: ignore[arg-type]
    assert errors[sender] is not None
    assert time.monotonic() - began < LONG.silence


def test_who_never_begins_is_named_and_others_are_told() -> None:
    with network() as net:
        talkers = counting("abc", 3)
        waiting = {name: talking(net.join(name), talkers[name], patience=SHORT) for name in "ab"}
        net.join("c")
        errors = [waiting[name].end() for name in "ab"]
    silent = [each for each in errors if isinstance(each, PartySilent)]
    assert silent
    assert all(each.party == "c" for each in silent)
    assert all(is_connection(each) for each in errors if each)
    assert any("has not begun" in str(each) for each in silent)


def test_a_party_that_begins_later_is_waited_for() -> None:
    with network() as net:
        talkers = counting("ab", 3)
        first = talking(net.join("a"), talkers["a"])
        registry = net.join("b")
        until(lambda: "has not begun" in first.talk.lines["b"].reason)
        second = talking(registry, talkers["b"])
        assert (first.end(), second.end()) == (None, None)


def test_another_attempt_is_another_talk() -> None:
    with network() as net:
        talkers = counting("ab", 3)
        first = talking(net.join("a"), talkers["a"], attempt=1, patience=SHORT)
        second = talking(net.join("b"), talkers["b"], attempt=2, patience=SHORT)
        assert isinstance(first.end(), PartySilent)
        assert isinstance(second.end(), PartySilent)


def test_one_that_is_no_party_of_the_job_hears_nothing() -> None:
    with network() as net:
        talkers = counting("ab", 3)
        waiting = [talking(net.join(name), talkers[name]) for name in "ab"]
        outside = talking(net.join("A"), counting("Ab", 3)["A"], patience=SHORT)
        assert [each.end() for each in waiting] == [None, None]
        assert isinstance(outside.end(), PartySilent)


class Refusing:
    """A talker whose taking fails."""

    def __init__(self, error: Exception) -> None:
        self.peers, self.over, self._error = frozenset("a"), False, error

    def ready(self, peer: str) -> int:
        del peer
        return 1

    def most(self, peer: str) -> int:
        del peer
        return 1

    def message(self, peer: str, number: int) -> bytes:
        del peer, number
        return b"word"

    def wants(self, peer: str, data: bytes) -> bool:
        del peer, data
        return True

    def take(self, peer: str, data: bytes) -> None:
        del peer, data
        raise self._error

    def taken(self, peer: str) -> int:
        del peer
        return 0

    def forget(self, peer: str, below: int) -> int:
        del peer, below
        return 0


@pytest.mark.parametrize(
    ("error", "code", "word"),
    [
        (GrantRefused("No grant.", code="G-20"), "G-20", "No grant."),
        (InputInvalid("/home/secret can't be read."), "F-100", "its own log"),
        (ZeroDivisionError("secret"), "F-000", "ZeroDivisionError"),
    ],
)
def test_an_error_at_one_party_is_told_without_what_is_its_own(
    error: Exception, code: str, word: str, caplog: pytest.LogCaptureFixture
) -> None:
    with network() as net:
        a = talking(net.join("a"), counting("ab", 3)["a"])
        b = talking(net.join("b"), Refusing(error))
        failed, told = b.end(), a.end()
    assert isinstance(failed, FusionError)
    assert isinstance(told, PartyFailed)
    assert told.party == "b"
    assert "secret" not in str(told)
    if code == "G-20":
        assert (told.code, told.exit_code) == (code, 4)
        assert word in str(told)
    caplog.clear()


def test_a_permit_that_ends_ends_the_talk_within_a_second() -> None:
    revoked, looked = threading.Event(), []

    def check() -> None:
        if revoked.is_set():
            looked.append(1)
            raise GrantRefused("The grant was revoked.", code="G-03")

    with network() as net:
        endless = {name: counting("ab", 10**6)[name] for name in "ab"}
        waiting = [
            talking(net.join("a"), endless["a"]),
            talking(net.join("b"), endless["b"], check=check),
        ]
        until(lambda: endless["a"].taken("b") > 10)
        revoked.set()
        told, own = [each.end() for each in waiting]
    # By the first look after it, of several a second: the machine's own pace is not the talk's.
    assert looked == [1]
    assert conversing._LOOK_SECONDS < 0.5
    assert isinstance(own, GrantRefused)
    assert isinstance(told, PartyFailed)
    assert told.code == "G-03"


def test_a_stop_ends_both() -> None:
    with network() as net:
        waiting = [talking(net.join(name), each) for name, each in counting("ab", 10**6).items()]
        until(lambda: all(sum(each.talk.bytes()) > 100 for each in waiting))
        waiting[0].stop.set()
        own, told = [each.end() for each in waiting]
    assert isinstance(own, RunStopped)
    assert isinstance(told, PartyFailed)


def test_who_ends_before_it_has_said_everything_is_named() -> None:
    with network() as net:
        a, b = counting("ab", 3)["a"], counting("ab", 2)["b"]
        b.words = 2
        waiting = [talking(net.join("a"), a), talking(net.join("b"), b)]
        errors = [each.end() for each in waiting]
    assert any(isinstance(each, ConversationBroken | PartyFailed) for each in errors), errors


def test_an_attempt_is_open_once_and_not_with_oneself() -> None:
    with network() as net:
        registry = net.join("b")
        waiting = talking(registry, counting("ab", 3)["b"])
        with pytest.raises(InputInvalid):
            registry.open("job-1", 1, counting("ab", 3)["b"], patience=SHORT, check=lambda: None)
        with pytest.raises(InputInvalid):
            registry.open("job-2", 1, counting("ab", 3)["a"], patience=SHORT, check=lambda: None)
        waiting.stop.set()
        assert waiting.end() is not None
    alone = Conversations("a")
    with pytest.raises(InputInvalid, match="no way to b"):
        alone.open("job-3", 1, counting("ab", 3)["a"], patience=SHORT, check=lambda: None)
    assert alone.find("job-3", 1, "b") is None
    assert "talk job-3" not in {thread.name for thread in threading.enumerate()}


def test_the_end_of_a_talk_is_told_to_who_was_away() -> None:
    """Who has not heard the last acknowledgement hears it on its next connection."""
    with network() as net:
        talkers = counting("ab", 2)
        cut = threading.Event()

        def fault(who: str, peer: str, data: bytes) -> bytes:
            del peer
            # b has taken everything, and says so: a does not hear it for a while.
            if who == "b" and data == talk.to_bytes(talk.Taken(2)):
                cut.set()
            if cut.is_set() and time.monotonic() < back:
                raise Cut
            return data

        back = time.monotonic() + 1.5
        net.fault = fault
        waiting = [talking(net.join(name), each) for name, each in talkers.items()]
        assert [each.end() for each in waiting] == [None, None]


class Eager(Counting):
    """Has everything to say at once, and takes nothing until it is told to."""

    def __init__(self, me: str, peer: str, words: int, size: int, go: threading.Event) -> None:
        super().__init__(me, frozenset(peer), words, size)
        self._go = go

    def ready(self, peer: str) -> int:
        del peer
        return self.words

    def take(self, peer: str, data: bytes) -> None:
        assert self._go.wait(60)
        super().take(peer, data)


def test_who_takes_slowly_is_not_sent_more_than_it_can_hold() -> None:
    mega, most, go = 1024 * 1024, 0, threading.Event()

    def full() -> bool:
        nonlocal most
        most = max(most, *(line._waiting for line in lines), *(line._to_send for line in lines))
        return most >= MAX_WAITING_BYTES - mega

    with network() as net:
        talkers = {me: Eager(me, peer, 40, mega, go) for me, peer in ("ab", "ba")}
        waiting = [talking(net.join(name), each) for name, each in talkers.items()]
        lines = [line for each in waiting for line in each.talk.lines.values()]
        until(full)
        go.set()
        while not all(each.talk.ended for each in waiting):
            full()
            time.sleep(0.002)
        assert [each.end() for each in waiting] == [None, None]
    assert mega < most <= MAX_WAITING_BYTES + mega
    for each in talkers.values():
        each.check_heard()


class Standing(SystemClock):
    """A clock of a process that can stand still."""

    def __init__(self) -> None:
        self.stood = 0.0
        self.looks = 0

    def monotonic(self) -> float:
        self.looks += 1
        return super().monotonic() + self.stood


def test_who_stood_still_itself_does_not_blame_its_peers() -> None:
    with network() as net:
        clock = Standing()
        net.registries["b"] = Conversations("b", clock=clock)
        talkers = counting("ab", 3)
        second = talking(net.registries["b"], talkers["b"], patience=LONG)
        until(lambda: clock.looks > 10)
        clock.stood, clock.looks = 1000.0, 0
        until(lambda: clock.looks > 20)
        assert not second.talk.ended
        first = talking(net.join("a"), talkers["a"])
        assert (first.end(), second.end()) == (None, None)


class Flood:
    """A stream that brings empty messages for as long as it is read."""

    def __init__(self) -> None:
        self.count = 0

    async def read(self) -> bytes:
        self.count += 1
        if self.count > 30_000:
            await asyncio.Event().wait()
        return talk.to_bytes(talk.Part(self.count - 1, 0, 0, b""))

    async def write(self, data: bytes) -> None:
        del data


def test_empty_messages_that_are_not_taken_are_not_read_without_end() -> None:
    flood, line = Flood(), Line("gov", Rings(), SystemClock(), 0)

    async def carry() -> None:
        said = line.begin("job-1", 1)
        async with asyncio.timeout(0.5):
            await line.carry(flood, said, said)

    with pytest.raises(TimeoutError):
        asyncio.run(carry())
    assert flood.count <= 10_000
    assert line.received() == b""
