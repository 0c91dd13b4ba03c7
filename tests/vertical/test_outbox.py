"""A machine in the shape of a talker: its answers wait, numbered, until they are taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from federated.protocols.vertical.messages import Kind, Outgoing, encode
from federated.protocols.vertical.outbox import MachineTalker
from federated.protocols.vertical.scripts import Due, Scripted
from fusion.errors import (
    ConversationBroken,
    FusionError,
    KeyRefused,
    MessageInvalid,
    VerificationFailed,
)

if TYPE_CHECKING:
    from federated.protocols.vertical.scripts import Script


class Doubling:
    """Answers every message twice, to whom it is from."""

    def receive(self, sender: str, data: bytes) -> list[Outgoing]:
        return [Outgoing(sender, data + b"1"), Outgoing(sender, data + b"2")]


class Refusing:
    """Refuses every message."""

    def __init__(self, error: FusionError) -> None:
        self.error = error

    def receive(self, *_: object) -> list[Outgoing]:
        raise self.error


@pytest.mark.parametrize("kind", [MessageInvalid, KeyRefused, VerificationFailed])
def test_who_sent_what_is_refused_is_named(kind: type[FusionError]) -> None:
    talker = MachineTalker(Refusing(kind("It is none.", hint="Look.")), "ab", [], lambda: False)
    with pytest.raises(kind, match=r"a: It is none\. Look\.") as error:
        talker.take("a", b"x")
    assert type(error.value) is kind
    assert talker.taken("a") == 0


class Waiting(Scripted):
    """Takes one message of b, then one of a."""

    def script(self) -> Script:
        for sender in "ba":
            yield Due(sender, Kind.SEED, 0, 0, (("u1", ()),))


def test_who_sent_a_wrong_message_that_waited_is_named() -> None:
    """Not the one whose message it had waited for."""
    machine = Waiting(dict.fromkeys("ab", (Kind.SEED,)))
    talker = MachineTalker(machine, "ab", machine.start(), lambda: machine.done)
    talker.take("a", encode(Kind.SEED, 0, 1, np.zeros((), np.uint8)))
    with pytest.raises(MessageInvalid, match=r"^a: A SEED message") as error:
        talker.take("b", encode(Kind.SEED, 0, 0, np.zeros((), np.uint8)))
    assert "b: " not in error.value.message


SEED = encode(Kind.SEED, 0, 0, np.zeros((), np.uint8))


def test_a_kind_that_a_party_never_sends_is_refused_before_it_is_due() -> None:
    machine = Waiting({"a": (Kind.SEED,), "b": (Kind.SEED, Kind.OFFER)})
    talker = MachineTalker(machine, "ab", machine.start(), lambda: machine.done)
    for act in (talker.wants, talker.take):
        for bad, said in (
            (encode(Kind.OFFER, 0, 0, np.zeros(1 << 20, np.uint8)), "OFFER message never comes"),
            (b"rubbish", "cut short"),
            (b"BnV1" + b"\xff" + SEED[5:], "of no known kind"),
            (b"rubbish and more of it", "no known kind|does not begin"),
            (b"BnVX" + SEED[4:], "does not begin"),
        ):
            with pytest.raises(MessageInvalid, match=f"^a: A .*({said})"):
                act("a", bad)
    assert not any(machine._inbox.values())


def test_what_is_not_due_is_wanted_later() -> None:
    """The line keeps it: who says much ahead of its turn fills no memory of the machine."""
    machine = Waiting(dict.fromkeys("ab", (Kind.SEED,)))
    talker = MachineTalker(machine, "ab", machine.start(), lambda: machine.done)
    assert [talker.wants(peer, SEED) for peer in "ab"] == [False, True]
    talker.take("b", SEED)
    assert [talker.wants(peer, SEED) for peer in "ab"] == [True, False]
    talker.take("a", SEED)
    assert talker.over
    assert talker.wants("b", SEED)  # to be refused
    with pytest.raises(MessageInvalid, match="after the end"):
        talker.take("b", SEED)


def test_one_process_may_have_any_number_wait() -> None:
    """As a simulation delivers them: pieces of a large block while another party's are due."""
    machine = Waiting({"a": (Kind.SEED,), "b": (Kind.SEED,)})
    machine.start()
    for _ in range(100):
        assert machine.receive("a", SEED) == []
    machine.receive("b", SEED)
    assert machine.done


def test_answers_are_numbered_and_kept_until_they_are_taken() -> None:
    talker = MachineTalker(Doubling(), "ab", [Outgoing("a", b"first")], lambda: False)
    assert (talker.ready("a"), talker.ready("b")) == (1, 0)
    talker.take("a", b"x")
    talker.take("b", b"y")
    assert (talker.taken("a"), talker.taken("b")) == (1, 1)
    assert [talker.message("a", number) for number in range(3)] == [b"first", b"x1", b"x2"]
    assert talker.forget("a", 2) == 2
    assert talker.ready("a") == 3
    assert talker.message("a", 2) == b"x2"
    for number in (0, 1, 3):
        with pytest.raises(ConversationBroken):
            talker.message("a", number)
    assert [talker.message("b", number) for number in range(2)] == [b"y1", b"y2"]
