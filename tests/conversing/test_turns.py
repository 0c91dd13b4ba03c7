"""A message that is not due waits at the line, which is bounded, and not in the machine."""

from __future__ import annotations

import time

from fusion.errors import PartySilent
from fusion.link.line import MAX_WAITING_BYTES
from fusion.services.conversing import Patience
from tests.conversing.network import network
from tests.conversing.parties import Counting, talking, until


class Ordered(Counting):
    """Takes everything of its last peer before anything of its first."""

    def ready(self, peer: str) -> int:
        del peer
        return self.words

    def wants(self, peer: str, data: bytes) -> bool:
        del data
        return self.me != "b" or peer == "c" or self.taken("c") == self.words


def test_what_comes_before_its_turn_waits_where_it_is_bounded() -> None:
    """A party may say all it has, and the other needs it later: 40 MiB do not pile up."""
    mega, most = 1024 * 1024, 0
    with network() as net:
        talkers = {me: Ordered(me, frozenset("abc") - {me}, 40, mega) for me in "abc"}
        waiting = [talking(net.join(name), talkers[name]) for name in "ab"]
        early = waiting[1].talk.lines["a"]
        until(lambda: early._waiting >= MAX_WAITING_BYTES)
        last = talking(net.join("c"), talkers["c"])
        while not all(each.talk.ended for each in (*waiting, last)):
            most = max(most, early._waiting)
            time.sleep(0.002)
        assert [each.end() for each in (*waiting, last)] == [None] * 3
    assert most <= MAX_WAITING_BYTES + 2 * mega
    for each in talkers.values():
        each.check_heard()


def test_who_fills_the_line_is_not_heard_and_moves_no_clock() -> None:
    """It could be gone: that nothing moves is seen all the same."""
    with network() as net:
        talkers = {me: Ordered(me, frozenset("abc") - {me}, 40, 1024 * 1024) for me in "abc"}
        patience = Patience(silence=60, standstill=1.0, linger=0.5)
        waiting = talking(net.join("b"), talkers["b"], patience=patience)
        other = talking(net.join("a"), talkers["a"])
        net.join("c")
        error = waiting.end()
        other.stop.set()
        assert other.end() is not None
    assert isinstance(error, PartySilent)
    assert talkers["b"].taken("a") == 0
