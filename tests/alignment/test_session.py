"""Alignment of two is the intersection of sets, and its transcript tells no more than sizes."""

from __future__ import annotations

import hashlib
from collections import Counter

import gmpy2
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fusion.alignment import messages
from fusion.alignment.session import Session
from fusion.alignment.terms import field_of
from fusion.crypto.ristretto.group import FIELD, LocalMasker, Scalar
from fusion.errors import AlignmentBroken, AlignmentRefused
from tests.alignment.parties import BANK, GOV, carry, group, masker, pair, terms

KEYS = st.text(max_size=4)
SETS = st.tuples(
    st.sets(KEYS, min_size=1, max_size=9),
    st.sets(KEYS, min_size=1, max_size=9),
    st.sets(KEYS, max_size=4),
)
OUTCOMES = st.sampled_from(["one", "both", "size"])


@settings(max_examples=25, deadline=None)
@given(SETS, OUTCOMES, st.sampled_from([1, 2, 5, 64]))
@example(({"a", "ab", "b"}, {"ab", "a\0", ""}, set()), "both", 1)
@example(({"é"}, {"e\u0301"}, {"1", "11", "111"}), "one", 2)
def test_it_is_the_intersection(
    sets: tuple[set[str], set[str], set[str]], outcome: str, chunk: int
) -> None:
    gov, bank = sorted(sets[0] | sets[2]), sorted(sets[1] | sets[2], reverse=True)
    one, other = pair(terms(outcome, chunk=chunk), gov, bank)
    carry(one, other)
    common = set(gov) & set(bank)
    learned = one.outcome()
    assert learned is not None
    assert learned.size == len(common)
    if outcome == "size":
        assert learned.keys is None
    else:
        assert learned.keys is not None
        assert [gov[at] for at in learned.keys] == [key for key in gov if key in common]
    helped = other.outcome()
    if outcome == "both":
        assert helped is not None
        assert helped.keys is not None
        assert {bank[at] for at in helped.keys} == common
    else:
        assert helped is None


def transcript(outcome: str, gov: list[str], bank: list[str]) -> list[tuple[str, str, int]]:
    """Return who said what, and how long it was."""
    said: list[tuple[str, str, int]] = []

    def see(speaker: Session, message: bytes) -> None:
        head, _ = messages.read(message)
        said.append((speaker.me, head.kind, len(message)))

    carry(*pair(terms(outcome), gov, bank), see)
    return said


@pytest.mark.parametrize("outcome", ["one", "both", "size"])
def test_transcripts_of_sets_of_the_same_sizes_have_the_same_shape(outcome: str) -> None:
    gov = [f"person-{at}" for at in range(11)]
    disjoint = transcript(outcome, gov, [f"firm-{at}" for at in range(9)])
    contained = transcript(outcome, gov, gov[:9])
    other = transcript(outcome, [("x" * at) for at in range(11)], ["y" * at for at in range(9)])
    assert disjoint == contained == other
    assert transcript(outcome, gov, gov[:8]) != contained


def test_nothing_of_an_item_is_in_a_transcript_twice() -> None:
    gov = [f"person-{at}" for at in range(20)]
    seen: Counter[bytes] = Counter()

    def see(_speaker: Session, message: bytes) -> None:
        head, body = messages.read(message)
        width = messages.width(head) or 1
        seen.update(body[at : at + 16] for at in range(0, len(body), width))

    for _ in range(2):
        carry(*pair(terms("one"), gov, gov), see)
    assert set(seen.values()) == {1}


def test_another_job_or_field_gives_unrelated_points() -> None:
    keys = ["a", "b"]
    fields = [
        field_of("f", "job-1", "ID", "text"),
        field_of("f", "job-2", "ID", "text"),
        field_of("f", "job-1", "id", "text"),
        field_of("g", "job-1", "ID", "text"),
        field_of("fj", "ob-1", "ID", "text"),
    ]
    points = {group().from_uniform(each.digests([key])) for each in fields for key in keys}
    assert len(points) == len(fields) * len(keys)


# ------------------------------------------------------------------ no bit survives masking


def _bits(encoding: bytes) -> list[int]:
    """Characters of an encoding that a map of less than a prime-order group would keep."""
    s = int.from_bytes(encoding, "little")
    return [
        int(gmpy2.legendre((s + shift) * factor % FIELD, FIELD) == 1)
        for shift, factor in ((0, 1), (1, 1), (-1, 1), (2, 1))
    ] + [
        encoding[0] >> 1 & 1,
        encoding[31] >> 6 & 1,
        encoding[16] & 1,
        int(gmpy2.legendre((s**3 + 486662 * s * s + s) % FIELD, FIELD) == 1),
    ]


def _kept(before: list[list[int]], after: list[list[int]]) -> list[float]:
    """Return, of each bit, by how many standard deviations it agrees more than by chance."""
    count = len(before)
    scores = []
    for bit in range(len(before[0])):
        agree = sum(x[bit] == y[bit] for x, y in zip(before, after, strict=True))
        share = [sum(each[bit] for each in side) / count for side in (before, after)]
        expected = share[0] * share[1] + (1 - share[0]) * (1 - share[1])
        spread = (count * max(expected * (1 - expected), 0.01)) ** 0.5
        scores.append(abs(agree - count * expected) / spread)
    return scores


def test_no_bit_of_an_item_survives_masking() -> None:
    digests = field_of("f", "j", "ID", "text").digests(f"{at}" for at in range(1500))
    points = group().from_uniform(digests)
    masked = LocalMasker(Scalar.fresh(), group()).mask(digests)
    parts = [
        [_bits(side[at : at + 32]) for at in range(0, len(side), 32)] for side in (points, masked)
    ]
    assert max(_kept(*parts)) < 6


def test_the_test_sees_the_bit_that_survives_in_a_worse_design() -> None:
    """A digest taken for an X25519 u-coordinate: curve or twist is kept by every mask."""
    key = X25519PrivateKey.generate()
    before, after = [], []
    for at in range(300):
        u = hashlib.sha256(b"%d" % at).digest()
        masked = key.exchange(X25519PublicKey.from_public_bytes(u))
        u = (int.from_bytes(u, "little") % 2**255 % FIELD).to_bytes(32, "little")
        before.append(_bits(u))
        after.append(_bits(masked))
    assert max(_kept(before, after)) > 15


# ------------------------------------------------------------------ decisions


def refusal(**more: object) -> tuple[str, bool]:
    """Return the rule, and whether who helps came to its end."""
    one, other = pair(terms(**more), ["a", "b", "c", "d"], ["c", "d", "e"])  # type: ignore[arg-type]
    with pytest.raises(AlignmentRefused) as caught:
        outcome_of(one, other)
    with pytest.raises((AlignmentBroken, AlignmentRefused)):
        one.outcome()
    return caught.value.code, other.over


def outcome_of(one: Session, other: Session) -> None:
    carry(one, other)
    one.outcome()


def test_too_few_in_common_is_not_released_and_who_helps_does_not_see_that() -> None:
    assert refusal(minimum_intersection=3) == ("A-14", True)
    assert refusal(outcome="size", minimum_overlap_permille=501) == ("A-13", True)
    assert refusal(outcome="both", minimum_intersection=3) == ("A-14", False)
    one, other = pair(terms(minimum_intersection=2), ["a", "b", "c", "d"], ["c", "d", "e"])
    carry(one, other)
    assert one.outcome() is not None


def test_sets_that_can_not_have_the_declared_overlap_are_not_masked_for() -> None:
    agreed = terms(minimum_overlap_permille=500)
    one = Session.begin(agreed, GOV, ["a"], masker)
    other = Session.begin(agreed, BANK, [f"{at}" for at in range(900)], masker)
    with pytest.raises(AlignmentRefused) as caught:
        one.take(other.message(0))
    assert caught.value.code == "A-13"
    with pytest.raises(AlignmentBroken) as ended:
        one.message(0)
    assert ended.value.code == "A-67"


@pytest.mark.parametrize(("count", "code"), [(0, "A-17"), (11, "A-11")])
def test_the_own_set_has_a_size(count: int, code: str) -> None:
    with pytest.raises(AlignmentRefused) as caught:
        Session.begin(terms(set_size=10), GOV, [f"{at}" for at in range(count)], masker)
    assert caught.value.code == code


def test_who_helps_learns_nothing_and_scalars_are_gone_at_the_end() -> None:
    one, other = pair(terms(), ["a"], ["a"])
    carry(one, other)
    assert other.outcome() is None
    for session in (one, other):
        assert not any(session._scalar.held)
        assert session.over
