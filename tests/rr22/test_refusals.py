"""What RR22 is not for, who does not offer it, what is begun but once; messages out of place."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from federated.vertical.keeping import MemoryKeeping
from federated.vertical.study import parse_vertical
from fusion.alignment import messages
from fusion.alignment.resuming import KeptRr22
from fusion.alignment.rr22 import Rr22Session
from fusion.alignment.study import parse_study
from fusion.errors import (
    AlignmentBroken,
    AlignmentRefused,
    FusionError,
    InputInvalid,
    StudyInvalid,
)
from tests.aligning.world import BANK as A_BANK
from tests.aligning.world import GOV as A_GOV
from tests.aligning.world import TAX, study_text
from tests.alignment.parties import BANK, GOV, terms
from tests.rr22.offering import offer, rr22_text

if TYPE_CHECKING:
    from pathlib import Path

    from tests.aligning.world import World

NONCE = bytes(32)


@pytest.mark.parametrize(
    "said", [{"outcome": "size"}, {"outcome": "one", "parties": (A_BANK, A_GOV, TAX)}]
)
def test_a_study_for_which_it_is_not(said: dict[str, object]) -> None:
    with pytest.raises(StudyInvalid, match="RR22"):
        parse_study(rr22_text(**said), "study.toml")


def test_a_study_that_trains_leaves_it_out() -> None:
    model = '\n[model]\nkind = "logistic"\n'
    text = rr22_text().replace('"ID"', '"ID"\ncolumns = ["age"]', 1) + 'label = "y"\n' + model
    with pytest.raises(StudyInvalid, match="protocol"):
        parse_vertical(text, "study.toml")


def test_a_study_without_it_has_the_digest_that_it_had() -> None:
    study = parse_study(study_text(), "study.toml")
    assert b"protocol" not in study.canonical()
    asked = parse_study(rr22_text(), "study.toml")
    assert asked.digest() != parse_study(study_text(outcome="both"), "study.toml").digest()


@pytest.mark.parametrize("outcome", ["size", "three"])
def test_terms_for_which_it_is_not(outcome: str) -> None:
    agreed = terms(outcome) if outcome == "size" else terms("one", parties=(GOV, BANK, TAX))
    with pytest.raises(InputInvalid, match="RR22"):
        Rr22Session(agreed, GOV, ["a"], NONCE)


@pytest.mark.parametrize("others", [None, ["shop.example"]])
def test_a_node_that_does_not_offer_it_says_so(
    world: World, python: Path, others: list[str] | None
) -> None:
    """It names no Python; or it does, and offers what it runs to somebody else."""
    offer(world, A_GOV, python if others else None, others)
    try:
        with world.serving(A_BANK, A_GOV):
            found = world.work(world.job(rr22_text()))
    finally:
        offer(world, A_GOV, python)
    assert (found["status"], found["code"]) == ("failed", "A-20")
    assert A_GOV in found["message"]


def test_what_was_begun_is_not_begun_again() -> None:
    keeping, agreed = MemoryKeeping(), terms()
    kept = KeptRr22(keeping)
    session = kept.open(agreed, GOV, ["a", "b"])
    again = KeptRr22(keeping).open(agreed, GOV, ["a", "b"])
    assert again.commitment == session.commitment  # the ledger's holds for every attempt
    with pytest.raises(InputInvalid, match="changed"):
        KeptRr22(keeping).open(agreed, GOV, ["a", "c"])
    kept.begin()
    with pytest.raises(AlignmentRefused) as refused:
        KeptRr22(keeping).open(agreed, GOV, ["a", "b"])
    assert refused.value.code == "A-21"


def test_items_of_two_jobs_have_nothing_in_common() -> None:
    one = Rr22Session(terms(), GOV, ["a", "b"], NONCE).items()
    other = terms(field=terms().field.model_copy(update={"job": "job-2"}))
    two = Rr22Session(other, GOV, ["a", "b"], NONCE).items()
    assert len(one) == len(two) == 3 * 16  # and one that nobody can guess
    assert not {one[at : at + 16] for at in (0, 16, 32)} & {two[at : at + 16] for at in (0, 16, 32)}


# ------------------------------------------------------------------ messages


def _pair(outcome: str = "both") -> tuple[Rr22Session, Rr22Session]:
    agreed = terms(outcome)
    one = Rr22Session(agreed, GOV, ["a", "b", "c"], NONCE)
    two = Rr22Session(agreed, BANK, ["b", "c", "d"], NONCE)
    one.take(two.message(0))
    two.take(one.message(0))
    return one, two


def _items(session: Rr22Session, *places: int) -> bytes:
    return b"".join(session._items[16 * at : 16 * at + 16] for at in places)


def _carry(one: Rr22Session, other: Rr22Session) -> None:
    moved = True
    while moved:
        moved = False
        for speaker, listener in ((one, other), (other, one)):
            while listener.taken < speaker.ready:
                listener.take(speaker.message(listener.taken))
                moved = True


def test_both_have_the_result_whoever_ends_first() -> None:
    for order in (0, 1):
        one, two = _pair()
        ends = [partial(one.end, _items(one, 1, 2)), partial(two.end, b"")]
        for end in ends[:: 1 - 2 * order]:
            end()
            _carry(one, two)
        assert one.over
        assert two.over
        found = one.outcome(), two.outcome()
        assert [each.keys for each in found if each] == [(1, 2), (0, 1)]


@pytest.mark.parametrize("found", [b"x" * 16, b"x" * 15])
def test_a_process_that_finds_what_is_not_there(found: bytes) -> None:
    one, _ = _pair()
    with pytest.raises(AlignmentBroken) as broken:
        one.end(found)
    assert broken.value.code == "A-70"


def test_a_process_that_finds_an_item_twice() -> None:
    one, _ = _pair()
    with pytest.raises(AlignmentBroken) as broken:
        one.end(_items(one, 1, 1))
    assert broken.value.code == "A-70"


def test_a_peer_that_names_records_which_are_not_there() -> None:
    one, two = _pair()
    one.end(_items(one, 0, 1))  # its process errs, or it lies: the second has one of them
    two.end(b"")
    with pytest.raises(AlignmentBroken) as broken:
        _carry(one, two)
    assert broken.value.code == "A-70"
    with pytest.raises(AlignmentBroken):
        two.outcome()


@pytest.mark.parametrize(
    ("kind", "facts", "code"),
    [
        (messages.Hello, {"total": 3, "commitment": "0" * 64}, "A-55"),
        (messages.Common, {"total": 0, "first": 0, "count": 0}, "A-55"),
        (messages.Output, {"found": "0" * 64}, "A-55"),
        (messages.Done, {}, "A-55"),
        (messages.Pledge, {"answer": "0" * 64}, "A-55"),
    ],
)
def test_a_message_that_has_no_place(kind: type, facts: dict[str, object], code: str) -> None:
    one, two = _pair()
    head = kind(terms=two._digest, sender=BANK, number=1, **facts)
    with pytest.raises(FusionError) as broken:
        one.take(messages.to_bytes(head))
    assert broken.value.code == code


def test_messages_of_another_protocol_sender_or_place() -> None:
    one, two = _pair()
    said = messages.Said
    for head, code in (
        (said(terms=one.terms.digest, sender=BANK, number=1), "A-51"),
        (said(terms=two._digest, sender=GOV, number=1), "A-52"),
        (said(terms=two._digest, sender=BANK, number=0), "A-53"),
        (said(terms=two._digest, sender=BANK, number=2), "A-54"),
    ):
        with pytest.raises(AlignmentBroken) as broken:
            one.take(messages.to_bytes(head))
        assert broken.value.code == code


def test_a_set_that_is_larger_than_was_agreed() -> None:
    agreed = terms(set_size=2)
    with pytest.raises(AlignmentRefused) as refused:
        Rr22Session(agreed, GOV, ["a", "b", "c"], NONCE)
    assert refused.value.code == "A-11"
    one, large = Rr22Session(agreed, GOV, ["a"], NONCE), terms(set_size=1000)
    two = Rr22Session(large, BANK, ["a", "b", "c"], NONCE)
    head, _ = messages.read(two.message(0))
    with pytest.raises(AlignmentRefused) as refused:
        one.take(messages.to_bytes(head.model_copy(update={"terms": one._digest})))
    assert refused.value.code == "A-12"
