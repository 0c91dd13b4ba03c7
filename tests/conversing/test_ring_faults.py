"""A ring over conversations, with a fault at every one of its messages in turn."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from federated.vertical.keeping import MemoryKeeping
from fusion.alignment.resuming import KeptRing
from fusion.alignment.session import Outcome
from fusion.alignment.talkers import MemberTalker
from fusion.errors import AlignmentBroken, ConversationBroken, MessageInvalid, PartySilent
from tests.alignment.parties import masker, terms
from tests.conversing.network import Cut, Frozen, network
from tests.conversing.parties import talking
from tests.conversing.test_faults import (
    BROKEN,
    IMPATIENT,
    PATIENCE,
    Act,
    at_message,
    cut,
    from_message,
    kill,
    twice,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusion.alignment.ring import Member
    from tests.conversing.network import Network
    from tests.conversing.parties import Waiting

KEYS = {
    "a": [f"k{n}" for n in range(6)],
    "b": [f"k{n}" for n in range(2, 8)],
    "c": [f"k{n}" for n in range(3, 9)],
}
COMMON = Outcome(3, (3, 4, 5))
MESSAGES = {("a", "b"): 4, ("b", "c"): 4, ("b", "a"): 2, ("c", "a"): 6}
"""Of each party to another, with 4 items a message; everybody's list passes everybody."""
CASES = [(*pair, number) for pair, count in MESSAGES.items() for number in range(count)]
TAKEN = {"a": 8, "b": 4, "c": 4}


class Ring:
    """Three parties with what they keep."""

    def __init__(self, net: Network, frozen: str = "") -> None:
        self.net, self.frozen = net, frozen
        self.keeping = {name: MemoryKeeping() for name in KEYS}
        self.members: dict[str, Member] = {}
        self.waiting: dict[str, Waiting] = {}

    def start(self, name: str, on_taken: Callable[[], None] = lambda: None) -> None:
        """Begin, or go on with what a party keeps."""
        ring = KeptRing(self.keeping[name])
        member = ring.open(terms(parties=tuple(KEYS)), name, KEYS[name], masker)
        self.members[name] = member

        def taken(data: bytes) -> None:
            ring.taken(data)
            on_taken()

        talker = MemberTalker(member, taken)
        patience = IMPATIENT if self.frozen not in {"", name} else PATIENCE
        self.waiting[name] = talking(self.net.join(name), talker, patience=patience)

    def end(self) -> dict[str, BaseException | None]:
        """Wait for all; return how each ended."""
        return {name: each.end() for name, each in self.waiting.items()}

    def check(self, errors: dict[str, BaseException | None]) -> None:
        """The receiver has the whole result, or nothing."""
        if errors["a"] is None:
            assert self.members["a"].outcome() == COMMON
        else:
            with pytest.raises(AlignmentBroken):
                self.members["a"].outcome()


def test_these_are_all_messages() -> None:
    with network() as net:
        ring = Ring(net)
        for name in KEYS:
            ring.start(name)
        assert set(ring.end().values()) == {None}
        found = {
            (name, peer): member.ready(peer)
            for name, member in ring.members.items()
            for peer in member.recipients()
        }
    assert found == MESSAGES
    assert {name: sum(each.taken.values()) for name, each in ring.members.items()} == TAKEN


@pytest.mark.parametrize(
    "act",
    [
        pytest.param(
            act, id=name, marks=() if name in {"cut", "short", "frame"} else pytest.mark.soak
        )
        for name, act in {"cut": cut, **BROKEN}.items()
    ],
)
@pytest.mark.parametrize(("sender", "peer", "number"), CASES)
def test_it_goes_on_or_ends_by_name(sender: str, peer: str, number: int, act: Act) -> None:
    with network(at_message(sender, number, act, peer)) as net:
        ring = Ring(net)
        for name in KEYS:
            ring.start(name)
        errors = ring.end()
    if act is cut or (act is twice and set(errors.values()) == {None}):
        assert set(errors.values()) == {None}
    else:
        found = errors[peer]
        assert isinstance(found, AlignmentBroken | ConversationBroken | MessageInvalid)
        assert sender in str(found) or isinstance(found, MessageInvalid)
    ring.check(errors)


@pytest.mark.parametrize(
    ("victim", "taken"), [(name, at) for name, count in TAKEN.items() for at in range(1, count + 1)]
)
def test_killed_after_any_message_it_goes_on_to_the_same_end(victim: str, taken: int) -> None:
    begun, dead, count = threading.Event(), threading.Event(), 0

    def die() -> None:
        nonlocal count
        count += 1
        if count == taken and not dead.is_set():
            assert begun.wait(60)
            kill(net, victim, ring.waiting[victim])
            dead.set()

    with network() as net:
        ring = Ring(net)
        for name in KEYS:
            ring.start(name, die if name == victim else lambda: None)
        begun.set()
        assert dead.wait(60)
        assert isinstance(ring.waiting[victim].end(), PartySilent)
        ring.start(victim)
        assert sum(ring.members[victim].taken.values()) >= taken
        errors = ring.end()
    assert set(errors.values()) == {None}
    ring.check(errors)


@pytest.mark.soak
@pytest.mark.parametrize("how", [Frozen, Cut])
@pytest.mark.parametrize(("sender", "peer", "number"), CASES)
def test_silent_from_any_message_on_the_others_end_by_name(
    sender: str, peer: str, number: int, how: type[Exception]
) -> None:
    fault = from_message(sender, number, how, peer)
    with network(fault) as net:
        ring = Ring(net, sender)
        for name in KEYS:
            ring.start(name)
        errors = ring.end()
    ring.check(errors)
    # Its last message of all may be one after which nobody needs to hear it.
    ends = [each for name, each in errors.items() if name != sender and each is not None]
    assert all(str(each) for each in ends)
    if ends:
        assert any(isinstance(each, PartySilent) and each.party == sender for each in ends)
