"""A party of a ring that is killed at any message goes on from the last that it had taken."""

from __future__ import annotations

import pytest

from federated.vertical.keeping import MemoryKeeping
from fusion.alignment import resuming
from fusion.alignment.resuming import KeptRing, KeptSession
from fusion.alignment.ring import Member
from fusion.errors import AlignmentBroken, FusionError, InputInvalid
from tests.alignment.parties import BANK, GOV, masker, terms

PARTIES = ("a.example", "b.example", "c.example")
SETS = {
    "a.example": [f"k{at}" for at in range(6)],
    "b.example": [f"k{at}" for at in range(2, 8)],
    "c.example": [f"k{at}" for at in range(3, 9)],
}
AGREED = terms("one", parties=PARTIES)


class Ring:
    """Members with what each keeps; any of them may be killed."""

    def __init__(self) -> None:
        self.keeping = {name: MemoryKeeping() for name in PARTIES}
        self.rings: dict[str, KeptRing] = {}
        self.members: dict[str, Member] = {}
        for name in PARTIES:
            self.start(name)

    def start(self, name: str) -> None:
        """Begin, or go on, as after a start of the party's process."""
        self.rings[name] = KeptRing(self.keeping[name])
        self.members[name] = self.rings[name].open(AGREED, name, SETS[name], masker)

    def step(self) -> str:
        """Carry one message; return who took it, or nobody if there is none."""
        for speaker in self.members.values():
            for name in speaker.recipients():
                listener = self.members[name]
                at = listener.taken[speaker.me]
                if not listener.over and at < speaker.ready(name):
                    data = speaker.message(name, at)
                    listener.take(speaker.me, data)
                    self.rings[name].taken(data)
                    return name
        return ""


def _run(victim: str, at: int) -> bool:
    """Run with one party killed after its message number ``at``; say whether it got so far."""
    ring, count = Ring(), 0
    killed = at == 0
    if killed:
        ring.start(victim)
    while taker := ring.step():
        count += taker == victim
        if taker == victim and count == at:
            before = ring.members[victim]
            ring.start(victim)
            again = ring.members[victim]
            assert again is not before
            assert (again.taken, again.over) == (before.taken, before.over)
            assert again.commitment == before.commitment
            for name in before.recipients():
                number = before.ready(name)
                assert number == again.ready(name)
                for each in range(number):
                    assert before.message(name, each) == again.message(name, each)
            killed = True
    learned = ring.members[PARTIES[0]].outcome()
    assert learned is not None
    assert learned.keys == (3, 4, 5)
    assert all(member.over for member in ring.members.values())
    assert not any(any(member._scalar.held) for member in ring.members.values())
    return killed


@pytest.mark.parametrize("victim", PARTIES)
def test_killed_after_every_message_of_the_ring(victim: str) -> None:
    at = 0
    while _run(victim, at):
        at += 1
    assert at > 4


def test_who_was_put_back_takes_no_second_list() -> None:
    ring = Ring()
    other = Member.begin(AGREED, "a.example", ["x1", "x2", "x3", "x4", "x5", "x6"], masker)
    assert ring.step() == "b.example"
    ring.start("b.example")
    with pytest.raises(AlignmentBroken) as caught:
        ring.members["b.example"].take("a.example", other.message("b.example", 0))
    assert caught.value.code == "A-53"


def test_a_message_that_is_lost_does_not_come_again_with_other_items() -> None:
    ring = Ring()
    while ring.members["b.example"].taken["a.example"] < 2:
        ring.step()
    ring.keeping["b.example"].drop("align-ring-0000000")
    with pytest.raises(AlignmentBroken) as caught:
        ring.start("b.example")
    assert caught.value.code == "A-68"


def test_what_is_kept_is_for_its_set_and_its_job() -> None:
    ring, keeping = Ring(), MemoryKeeping()
    with pytest.raises(InputInvalid, match="changed"):
        ring.rings["a.example"].open(AGREED, "a.example", ["k9"], masker)
    other = terms("size", parties=PARTIES)
    with pytest.raises(AlignmentBroken) as caught:
        ring.rings["a.example"].open(other, "a.example", SETS["a.example"], masker)
    assert caught.value.code == "A-68"
    session = KeptSession(keeping, GOV)
    session.open(terms(), BANK, ["a", "b"], masker)
    with pytest.raises(InputInvalid, match="changed"):
        KeptSession(keeping, GOV).open(terms(), BANK, ["a", "c"], masker)
    assert resuming.begun(keeping)
    keeping.put("rows", b"")
    resuming.forget(keeping)
    assert keeping.names() == ["rows"]
    assert not resuming.begun(keeping)


def test_a_ring_that_has_failed_keeps_nothing_more() -> None:
    member = Ring().members["a.example"]
    member.wipe()
    with pytest.raises(FusionError):
        member.keep(bytes(32))
