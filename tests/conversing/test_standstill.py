"""A party that is there and says nothing is told apart from one that works (ADR 0040)."""

from __future__ import annotations

import math
import threading
import time

import pytest

from fusion.errors import PartyFailed, PartySilent
from fusion.services.conversing import Patience, is_connection
from tests.conversing.network import network
from tests.conversing.parties import Counting, counting, talking


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
