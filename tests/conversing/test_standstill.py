"""A party that is there and says nothing is told apart from one that works (ADR 0040)."""

from __future__ import annotations

import asyncio
import itertools
import math
import threading
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import pytest

from fusion.errors import ConversationBroken, PartyFailed, PartySilent
from fusion.link import talk
from fusion.link.line import Line
from fusion.link.rings import Rings
from fusion.link.talk import Alive, Hello, Part, Taken
from fusion.services.clock import SystemClock
from fusion.services.conversing import Patience, is_connection
from tests.conversing.network import network
from tests.conversing.parties import Counting, counting, talking

if TYPE_CHECKING:
    from tests.conversing.network import Pipe


class Mute(Counting):
    """Is there, and says nothing."""

    def ready(self, peer: str) -> int:
        del peer
        return 0


def test_alive_and_nothing_else_is_a_standstill() -> None:
    with network() as net:
        talkers = counting("ab", 3)
        patience = Patience(silence=30, standstill=1.5)
        mute = Mute("b", frozenset("a"), 3)
        waiting = [
            talking(net.join("a"), talkers["a"], patience=patience),
            talking(net.join("b"), mute),
        ]
        error, told = [each.end() for each in waiting]
    assert isinstance(error, PartySilent)
    assert error.party == "b"
    assert isinstance(told, PartyFailed)


class Working(Counting):
    """Takes long over its first message, as who computes does."""

    seconds = 0.0

    def take(self, peer: str, data: bytes) -> None:
        if not self.heard:
            time.sleep(self.seconds)
        super().take(peer, data)


def test_who_computes_for_long_is_no_standstill() -> None:
    with network() as net:
        patience = Patience(silence=30, standstill=1.5)
        slow = Working("b", frozenset("a"), 3)
        slow.seconds = 4.0
        waiting = [
            talking(net.join("a"), counting("ab", 3)["a"], patience=patience),
            talking(net.join("b"), slow, patience=patience),
        ]
        assert [each.end() for each in waiting] == [None, None]


def test_nobody_works_for_longer_than_a_step_may_take() -> None:
    with network() as net:
        slow = Working("b", frozenset("a"), 3)
        slow.seconds = 4.0
        patience = Patience(silence=30, standstill=3.0, longest=1.5)
        first = talking(net.join("a"), counting("ab", 3)["a"], patience=patience)
        second = talking(net.join("b"), slow, patience=Patience(silence=30, standstill=1.0))
        error = first.end()
        assert isinstance(error, PartySilent)
        assert (error.party, "whatever they say" in error.message) == ("b", True)
        assert is_connection(error)
        assert isinstance(second.end(), PartyFailed)


class Between(Counting):
    """Says nothing to its first peer before it has heard everything of the last."""

    def ready(self, peer: str) -> int:
        if peer == min(self.peers) and self.taken(max(self.peers)) < self.words:
            return 0
        return super().ready(peer)


@pytest.mark.parametrize("works", [True, False])
def test_who_waits_for_one_that_works_says_so(works: bool) -> None:
    """In a chain a knows only b, which waits for c, which computes, or says nothing at all."""
    patience = Patience(silence=30, standstill=1.5)
    far = Working("c", frozenset("b"), 2) if works else Mute("c", frozenset("b"), 2)
    if isinstance(far, Working):
        far.seconds = 4.0
    talkers = {
        "a": Counting("a", frozenset("b"), 2), "b": Between("b", frozenset("ac"), 2), "c": far,
    }  # fmt: skip
    began = time.monotonic()
    with network() as net:
        waiting = {
            name: talking(net.join(name), each, patience=patience) for name, each in talkers.items()
        }
        ends = {name: each.end() for name, each in waiting.items()}
    took = time.monotonic() - began
    if works:
        assert set(ends.values()) == {None}
        assert took > 4
    else:
        assert any(isinstance(each, PartySilent) for each in ends.values())
        assert all(isinstance(ends[name], PartySilent | PartyFailed) for name in "ab")
        assert took < 15


class Elsewhere(Counting):
    """Has a process of its own work for it: it only looks whether that has something to say."""

    seconds = 4.0
    began = math.inf

    def works(self) -> bool:
        return time.monotonic() < self.began + self.seconds

    def ready(self, peer: str) -> int:
        self.began = min(self.began, time.monotonic())
        return 0 if self.works() else super().ready(peer)


@pytest.mark.parametrize("told", [True, False])
def test_work_of_a_process_of_its_own_is_no_standstill_where_it_is_told(told: bool) -> None:
    patience = Patience(silence=30, standstill=1.5)
    with network() as net:
        talkers = [Elsewhere(name, frozenset("ab") - {name}, 2) for name in "ab"]
        waiting = [talking(net.join(each.me), each, patience=patience) for each in talkers]
        for each, talker in zip(waiting, talkers, strict=True):
            if told:
                each.talk.works_elsewhere = talker.works
        ends = [each.end() for each in waiting]
    assert ends == [None, None] if told else any(isinstance(each, PartySilent) for each in ends)


class OneWay(Counting):
    """The first party has everything to say, the other answers once, and takes its time."""

    def ready(self, peer: str) -> int:
        return self.words if self.me == "a" else int(self.taken(peer) >= self.words)

    @property
    def over(self) -> bool:
        return self.taken("b") >= 1 if self.me == "a" else self.taken("a") >= self.words

    def take(self, peer: str, data: bytes) -> None:
        if self.me == "b":
            time.sleep(0.4)
        super().take(peer, data)


def test_who_is_listened_to_is_not_held_up() -> None:
    patience = Patience(silence=30, standstill=20, longest=2.5)
    with network() as net:
        talkers = [OneWay(name, frozenset("ab") - {name}, 10) for name in "ab"]
        waiting = [talking(net.join(each.me), each, patience=patience) for each in talkers]
        assert [each.end() for each in waiting] == [None, None]


def test_what_came_while_this_side_was_late_is_not_of_the_future() -> None:
    """Who waits stands still for seconds: what is taken meanwhile is taken no later than now."""
    late = threading.Event()

    def check() -> None:
        if working.heard and not late.is_set():
            late.set()
            time.sleep(4.0)

    with network() as net:
        working, other = Working("b", frozenset("a"), 6), Counting("a", frozenset("b"), 6)
        working.seconds = 1.0
        waiting = [
            talking(net.join("a"), other, patience=Patience(silence=8, standstill=60)),
            talking(
                net.join("b"), working, patience=Patience(silence=8, standstill=60), check=check
            ),
        ]
        assert [each.end() for each in waiting] == [None, None]
        for line in waiting[1].talk.lines.values():
            line.excuse(1e6)
            assert line.idle() >= 0
            assert line.silent() >= 0


# ------------------------------------------------------------- who moves a clock and nothing else

SOON = Patience(silence=20, standstill=0.6, longest=1.2)
"""Of who is lied to."""
Lie = Callable[["Pipe", int], Awaitable[None]]
"""What a peer says on its so-many-th connection, after the first frame of who calls."""


def _hello(taken: int, following: int) -> Hello:
    return Hello(job="job-1", attempt=1, taken=taken, next=following)


async def _say(far: Pipe, *frames: talk.Frame, pause: float = 0.0) -> None:
    for frame in frames:
        await far.write(talk.to_bytes(frame))
        await asyncio.sleep(pause)


async def _same(far: Pipe, _: int) -> None:
    """Says hello, and goes."""
    await _say(far, _hello(0, 0), pause=0.05)


async def _back_and_forth(far: Pipe, count: int) -> None:
    """Takes a message, and has not taken it, in turn: as who is killed again and again."""
    taken = (count + 1) % 2
    await _say(far, _hello(taken, taken), pause=0.05)


async def _again(far: Pipe, _: int) -> None:
    """Has everything made again, which takes its time."""
    await _say(far, _hello(0, 0), pause=0.7)


async def _beginnings(far: Pipe, _: int) -> None:
    """Begins with a message, and is gone."""
    await _say(far, _hello(0, 0), Part(0, 9, 0, b"word"), pause=0.05)


async def _works(far: Pipe, _: int) -> None:
    """Says that it works, and that it does not."""
    every = itertools.cycle((Alive(0), Alive(10**6)))
    await _say(far, _hello(0, 0), *itertools.islice(every, 200), pause=0.05)


class Keeping(Counting):
    """Can make everything again, slowly; takes nothing for granted."""

    def ready(self, peer: str) -> int:
        del peer
        return 2

    def message(self, peer: str, number: int) -> bytes:
        time.sleep(0.3)
        return super().message(peer, number)

    def forget(self, peer: str, below: int) -> int:
        del peer, below
        return 0


def _lied_to(lie: Lie, talker: Counting) -> tuple[BaseException | None, float]:
    """Return how a talk ends with a peer that lies, and after how many seconds."""
    calls = itertools.count()

    async def lies(far: Pipe) -> None:
        await far.read()
        await lie(far, next(calls))

    with network() as net:
        net.join("b")
        net.liars["b"] = lies
        began = time.monotonic()
        error = talking(net.join("a"), talker, patience=SOON).end()
        return error, time.monotonic() - began


@pytest.mark.parametrize("lie", [_same, _back_and_forth, _again, _beginnings, _works])
def test_what_is_no_progress_moves_no_clock(lie: Lie) -> None:
    error, took = _lied_to(lie, Keeping("a", frozenset("b"), 3))
    assert isinstance(error, PartySilent), error
    assert error.party == "b"
    # Two messages are made and sent before: its own work counts.
    assert took < 2 * 0.3 + SOON.longest + 5


async def _rising(far: Pipe, count: int) -> None:
    """Has taken one more at each connection, and was sent nothing."""
    await _say(far, _hello(count, count), pause=0.05)


async def _everything(far: Pipe, _: int) -> None:
    """Has more than was made, and says one by one that it takes it."""
    await _say(far, _hello(0, 10**6), *map(Taken, range(1, 100)), pause=0.1)


async def _not_sent(far: Pipe, _: int) -> None:
    """Takes more than was sent."""
    await _say(far, _hello(0, 0), Taken(3), pause=0.2)


async def _taken_twice(far: Pipe, _: int) -> None:
    """Says the same again and again."""
    await _say(far, _hello(1, 1), *[Taken(1)] * 100, pause=0.1)


async def _impossible(far: Pipe, _: int) -> None:
    """Asks for what it has taken."""
    await _say(far, _hello(2, 1), pause=5)


async def _asks_for_forgotten(far: Pipe, count: int) -> None:
    """Takes a message, which is forgotten, and asks for it later."""
    first = (_hello(1, 1), Taken(2))
    await _say(far, *(first if not count else (_hello(0, 2),)), pause=0.3)


@pytest.mark.parametrize(
    "lie", [_rising, _everything, _not_sent, _taken_twice, _impossible, _asks_for_forgotten]
)
def test_who_has_what_was_not_sent_breaks_the_conversation(lie: Lie) -> None:
    error, _ = _lied_to(lie, Counting("a", frozenset("b"), 9))
    assert isinstance(error, ConversationBroken), error
    assert error.party == "b"


def test_a_connection_that_was_replaced_before_it_was_used_is_not_used() -> None:
    """Two calls at once: the hello of the first is not the one by which the second goes on."""
    line = Line("b", Rings(), SystemClock(), 0)

    class Never:
        async def read(self) -> bytes:
            raise AssertionError("it is read")

        async def write(self, data: bytes) -> None:
            del data
            raise AssertionError("it is written to")

    async def carry() -> None:
        first = line.begin("job-1", 1)
        line.begin("job-1", 1)
        await line.carry(Never(), _hello(5, 5), first)

    asyncio.run(carry())
    assert line.wanted() is None
    assert line.given() == 0
