"""Killed at any message, or cut off at any message, an alignment goes on to the same end."""

from __future__ import annotations

import pytest

from federated.vertical.keeping import MemoryKeeping
from fusion.alignment.resuming import KeptSession
from fusion.alignment.session import Session
from fusion.alignment.states import State
from fusion.errors import AlignmentBroken
from tests.alignment.parties import BANK, GOV, KEY, carry, masker, pair, terms

GOV_KEYS = [f"k{at}" for at in range(9)]
BANK_KEYS = [f"k{at}" for at in range(5, 12)]
COMMON = (5, 6, 7, 8)


def again(session: Session, sealed: bytes) -> Session:
    return Session.go_on(session.terms, session.me, sealed, KEY, masker)


def killed_at(outcome: str, victim: str, at: int) -> bool:
    """Run, with one party killed after its message number ``at``; say whether it got so far."""
    sessions = dict(zip((GOV, BANK), pair(terms(outcome), GOV_KEYS, BANK_KEYS), strict=True))
    kept = {name: session.keep(KEY) for name, session in sessions.items()}
    moved, killed = True, False
    while moved:
        moved = False
        for name, peer in ((GOV, BANK), (BANK, GOV)):
            speaker, listener = sessions[name], sessions[peer]
            # Who listens says how far it has got: that is where the other goes on.
            if listener.over or listener.taken >= speaker.ready:
                continue
            listener.take(speaker.message(listener.taken))
            moved = True
            if listener.state is State.LISTING and listener.taken == 1:
                kept[peer] = listener.keep(KEY)
            if peer == victim and listener.taken == at and not killed and not listener.over:
                killed = True
                sessions[peer] = again(listener, kept[peer])
    learned = sessions[GOV].outcome()
    assert learned is not None
    assert learned.size == 4
    assert learned.keys == (None if outcome == "size" else COMMON)
    return killed


@pytest.mark.parametrize("outcome", ["one", "both", "size"])
@pytest.mark.parametrize("victim", [GOV, BANK])
def test_killed_at_every_message(outcome: str, victim: str) -> None:
    at = 1
    while killed_at(outcome, victim, at):
        at += 1
    assert at > 3


@pytest.mark.parametrize("outcome", ["one", "both", "size"])
def test_kept_at_every_state_and_gone_on_from_there(outcome: str) -> None:
    one, other = pair(terms(outcome), GOV_KEYS, BANK_KEYS)
    moved = True
    while moved:
        moved = False
        for name in (GOV, BANK):
            speaker, listener = (one, other) if name == GOV else (other, one)
            if listener.over or listener.taken >= speaker.ready:
                continue
            expected = speaker.message(listener.taken)
            if not speaker.over:
                restored = again(speaker, speaker.keep(KEY))
                assert restored.message(listener.taken) == expected
                assert restored.ready == speaker.ready
                if name == GOV:
                    one = restored
                else:
                    other = restored
            listener.take(expected)
            moved = True
    learned = one.outcome()
    assert learned is not None
    assert learned.size == 4


def test_a_message_is_made_again_as_the_same_bytes() -> None:
    one, other = pair(terms("both"), GOV_KEYS, BANK_KEYS)
    first: dict[tuple[str, int], bytes] = {}

    def see(session: Session, message: bytes) -> None:
        first[session.me, len(first)] = message

    carry(one, other, see)
    for session in (one, other):
        mine = [message for (who, _), message in first.items() if who == session.me]
        assert mine == [session.message(number) for number in range(session.ready)]
    with pytest.raises(AlignmentBroken):
        one.message(one.ready)


def test_kept_state_is_for_its_key_its_job_and_its_party() -> None:
    one, _ = pair(terms(), GOV_KEYS, BANK_KEYS)
    sealed = one.keep(KEY)
    assert bytes(one._scalar.held) not in sealed
    for agreed, me, data, key in (
        (terms(), GOV, sealed, bytes(32)),
        (terms(set_size=999), GOV, sealed, KEY),
        (terms(), BANK, sealed, KEY),
        (terms(), GOV, sealed[:-1], KEY),
        (terms(), GOV, b"", KEY),
    ):
        with pytest.raises(AlignmentBroken) as caught:
            Session.go_on(agreed, me, data, key, masker)
        assert caught.value.code == "A-68"


def test_who_was_put_back_answers_no_second_list() -> None:
    """A peer that shows another list to a party that crashed is held to its first hello."""
    agreed = terms()
    learner = Session.begin(agreed, GOV, GOV_KEYS, masker)
    second = Session.begin(agreed, GOV, [f"x{at}" for at in range(9)], masker)
    helper = Session.begin(agreed, BANK, BANK_KEYS, masker)
    helper.take(learner.message(0))
    sealed = helper.keep(KEY)
    restored = again(helper, sealed)
    second.take(restored.message(0))
    parts = [second.message(number) for number in range(1, second.ready)]
    for part in parts[:-1]:
        restored.take(part)
    with pytest.raises(AlignmentBroken) as caught:
        restored.take(parts[-1])
    assert caught.value.code == "A-63"
    with pytest.raises(AlignmentBroken):
        restored.message(restored.taken)


def test_a_pledge_holds_in_the_next_attempt() -> None:
    """Who has seen the other's answer ends the attempt and would give another answer."""
    agreed = terms("both")
    keeping = {GOV: MemoryKeeping(), BANK: MemoryKeeping()}

    def opened() -> dict[str, tuple[KeptSession, Session]]:
        found = {}
        for me, peer, keys in ((GOV, BANK, GOV_KEYS), (BANK, GOV, BANK_KEYS)):
            kept = KeptSession(keeping[me], peer)
            found[me] = kept, kept.open(agreed, me, keys, masker)
        return found

    def step(sides: dict[str, tuple[KeptSession, Session]], name: str, peer: str) -> bool:
        (_, speaker), (kept, listener) = sides[name], sides[peer]
        if listener.over or listener.taken >= speaker.ready:
            return False
        listener.take(speaker.message(listener.taken))
        kept.taken(listener)
        return True

    def finish(sides: dict[str, tuple[KeptSession, Session]]) -> None:
        while step(sides, GOV, BANK) | step(sides, BANK, GOV):
            pass

    sides = opened()
    # Until the bank has seen the whole answer to its list: it knows what is common.
    while sides[BANK][1].state is not State.AGREEING:
        assert step(sides, GOV, BANK) | step(sides, BANK, GOV)
    sides = opened()
    assert sides[GOV][1].state is State.ANSWERING
    while sides[BANK][1].state < State.ANSWERING:
        assert step(sides, GOV, BANK) | step(sides, BANK, GOV)
    # An honest one goes on to the same end from there; this one answers with another item.
    sides[BANK][1]._answer[:16] = bytes(16)
    with pytest.raises(AlignmentBroken) as caught:
        finish(sides)
    assert caught.value.code == "A-63"
    sides = opened()
    finish(sides)
    for _, session in sides.values():
        learned = session.outcome()
        assert learned is not None
        assert learned.size == len(COMMON)
