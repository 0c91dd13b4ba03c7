"""Three and more parties: what is in every set, whatever the order of messages."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.alignment import messages
from fusion.alignment.ring import Leg, Member, legs
from fusion.errors import AlignmentBroken, AlignmentRefused, FusionError
from tests.alignment.parties import masker, terms
from tests.crypto.test_ristretto import BAD

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fusion.alignment.terms import Terms

KEYS = st.text(max_size=2)
PARTIES = ("a.example", "b.example", "c.example", "d.example")


def run(agreed: Terms, sets: Mapping[str, Sequence[str]]) -> dict[str, Member]:
    members = {party: Member.begin(agreed, party, sets[party], masker) for party in agreed.parties}
    moved = True
    while moved:
        moved = False
        for member in members.values():
            for recipient in member.recipients():
                other = members[recipient]
                while not other.over and other.taken[member.me] < member.ready(recipient):
                    other.take(member.me, member.message(recipient, other.taken[member.me]))
                    moved = True
    return members


@settings(max_examples=12, deadline=None)
@given(
    st.integers(3, 4),
    st.lists(st.sets(KEYS, min_size=1, max_size=4), min_size=4, max_size=4),
    st.sets(KEYS, max_size=3),
    st.sampled_from(["one", "size"]),
)
def test_it_is_the_intersection_of_all(
    count: int, sets: list[set[str]], shared: set[str], outcome: str
) -> None:
    parties = PARTIES[:count]
    lists = {party: sorted(own | shared) for party, own in zip(parties, sets, strict=False)}
    members = run(terms(outcome, parties=parties, chunk=2), lists)
    common = set.intersection(*map(set, lists.values()))
    learned = members[parties[0]].outcome()
    assert learned is not None
    assert learned.size == len(common)
    if outcome == "one":
        assert learned.keys is not None
        assert {lists[parties[0]][at] for at in learned.keys} == common
    for party in parties[1:]:
        assert members[party].outcome() is None
    assert not any(any(member._scalar.held) for member in members.values())


@pytest.mark.parametrize("count", [3, 4, 7])
def test_every_list_passes_every_party_and_ends_at_the_receiver(count: int) -> None:
    parties = [f"p{at}" for at in range(count)]
    for owner in parties:
        way = [leg for leg in legs(parties) if leg.owner == owner]
        assert {leg.sender for leg in way} | {way[-1].recipient} == set(parties)
        assert [leg.hop for leg in way] == list(range(1, len(way) + 1))
        assert all(one.recipient == other.sender for one, other in itertools.pairwise(way))
        assert way[-1].recipient == parties[0]


SETS = {party: [f"k{at}" for at in range(6)] for party in PARTIES}


def waiting() -> tuple[Member, Member]:
    agreed = terms(parties=PARTIES[:3])
    one = Member.begin(agreed, PARTIES[0], SETS[PARTIES[0]], masker)
    return one, Member.begin(agreed, PARTIES[1], SETS[PARTIES[1]], masker)


def spoiled(message: bytes, **more: Any) -> bytes:  # noqa: ANN401 - fields
    head, body = messages.read(message)
    return messages.to_bytes(head.model_copy(update=more), body)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"terms": "0" * 64}, "A-51"),
        ({"sender": PARTIES[2]}, "A-52"),
        ({"number": 1}, "A-54"),
        ({"owner": PARTIES[1]}, "A-55"),
        ({"hop": 2}, "A-55"),
        ({"first": 4}, "A-54"),
        ({"first": 1}, "A-54"),
        ({"total": 1001}, "A-12"),
        ({"total": 0}, "A-17"),
        ({"total": 3}, "A-56"),
    ],
)
def test_a_leg_that_is_not_of_the_ring(change: dict[str, Any], code: str) -> None:
    one, other = waiting()
    with pytest.raises(FusionError) as caught:
        other.take(PARTIES[0], spoiled(one.message(PARTIES[1], 0), **change))
    assert caught.value.code == code
    with pytest.raises(AlignmentBroken) as after:
        other.take(PARTIES[0], one.message(PARTIES[1], 0))
    assert after.value.code == "A-67"


def test_a_list_comes_once_and_whole() -> None:
    one, other = waiting()
    first = one.message(PARTIES[1], 0)
    other.take(PARTIES[0], first)
    with pytest.raises(AlignmentBroken) as caught:
        other.take(PARTIES[0], first)
    assert caught.value.code == "A-53"
    one, other = waiting()
    for number in range(one.ready(PARTIES[1])):
        other.take(PARTIES[0], one.message(PARTIES[1], number))
    with pytest.raises(AlignmentBroken) as caught:
        other.take(PARTIES[0], spoiled(first, number=2))
    assert caught.value.code == "A-56"


def test_a_party_can_not_drop_an_item_of_a_list_that_passes_it() -> None:
    agreed = terms(parties=PARTIES[:3])
    members = {party: Member.begin(agreed, party, SETS[party], masker) for party in agreed.parties}
    # The receiver's own list comes back with one item less than it had.
    one, _, last = members.values()
    short = messages.Lists(
        terms=agreed.digest,
        sender=last.me,
        number=0,
        owner=one.me,
        hop=3,
        total=5,
        first=0,
        count=4,
    )
    with pytest.raises(AlignmentBroken) as caught:
        one.take(last.me, messages.to_bytes(short, bytes(128)))
    assert caught.value.code == "A-57"


@pytest.mark.parametrize("outcome", ["one", "size"])
@pytest.mark.parametrize(
    ("code", "point"),
    [
        pytest.param(code, bytes.fromhex(point), id=f"{code}-{point[:8]}")
        for code, fault in (("A-58", "no point"), ("A-59", "non-canonical"), ("A-60", "identity"))
        for point in BAD[fault][:2]
    ],
)
def test_what_is_no_point_is_refused_on_every_leg(code: str, point: bytes, outcome: str) -> None:
    """On the last one, too, where no multiplication looks at it: it was taken as a record."""
    agreed = terms(outcome, parties=PARTIES[:3], chunk=8)
    for leg in legs(agreed.parties):
        members = {who: Member.begin(agreed, who, SETS[who], masker) for who in agreed.parties}
        with pytest.raises(AlignmentBroken) as caught:
            _carried(members, leg, point)
        assert (caught.value.code, leg.sender in str(caught.value)) == (code, True), leg
        with pytest.raises(FusionError):
            members[leg.recipient].outcome()


def _carried(members: dict[str, Member], leg: Leg, point: bytes) -> None:
    """Carry messages until an item of the leg, of its first message, is another."""
    moved = True
    while moved:
        moved = False
        for sender, recipient in itertools.permutations(members, 2):
            if recipient not in members[sender].recipients():
                continue
            other = members[recipient]
            while not other.over and other.taken[sender] < members[sender].ready(recipient):
                data, moved = members[sender].message(recipient, other.taken[sender]), True
                head, body = messages.read(data)
                assert isinstance(head, messages.Lists)
                if (head.owner, head.hop, sender) == (leg.owner, leg.hop, leg.sender):
                    items = [body[at : at + 32] for at in range(32, len(body), 32)]
                    data = messages.to_bytes(head, b"".join(sorted([point, *items])))
                other.take(sender, data)


def test_decisions() -> None:
    lists = {party: [f"{party}-{at}" for at in range(3)] + ["x"] for party in PARTIES[:3]}
    with pytest.raises(AlignmentRefused) as caught:
        run(terms(parties=PARTIES[:3], minimum_intersection=2), lists)[PARTIES[0]].outcome()
    assert caught.value.code == "A-14"
    with pytest.raises(AlignmentRefused) as caught:
        Member.begin(terms(parties=PARTIES[:3], set_size=2), PARTIES[0], ["a", "b", "c"], masker)
    assert caught.value.code == "A-11"
    with pytest.raises(AlignmentBroken) as refused:
        Member.begin(terms(), PARTIES[0], ["a"], masker)
    assert refused.value.code == "A-52"
