"""A list against a published set: what is common, and what is attached to that alone."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.alignment import messages
from fusion.alignment.asking import Asker, SetReader
from fusion.alignment.published import Evaluator, PublishedSet
from fusion.alignment.terms import field_of
from fusion.alignment.values import SetTerms
from fusion.errors import AlignmentBroken, AlignmentRefused, FusionError
from tests.alignment.parties import BANK, GOV, KEY, masker
from tests.crypto.test_ristretto import BAD

KEYS = st.text(max_size=3)
SET = [f"k{at}" for at in range(10)]


def terms(**more: Any) -> SetTerms:  # noqa: ANN401 - fields
    content = {
        "field": field_of("federation", "epoch-1", "ID", "text"),
        "owner": BANK,
        "set_size": 100,
        "asked": 20,
        "chunk": 4,
        **more,
    }
    return SetTerms(**content)


def read(made: PublishedSet) -> SetReader:
    reader = SetReader(made.terms)
    for number in range(made.parts):
        reader.take(made.message(number))
    return reader


def ask(made: PublishedSet, keys: list[str]) -> dict[int, bytes]:
    asker, evaluator = Asker(read(made), GOV, keys, masker), Evaluator(made, GOV, masker)
    for number in range(asker.parts):
        asker.take(evaluator.take(asker.message(number)))
    return asker.outcome()


@settings(max_examples=12, deadline=None)
@given(
    st.dictionaries(KEYS, st.binary(max_size=6), min_size=1, max_size=8),
    st.sets(KEYS, min_size=1, max_size=8),
    st.booleans(),
)
def test_it_is_the_intersection_and_what_is_attached(
    attached: dict[str, bytes], asked: set[str], with_payload: bool
) -> None:
    keys = sorted(asked | set(list(attached)[:2]))
    agreed = terms(payload=6 if with_payload else 0)
    values = list(attached.values()) if with_payload else None
    found = ask(PublishedSet.make(agreed, list(attached), masker, values), keys)
    expected = {
        at: attached[key] if with_payload else b"" for at, key in enumerate(keys) if key in attached
    }
    assert found == expected


def test_what_is_published_has_the_shape_of_any_set_of_its_size() -> None:
    def shape(keys: list[str], values: list[bytes]) -> list[int]:
        made = PublishedSet.make(terms(payload=8), keys, masker, values)
        return [len(made.message(number)) for number in range(made.parts)]

    assert shape(SET, [b""] * 10) == shape([f"x{at}" * 9 for at in range(10)], [b"12345678"] * 10)


def test_an_epoch_is_kept_and_goes_on_and_is_not_another() -> None:
    made = PublishedSet.make(terms(), SET, masker)
    reader = read(made)
    again = PublishedSet.opened(terms(), made.keep(KEY), KEY)
    assert bytes(made.scalar.held) not in made.keep(KEY)
    asker, evaluator = Asker(reader, GOV, ["k1", "z"], masker), Evaluator(again, GOV, masker)
    asker.take(evaluator.take(asker.message(0)))
    assert list(asker.outcome()) == [0]
    later = terms(field=field_of("federation", "epoch-2", "ID", "text"))
    with pytest.raises(AlignmentBroken) as caught:
        PublishedSet.opened(later, made.keep(KEY), KEY)
    assert caught.value.code == "A-68"
    other = PublishedSet.make(later, SET, masker)
    assert not {other.entries[at : at + 16] for at in range(0, 160, 16)} & {
        made.entries[at : at + 16] for at in range(0, 160, 16)
    }
    with pytest.raises(AlignmentBroken) as caught:
        Evaluator(other, GOV, masker).take(asker.message(0))
    assert caught.value.code == "A-66"


def test_evaluations_are_counted() -> None:
    made = PublishedSet.make(terms(), SET, masker)
    reader = read(made)
    first = Evaluator(made, GOV, masker)
    asker = Asker(reader, GOV, [f"{at}" for at in range(15)], masker)
    first.take(asker.message(0))
    assert first.left == 5
    second = Evaluator(made, GOV, masker, left=first.left)
    with pytest.raises(AlignmentRefused) as caught:
        second.take(Asker(reader, GOV, [f"{at}" for at in range(6)], masker).message(0))
    assert caught.value.code == "A-18"
    with pytest.raises(AlignmentBroken):
        second.take(asker.message(0))


def spoiled(message: bytes, body: bytes | None = None, **more: Any) -> bytes:  # noqa: ANN401
    head, items = messages.read(message)
    return messages.to_bytes(head.model_copy(update=more), items if body is None else body)


def code_of(take: Any, message: bytes) -> str:  # noqa: ANN401 - a bound method
    with pytest.raises(FusionError) as caught:
        take(message)
    with pytest.raises(AlignmentBroken) as after:
        take(message)
    assert after.value.code == "A-67"
    return caught.value.code


def test_what_an_asker_may_not_say() -> None:
    made = PublishedSet.make(terms(), SET, masker)
    asker = Asker(read(made), GOV, SET, masker)
    first, second = asker.message(0), asker.message(1)
    items = messages.read(first)[1]
    spoils: list[tuple[str, bytes]] = [
        ("A-50", b"xx"),
        ("A-52", spoiled(first, sender=BANK)),
        ("A-54", second),
        ("A-55", spoiled(made.message(0), sender=GOV)),
        (
            "A-58",
            spoiled(
                first,
                b"".join(
                    sorted(
                        [
                            bytes.fromhex(BAD["no point"][2]),
                            *[items[at : at + 32] for at in (32, 64, 96)],
                        ]
                    )
                ),
            ),
        ),
        ("A-60", spoiled(first, bytes(32) + items[32:])),
        ("A-61", spoiled(first, items[:32] * 2 + items[64:])),
        ("A-57", spoiled(first, items[:32], count=1)),
    ]
    for code, message in spoils:
        assert code_of(Evaluator(made, GOV, masker).take, message) == code
    evaluator = Evaluator(made, GOV, masker)
    evaluator.take(first)
    assert code_of(evaluator.take, first) == "A-53"
    evaluator = Evaluator(made, GOV, masker)
    evaluator.take(first)
    assert code_of(evaluator.take, spoiled(second, total=20)) == "A-56"


def test_what_an_owner_may_not_say() -> None:
    made = PublishedSet.make(terms(payload=4), SET, masker, [b"x"] * 10)
    assert code_of(SetReader(terms()).take, made.message(0)) == "A-66"
    first = made.message(0)
    assert code_of(SetReader(made.terms).take, spoiled(first, total=101)) == "A-12"
    assert code_of(SetReader(made.terms).take, made.message(1)) == "A-54"
    reader = SetReader(made.terms)
    reader.take(first)
    assert code_of(reader.take, spoiled(made.message(1), commitment="0" * 64)) == "A-63"
    reader = SetReader(made.terms)
    reader.take(first)
    reader.take(made.message(1))
    last = made.message(2)
    body = messages.read(last)[1]
    assert code_of(reader.take, spoiled(last, body[:-1] + bytes([body[-1] ^ 1]))) == "A-63"
    with pytest.raises(AlignmentBroken) as caught:
        Asker(reader, GOV, SET, masker)
    assert caught.value.code == "A-57"


def test_a_payload_that_was_exchanged_does_not_open() -> None:
    made = PublishedSet.make(terms(payload=4), SET, masker, [b"%d" % at for at in range(10)])
    width = 16 + made.terms.sealed
    parts = [made.entries[at : at + width] for at in range(0, len(made.entries), width)]
    swapped = [
        one[:16] + other[16:] for one, other in zip(parts, parts[1:] + parts[:1], strict=True)
    ]
    from fusion.alignment import lists  # noqa: PLC0415 - for this forger

    entries = b"".join(swapped)
    forged = PublishedSet(
        made.terms, entries, lists.commitment(made.terms.digest, BANK, entries), made.scalar
    )
    with pytest.raises(AlignmentBroken) as caught:
        ask(forged, ["k1"])
    assert caught.value.code == "A-65"


def test_too_few_in_common_are_not_released() -> None:
    made = PublishedSet.make(terms(minimum_intersection=3), SET, masker)
    with pytest.raises(AlignmentRefused) as caught:
        ask(made, ["k1", "k2", "z"])
    assert caught.value.code == "A-14"
    assert set(ask(made, ["k1", "k2", "k3"])) == {0, 1, 2}


def test_what_does_not_fit_is_not_published() -> None:
    for more, keys, values in (
        ({"set_size": 5}, SET, None),
        ({}, [], None),
        ({}, ["a", "a"], None),
        ({"payload": 4}, SET, None),
        ({"payload": 4}, ["a"], [b"12345"]),
        ({}, ["a"], [b"1"]),
    ):
        with pytest.raises((AlignmentRefused, AlignmentBroken)):
            PublishedSet.make(terms(**more), keys, masker, values)


def test_what_an_owner_answers_is_held_to_the_rules() -> None:
    made = PublishedSet.make(terms(), SET, masker)
    reader = read(made)
    for code, spoil in (
        ("A-50", lambda m: m[:-1]),
        ("A-52", lambda m: spoiled(m, sender=GOV)),
        ("A-54", lambda m: spoiled(m, number=1)),
        ("A-54", lambda m: spoiled(m, first=4)),
        ("A-57", lambda m: spoiled(m, messages.read(m)[1][:32], count=1)),
        ("A-60", lambda m: spoiled(m, bytes(128))),
    ):
        asker, evaluator = Asker(reader, GOV, SET, masker), Evaluator(made, GOV, masker)
        assert code_of(asker.take, spoil(evaluator.take(asker.message(0)))) == code
        with pytest.raises(AlignmentBroken):
            asker.outcome()


def test_a_message_is_small_enough_to_be_carried() -> None:
    with pytest.raises(ValueError, match="a smaller chunk"):
        terms(payload=1024, chunk=4096)
    assert terms(payload=1024, chunk=2048).chunk == 2048
