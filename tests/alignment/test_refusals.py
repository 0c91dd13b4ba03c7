"""Whatever a party may not say is refused by the rule that it breaks, and ends the alignment."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.alignment import messages
from fusion.alignment.rules import Broken, Decided
from fusion.alignment.session import Session
from fusion.alignment.states import SENDS, TAKES, Role, State
from fusion.errors import AlignmentBroken, FusionError
from tests.alignment.parties import BANK, GOV, carry, masker, pair, terms
from tests.crypto.test_ristretto import BAD
from tests.docs.sources import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

KEYS = [f"k{at}" for at in range(10)]


def changed(message: bytes, body: Callable[[bytes], bytes] = bytes, **more: Any) -> bytes:  # noqa: ANN401 - fields
    """Return a message with other fields in its head, or another array."""
    head, items = messages.read(message)
    said = head.model_copy(update=more)
    return messages.to_bytes(said, body(items))


def refused(session: Session, message: bytes) -> str:
    with pytest.raises(AlignmentBroken) as caught:
        session.take(message)
    assert not any(session._scalar.held)
    with pytest.raises(AlignmentBroken) as after:
        session.take(message)
    assert after.value.code == "A-67"
    with pytest.raises(AlignmentBroken):
        session.outcome()
    return caught.value.code


def take_all(session: Session, parts: list[bytes]) -> None:
    for part in parts:
        session.take(part)


def at_masked(outcome: str = "one") -> tuple[Session, list[bytes]]:
    """Return the first party as it waits for the list, and the parts of the list."""
    one, other = pair(terms(outcome), KEYS, [*KEYS[5:], "x", "y", "z"])
    one.take(other.message(0))
    other.take(one.message(0))
    return one, [other.message(number) for number in range(1, other.ready)]


def at_doubled(outcome: str = "one") -> tuple[Session, list[bytes]]:
    """Return the first party as it waits for its own items masked by both, and those."""
    one, other = pair(terms(outcome), KEYS, [*KEYS[5:], "x", "y", "z"])
    for number in range(one.ready):
        other.take(one.message(number))
    sent = 0
    while one.state < State.ANSWERING:
        one.take(other.message(sent))
        sent += 1
        for number in range(other.taken, one.ready):
            other.take(one.message(number))
    held = [other.message(number) for number in range(sent, other.ready)]
    return one, [part for part in held if messages.read(part)[0].kind == "doubled"]


MALFORMED = [
    b"",
    b"\0\2{}",
    b"\xff\xff" + b"{" * 70000,
    b"\0\4null",
    bytes(messages.MAX_MESSAGE_BYTES + 1),
    b'\0\x0f{"kind":"done"}',
]


@pytest.mark.parametrize("message", MALFORMED)
def test_what_is_no_message(message: bytes) -> None:
    assert refused(at_masked()[0], message) == "A-50"


def test_a_head_is_closed_and_its_array_is_of_its_size() -> None:
    spoils: list[Callable[[bytes], bytes]] = [
        lambda m: m + b"\0",
        lambda m: m[:-1],
        lambda m: m[:2] + b" " + m[3:],
    ]
    for spoil in spoils:
        one, parts = at_masked()
        assert refused(one, spoil(parts[0])) == "A-50"
    one, parts = at_masked()
    assert refused(one, changed(parts[0], count=3)) == "A-50"


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_change_of_a_message_passes_or_breaks_anything_but_the_rules(
    data: st.DataObject,
) -> None:
    one, parts = at_masked()
    spoiled = bytearray(parts[0])
    at = data.draw(st.integers(0, len(spoiled) - 1))
    spoiled[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(AlignmentBroken) as caught:
        take_all(one, [bytes(spoiled), *parts[1:]])
    assert caught.value.code[:3] in {"A-5", "A-6"}


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from(["one", "both", "size"]))
def test_rubbish_at_any_message_ends_by_name_or_adds_no_record(
    data: st.DataObject, outcome: str
) -> None:
    one, other = pair(terms(outcome), KEYS, [*KEYS[5:], "x", "y"])
    at = data.draw(st.integers(0, 12))
    seen = itertools.count()

    def carry_spoiled() -> None:
        sessions = {GOV: one, BANK: other}
        for speaker, listener in itertools.cycle(((GOV, BANK), (BANK, GOV))):
            giving, taking = sessions[speaker], sessions[listener]
            if one.over and other.over:
                return
            while not taking.over and taking.taken < giving.ready:
                message = bytearray(giving.message(taking.taken))
                if next(seen) == at:
                    place = data.draw(st.integers(0, len(message) - 1))
                    message[place] ^= data.draw(st.integers(1, 255))
                taking.take(bytes(message))

    try:
        carry_spoiled()
    except FusionError as error:
        assert error.code[:3] in {"A-1", "A-5", "A-6"}  # noqa: PT017 - or none at all
    if one.over and not one._failed:
        learned = one.outcome()
        assert learned is not None
        assert learned.size <= 5
        assert set(learned.keys or ()) <= {5, 6, 7, 8, 9}


POINTS = [
    ("A-58", bytes.fromhex(BAD["no point"][2])),
    ("A-59", bytes.fromhex(BAD["non-canonical"][0])),
    ("A-59", bytes.fromhex(BAD["non-canonical"][6])),
    ("A-60", bytes(32)),
]


@pytest.mark.parametrize(("code", "point"), POINTS)
def test_a_bad_point_in_a_list(code: str, point: bytes) -> None:
    one, parts = at_masked()

    def spoil(items: bytes) -> bytes:
        kept = [items[at : at + 32] for at in range(32, len(items), 32)]
        return b"".join(sorted([point, *kept]))

    assert refused(one, changed(parts[0], spoil)) == code


def test_another_job_another_sender() -> None:
    one, parts = at_masked()
    assert refused(one, changed(parts[0], terms="0" * 64)) == "A-51"
    one, parts = at_masked()
    assert refused(one, changed(parts[0], sender=GOV)) == "A-52"
    other_job = Session.begin(terms(set_size=999), BANK, KEYS, masker)
    one, _ = pair(terms(), KEYS, KEYS)
    assert refused(one, other_job.message(0)) == "A-51"


def test_twice_and_out_of_order() -> None:
    one, parts = at_masked()
    one.take(parts[0])
    assert refused(one, parts[0]) == "A-53"
    one, parts = at_masked()
    assert refused(one, parts[1]) == "A-54"
    one, parts = at_masked()
    assert refused(one, changed(parts[1], number=1)) == "A-54"


def test_more_or_fewer_than_declared() -> None:
    one, parts = at_masked()
    one.take(parts[0])
    longer = changed(parts[1], lambda items: items + b"\xff" * 32, count=5)
    assert refused(one, longer) == "A-56"
    one, parts = at_masked()
    assert refused(one, changed(parts[0], lambda items: items[:64], count=2)) == "A-57"
    # The protocol goes on before the list has ended.
    one, _ = at_masked()
    _, doubled = at_doubled()
    assert refused(one, changed(doubled[0], terms=one.terms.digest, number=1)) == "A-55"


def test_twice_in_a_list_and_not_sorted() -> None:
    one, parts = at_masked()
    assert refused(one, changed(parts[0], lambda items: items[:32] * 2 + items[64:])) == "A-61"
    one, parts = at_masked()
    swapped = changed(parts[0], lambda items: items[32:64] + items[:32] + items[64:])
    assert refused(one, swapped) == "A-62"
    one, doubled = at_doubled()
    same = doubled[0]
    one.take(same)
    assert len(doubled) == 3
    one.take(changed(doubled[1], lambda _items: messages.read(same)[1]))
    assert refused(one, doubled[2]) == "A-61"


def test_another_list_than_was_committed_to() -> None:
    agreed = terms("both")
    one, other = pair(agreed, KEYS, KEYS)
    impostor = Session.begin(agreed, BANK, KEYS, masker)
    one.take(other.message(0))
    impostor.take(one.message(0))
    one.take(impostor.message(1))
    one.take(impostor.message(2))
    assert refused(one, impostor.message(3)) == "A-63"


def test_another_answer_than_was_pledged() -> None:
    one, doubled = at_doubled("both")
    assert one.state is State.ANSWERING
    for part in doubled[:-1]:
        one.take(part)
    spoiled = changed(doubled[-1], lambda items: bytes([items[0] ^ 2]) + items[1:])
    assert refused(one, spoiled) == "A-63"


def test_two_that_found_different_records() -> None:
    one, doubled = at_doubled("both")
    for part in doubled:
        one.take(part)
    assert one.state is State.AGREEING
    with pytest.raises(AlignmentBroken):
        one.outcome()
    head: dict[str, Any] = {"terms": one.terms.digest, "sender": BANK, "number": one.taken}
    assert refused(one, messages.to_bytes(messages.Output(**head, found="0" * 64))) == "A-64"


def test_an_answer_sent_back_is_no_proof_of_the_same_output() -> None:
    one, doubled = at_doubled("both")
    for part in doubled:
        one.take(part)
    own = changed(one.message(one.ready - 1), sender=BANK, number=one.taken)
    assert refused(one, own) == "A-64"


def test_every_message_that_is_not_in_the_table_is_refused() -> None:
    kinds = {kind for _, _, kind in TAKES}
    one, other = pair(terms("both"), KEYS, KEYS)
    samples: dict[str, bytes] = {}

    def see(_speaker: Session, message: bytes) -> None:
        samples[messages.read(message)[0].kind] = message

    carry(one, other, see)
    samples["done"] = messages.to_bytes(
        messages.Done(terms=one.terms.digest, sender=BANK, number=0)
    )
    assert set(samples) == kinds
    for outcome, kind in [(o, k) for o in ("one", "size", "both") for k in sorted(kinds)]:
        session, _ = pair(terms(outcome), KEYS, KEYS)
        if (session.role, session.state, kind) not in TAKES:
            said = changed(samples[kind], terms=session.terms.digest, sender=session.peer, number=0)
            assert refused(session, said) == "A-55"


def test_the_tables_lead_from_the_beginning_to_the_end() -> None:
    for role in Role:
        state, steps = State.GREETING, 0
        while state is not State.OVER:
            (following,) = {to for (r, s, _), to in TAKES.items() if (r, s) == (role, state)}
            assert following > state
            state, steps = following, steps + 1
        assert steps == sum(r is role for r, _, _ in TAKES)
        gates = [gate for _, gate in SENDS[role]]
        assert gates == sorted(gates)
    pairs = ((Role.LEARNS, Role.HELPS), (Role.HELPS, Role.LEARNS), (Role.MUTUAL, Role.MUTUAL))
    for speaker, listener in pairs:
        taken = [kind for role, _, kind in TAKES if role is listener]
        assert [kind for kind, _ in SENDS[speaker]] == taken


def test_every_rule_is_on_the_page() -> None:
    page = (ROOT / "docs/alignment.md").read_text("utf-8")
    rules = [each.value for kind in (Decided, Broken) for each in kind]
    assert len({rule.code for rule in rules}) == len(rules)
    for rule in rules:
        assert f"| {rule.code} | {rule.message}" in page


def test_the_tables_are_on_the_page_of_the_claim() -> None:
    page = (ROOT / "docs/claims/alignment.md").read_text("utf-8")
    told = re.findall(
        r"^\| (learns|helps|mutual) \| (\w+) \| (\w+) \| (\w+) \|$", page, re.MULTILINE
    )
    assert told == [
        (role.value, state.name.lower(), kind, following.name.lower())
        for (role, state, kind), following in TAKES.items()
    ]
