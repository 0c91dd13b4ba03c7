"""Every protocol of alignment over conversations, with a fault at every message in turn.

Cut off, rubbish in a message, rubbish for a frame, frozen, killed and put back: whoever is left has
the right result or a named error; nothing hangs, and nothing partial is released.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from fusion.alignment.session import Outcome, Session
from fusion.alignment.talkers import SessionTalker
from fusion.errors import (
    AlignmentBroken,
    AlignmentRefused,
    ConversationBroken,
    FusionError,
    MessageInvalid,
    PartyFailed,
    PartySilent,
)
from fusion.link import talk
from fusion.services.conversing import Patience
from tests.alignment.parties import BANK, GOV, KEY, masker, terms
from tests.conversing.network import Cut, Frozen, network
from tests.conversing.parties import LONG, talking

if TYPE_CHECKING:
    from tests.conversing.network import Network
    from tests.conversing.parties import Waiting

KEYS = {GOV: [f"k{at}" for at in range(9)], BANK: [f"k{at}" for at in range(5, 12)]}
COMMON = {"one": Outcome(4, (5, 6, 7, 8)), "size": Outcome(4, None)}
COMMON["both"] = COMMON["one"]
MESSAGES = {"one": (5, 6), "both": (8, 8), "size": (5, 6)}
"""Of the first and of the second party, with 4 items a message."""
PATIENCE = LONG
IMPATIENT = Patience(silence=0.7, standstill=60.0, linger=0.3)
"""Of who finds another silent. The other has :data:`PATIENCE`, or could be the first to find so."""
CUT_OFF = Patience(silence=15.0, standstill=60.0, linger=15.0)
"""Of who is reached by nobody any more: it is alone with its patience, and not looked at before."""
NAMED = (
    AlignmentBroken, AlignmentRefused, ConversationBroken, MessageInvalid, PartyFailed, PartySilent,
)  # fmt: skip


def _sessions(outcome: str) -> dict[str, Session]:
    agreed = terms(outcome)
    return {name: Session.begin(agreed, name, KEYS[name], masker) for name in (BANK, GOV)}


def at_message(
    sender: str, number: int, act: Act, peer: str = ""
) -> Callable[..., bytes | tuple[bytes, ...]]:
    """Do something to the first time that a message of this number leaves."""
    done = False

    def fault(who: str, to: str, data: bytes) -> bytes | tuple[bytes, ...]:
        nonlocal done
        if who == sender and peer in {"", to} and not done and data[:1] == b"P":
            frame = talk.from_bytes(data)
            if isinstance(frame, talk.Part) and frame.number == number:
                done = True
                return act(data)
        return data

    return fault


def cut(_: bytes) -> bytes:
    raise Cut


def _flip(data: bytes) -> bytes:
    """Rubbish inside of a message: its last byte is another."""
    return data[:-1] + bytes((data[-1] ^ 1,))


def short(data: bytes) -> bytes:
    """A message that ends early, and says so."""
    part = talk.from_bytes(data)
    assert isinstance(part, talk.Part)
    return talk.to_bytes(talk.Part(part.number, part.total - 1, 0, part.data[:-1]))


def rubbish(_: bytes) -> bytes:
    return b"rubbish"


def _part(data: bytes) -> talk.Part:
    part = talk.from_bytes(data)
    assert isinstance(part, talk.Part)
    return part


def empty(data: bytes) -> bytes:
    """A message of this number with nothing in it."""
    return talk.to_bytes(talk.Part(_part(data).number, 0, 0, b""))


def huge(data: bytes) -> tuple[bytes, ...]:
    """A message that is as long as its first part lets it be, and longer than any of a protocol."""
    each = bytes(talk.PART_BYTES)
    part = _part(data)
    total = 8 * talk.PART_BYTES
    return tuple(
        talk.to_bytes(talk.Part(part.number, total, at, each))
        for at in range(0, total, talk.PART_BYTES)
    )


def twice(data: bytes) -> tuple[bytes, ...]:
    """The frame comes a second time."""
    return data, data


def early(data: bytes) -> bytes:
    """The frame says that it is of the next message: this one is missing."""
    part = _part(data)
    return talk.to_bytes(talk.Part(part.number + 1, part.total, 0, part.data))


BROKEN: dict[str, Act] = {
    "short": short,
    "frame": rubbish,
    "empty": empty,
    "huge": huge,
    "twice": twice,
    "early": early,
}
"""What may come in place of a message, whatever it says: no right result comes of it."""


def _run(
    net: Network,
    sessions: dict[str, Session],
    impatient: str = "",
    other: Patience = PATIENCE,
) -> dict[str, BaseException | None]:
    waiting = {
        name: talking(
            net.join(name),
            SessionTalker(session),
            patience=IMPATIENT if name == impatient else other,
        )
        for name, session in sessions.items()
    }
    return {name: each.end() for name, each in waiting.items()}


def _check(
    outcome: str, sessions: dict[str, Session], errors: dict[str, BaseException | None]
) -> None:
    """Who has no error has the whole result; who has one has its name, and nothing else."""
    for name, session in sessions.items():
        if errors[name] is None:
            found = session.outcome()
            if name == GOV:
                assert found == COMMON[outcome]
        else:
            assert isinstance(errors[name], NAMED)
            assert str(errors[name])


Act = Callable[[bytes], "bytes | tuple[bytes, ...]"]
"""Told a frame, returns what arrives in its place."""

CASES = [
    (outcome, sender, number)
    for outcome, counts in MESSAGES.items()
    for sender, count in zip((GOV, BANK), counts, strict=True)
    for number in range(count)
]


def test_these_are_all_messages() -> None:
    for outcome, counts in MESSAGES.items():
        with network() as net:
            sessions = _sessions(outcome)
            assert set(_run(net, sessions).values()) == {None}
            assert tuple(sessions[name].ready for name in (GOV, BANK)) == counts


@pytest.mark.parametrize(("outcome", "sender", "number"), CASES)
def test_cut_off_at_any_message_it_comes_to_its_end(outcome: str, sender: str, number: int) -> None:
    with network(at_message(sender, number, cut)) as net:
        sessions = _sessions(outcome)
        errors = _run(net, sessions)
        assert set(errors.values()) == {None}
        _check(outcome, sessions, errors)
        assert net.connections >= 2


@pytest.mark.parametrize("sender", [GOV, BANK])
def test_a_last_word_that_is_cut_off_is_said_again(sender: str) -> None:
    """Else the other side lingers for it, is late at the job's next stage, and silent there."""
    cut = False

    def fault(who: str, peer: str, data: bytes) -> bytes:
        nonlocal cut
        del peer
        if who == sender and not cut and isinstance(talk.from_bytes(data), talk.Over):
            cut = True
            raise Cut
        return data

    endless = Patience(silence=60.0, standstill=60.0, linger=60.0)
    with network(fault) as net:
        waiting = [
            talking(net.join(name), SessionTalker(session), patience=endless)
            for name, session in _sessions("one").items()
        ]
        assert [each.end() for each in waiting] == [None, None]
        assert cut
        assert all(line.peer_over for each in waiting for line in each.talk.lines.values())


@pytest.mark.parametrize(
    "act",
    [
        pytest.param(act, id=name, marks=() if name in {"short", "frame"} else pytest.mark.soak)
        for name, act in {"flip": _flip, **BROKEN}.items()
    ],
)
@pytest.mark.parametrize(("outcome", "sender", "number"), CASES)
def test_rubbish_at_any_message_ends_it_by_name(
    outcome: str, sender: str, number: int, act: Act
) -> None:
    _rubbish(outcome, sender, number, act)


@pytest.mark.parametrize("act", BROKEN)
@pytest.mark.parametrize(("sender", "number"), [(GOV, 0), (BANK, 3), (GOV, 6)])
def test_rubbish_at_a_message_ends_it_by_name(sender: str, number: int, act: str) -> None:
    _rubbish("both", sender, number, BROKEN[act])


def _rubbish(outcome: str, sender: str, number: int, act: Act) -> None:
    with network(at_message(sender, number, act)) as net:
        sessions = _sessions(outcome)
        errors = _run(net, sessions)
    if act is _flip and any(error is None for error in errors.values()):
        # An answer that is another hides records, as it may: none is added.
        found = sessions[GOV].outcome()
        assert found is not None
        assert found.size <= 4
        assert outcome != "both" or errors == {GOV: None, BANK: None}
        return
    if act is twice and set(errors.values()) == {None}:
        assert number == sessions[sender].ready - 1  # it was heard to its end before
        _check(outcome, sessions, errors)
        return
    listener = BANK if sender == GOV else GOV
    assert isinstance(errors[listener], AlignmentBroken | ConversationBroken | MessageInvalid)
    _check(outcome, sessions, errors)
    with pytest.raises(FusionError):
        sessions[listener].outcome()


def from_message(
    sender: str, number: int, how: type[Exception], peer: str = ""
) -> Callable[..., bytes | tuple[bytes, ...]]:
    """Have a party say nothing from a message on: it stands still, or its connections are cut."""
    gone = False

    def leave(_: bytes) -> bytes:
        nonlocal gone
        gone = True
        raise how

    at = at_message(sender, number, leave, peer)

    def fault(who: str, to: str, data: bytes) -> bytes | tuple[bytes, ...]:
        if gone and who == sender:
            raise how
        if gone and how is Cut and to == sender:
            raise Cut
        return at(who, to, data)

    return fault


@pytest.mark.soak
@pytest.mark.parametrize("how", [Frozen, Cut])
@pytest.mark.parametrize(("outcome", "sender", "number"), CASES)
def test_silent_from_any_message_on_the_other_side_ends_by_name(
    outcome: str, sender: str, number: int, how: type[Exception]
) -> None:
    _silent(outcome, sender, number, how)


@pytest.mark.parametrize(
    ("sender", "number", "how"),
    [(GOV, 0, Cut), (BANK, 2, Frozen), (GOV, 4, Frozen), (BANK, 5, Cut)],
)
def test_silent_from_a_message_on_the_other_side_ends_by_name(
    sender: str, number: int, how: type[Exception]
) -> None:
    _silent("both", sender, number, how)


def _silent(outcome: str, sender: str, number: int, how: type[Exception]) -> None:
    listener = BANK if sender == GOV else GOV
    with network(from_message(sender, number, how)) as net:
        sessions = _sessions(outcome)
        errors = _run(net, sessions, listener, CUT_OFF if how is Cut else PATIENCE)
    # Its very last message may be one that the other side does not need.
    if errors[listener] is not None:
        assert isinstance(errors[listener], PartySilent)
        assert errors[listener].party == sender  # type: ignore[union-attr]
    _check(outcome, sessions, errors)


def kill(net: Network, name: str, waiting: Waiting) -> None:
    """Have a talk take, make and say nothing more, as if its process were gone."""
    # Nobody reaches it, nor does who has just called hear how it ended.
    gone = net.registries.pop(name)
    gone.find = lambda *_: None  # type: ignore[method-assign]
    held = waiting.talk
    held._error = PartySilent("killed", party="")
    for line in held.lines.values():
        line._peer_over = True
        line.drop()
    held._ended.set()


@pytest.mark.parametrize(
    ("outcome", "victim", "taken"),
    [
        (outcome, victim, taken + 1)
        for outcome, counts in MESSAGES.items()
        for victim, count in zip((GOV, BANK), reversed(counts), strict=True)
        for taken in range(count - 1)
    ],
)
def test_killed_after_any_message_it_goes_on_from_what_it_kept(
    outcome: str, victim: str, taken: int
) -> None:
    kept: dict[str, bytes] = {}
    running: dict[str, Waiting] = {}
    begun, dead = threading.Event(), threading.Event()

    def after(session: Session) -> None:
        """Keep the session as a node does, and die after so many messages."""
        if session.taken == 1:
            kept[victim] = session.keep(KEY)
        if session.taken == taken and not dead.is_set():
            assert begun.wait(60)
            kill(net, victim, running[victim])
            dead.set()

    with network() as net:
        sessions = _sessions(outcome)
        kept[victim] = sessions[victim].keep(KEY)
        for name, session in sessions.items():
            talker = SessionTalker(session, after) if name == victim else SessionTalker(session)
            running[name] = talking(net.join(name), talker, patience=PATIENCE)
        begun.set()
        assert dead.wait(60)
        assert isinstance(running[victim].end(), PartySilent)
        session = Session.go_on(sessions[victim].terms, victim, kept[victim], KEY, masker)
        sessions[victim] = session
        talker = SessionTalker(session, after)
        running[victim] = talking(net.join(victim), talker, patience=PATIENCE)
        errors = {name: each.end() for name, each in running.items()}
    assert set(errors.values()) == {None}
    _check(outcome, sessions, errors)
